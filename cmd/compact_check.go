package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/watch"
)

const compactCheckHelp = `Says whether a checkpoint can still be resumed without a resync.

It compares the checkpoint's revision with the cluster's compaction horizon, which it
learns without any right but that to watch the range, and estimates from earlier
observations when the horizon will pass the checkpoint. It changes nothing in etcd, and
reads a checkpoint that is in use.

It exits with 75 when the margin is below --min-margin. With --nagios: 0 OK, 1 WARNING, 2 CRITICAL,
3 UNKNOWN.`

func newCompactCheck(g *globals) *cobra.Command {
	var o compactCheckOptions
	cmd := &cobra.Command{
		Use:     "compact-check <checkpoint>",
		Short:   "Says whether a checkpoint can still be resumed, and for how long",
		Long:    compactCheckHelp,
		Example: "  etcdx compact-check orders\n  etcdx compact-check orders --nagios --min-margin 10000",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := g.checkpointPath(args[0])
			if err == nil && o.prom {
				g.settings.Output = "prom"
			}
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), g, args[0], path)
		},
	}
	cmd.Flags().Int64Var(&o.minMargin, "min-margin", 0, "Warn when fewer revisions than this lie between the horizon and the checkpoint")
	cmd.Flags().BoolVar(&o.nagios, "nagios", false, "Print one line and exit as a Nagios plugin does")
	cmd.Flags().BoolVar(&o.prom, "prom", false, "Print metrics in Prometheus' text format")
	return cmd
}

type compactCheckOptions struct {
	minMargin    int64
	nagios, prom bool
}

// compactCheckRecord is what compact-check finds.
type compactCheckRecord struct {
	Schema     string `json:"schema"`
	Checkpoint string `json:"checkpoint"`
	Verdict    string `json:"verdict"` // safe, at-risk, compacted, other-cluster, regressed
	Revision   int64  `json:"revision"`
	Horizon    int64  `json:"compact_revision"` // 0: never compacted
	Current    int64  `json:"current_revision"`
	Margin     int64  `json:"margin_revisions"` // between horizon and checkpoint; negative: compacted
	Behind     int64  `json:"behind_revisions"` // between checkpoint and the present
	// MarginSeconds is how long ago the cluster was where the horizon is now, seen from the checkpoint; null: unknown.
	MarginSeconds *float64 `json:"margin_seconds"`
	Resume        string   `json:"resume"` // what resume would do
	Why           string   `json:"why,omitempty"`
}

const schemaCompactCheck = "etcdx.compact-check/1"

func (o compactCheckOptions) run(ctx context.Context, g *globals, name, path string) error {
	s, err := checkpoint.Read(checkpoint.OS{}, path)
	if err == nil {
		var r compactCheckRecord
		r, err = o.check(ctx, g, s)
		r.Schema, r.Checkpoint = schemaCompactCheck, name
		if r.Verdict != "" {
			return o.print(g, r, err)
		}
	}
	if o.nagios {
		fmt.Fprintf(g.streams.Out, "ETCDX UNKNOWN - %v\n", err)
		return codeError{code: 3}
	}
	return err
}

// check asks the cluster. The record's verdict is empty if it did not answer.
func (o compactCheckOptions) check(ctx context.Context, g *globals, s checkpoint.State) (compactCheckRecord, error) {
	var spec watchSpec
	if err := json.Unmarshal(s.Spec, &spec); err != nil {
		return compactCheckRecord{}, err
	}
	c, err := g.connect()
	if err != nil {
		return compactCheckRecord{}, err
	}
	ctx, cancel := g.short(ctx)
	defer cancel()
	w := &watch.Watcher{Config: watch.Config{Range: spec.watchRange()}, Source: watchSource{c}, KV: c}
	ev := watch.Evidence{ClusterID: s.ClusterID, Term: s.Term, Rev: s.Rev, Count: -1}
	if s.Anchor != nil {
		a := watch.Anchor(*s.Anchor)
		ev.Anchor = &a
	}
	head, err := w.Verify(ctx, ev)
	r := compactCheckRecord{Revision: s.Rev, Current: head.Rev, Behind: head.Rev - s.Rev}
	switch {
	case as[*watch.OtherClusterError](err):
		r.Verdict, r.Why, r.Resume = "other-cluster", err.Error(), "refuse"
		return r, err
	case as[*watch.RegressionError](err):
		r.Verdict, r.Why, r.Resume = "regressed", err.Error(), "refuse"
		if spec.OnRegression == "sync" {
			r.Resume = "send everything that differs"
		}
		return r, err
	case err != nil:
		return compactCheckRecord{}, err
	}
	if r.Horizon, err = w.Horizon(ctx); err != nil {
		return compactCheckRecord{}, err
	}
	return o.judge(r, s, spec)
}

// judge fills in margins and verdict.
func (o compactCheckOptions) judge(r compactCheckRecord, s checkpoint.State, spec watchSpec) (compactCheckRecord, error) {
	r.Margin = r.Revision - r.Horizon
	samples := points(s.Samples)
	if at, ok := watch.TimeOf(samples, r.Horizon); ok {
		if mine, ok := watch.TimeOf(samples, r.Revision); ok {
			r.MarginSeconds = new(mine.Sub(at).Seconds())
		}
	}
	switch {
	case s.Phase == phaseSyncing || r.Revision == 0:
		r.Resume = "continue the resync"
		r.Verdict = "safe"
	case r.Revision < r.Horizon:
		r.Verdict, r.Resume = "compacted", "send what changed and what vanished"
		if spec.OnCompacted == "fail" {
			r.Resume = "refuse"
		}
		return r, &watch.CompactedError{Wanted: r.Revision, Oldest: r.Horizon}
	case r.Margin < o.minMargin:
		r.Verdict, r.Resume = "at-risk", fmt.Sprintf("continue after revision %d", r.Revision)
		return r, codeError{code: exitBusy}
	default:
		r.Verdict, r.Resume = "safe", fmt.Sprintf("continue after revision %d", r.Revision)
	}
	return r, nil
}

func points(samples []checkpoint.Sample) []watch.Point {
	all := make([]watch.Point, len(samples))
	for i, s := range samples {
		all[i] = watch.Point{At: time.Unix(s.Unix, 0), Rev: s.Rev}
	}
	return all
}

// print shows the record, and returns how the command ends.
func (o compactCheckOptions) print(g *globals, r compactCheckRecord, err error) error {
	out := g.streams.Out
	switch {
	case o.nagios:
		word, code := nagios(r.Verdict)
		fmt.Fprintf(out, "ETCDX %s - %s | margin=%d;%d;0 behind=%d\n", word, r.summary(), r.Margin, o.minMargin, r.Behind)
		if code == 0 {
			return nil
		}
		return codeError{code: code}
	case o.prom:
		safe := 0
		if err == nil || errors.As(err, new(codeError)) {
			safe = 1
		}
		fmt.Fprintf(out, "etcdx_checkpoint_resumable{checkpoint=%q} %d\netcdx_checkpoint_margin_revisions{checkpoint=%q} %d\netcdx_checkpoint_behind_revisions{checkpoint=%q} %d\netcdx_compact_revision{checkpoint=%q} %d\n",
			r.Checkpoint, safe, r.Checkpoint, r.Margin, r.Checkpoint, r.Behind, r.Checkpoint, r.Horizon)
		return err
	case g.asJSON():
		if printErr := printJSON(out, r); printErr != nil {
			return printErr
		}
		return err
	}
	fmt.Fprintf(out, "verdict   %s\ncheckpoint revision  %d\ncompact revision     %d\ncurrent revision     %d\nmargin    %d revisions%s\nbehind    %d revisions\n",
		r.Verdict, r.Revision, r.Horizon, r.Current, r.Margin, inTime(r.MarginSeconds), r.Behind)
	fmt.Fprintf(out, "resume    would %s\n", r.Resume)
	return err
}

func (r compactCheckRecord) summary() string {
	if r.Why != "" {
		return r.Why
	}
	return fmt.Sprintf("%s: checkpoint %s at revision %d, compaction at %d, %d revisions of margin", r.Verdict, r.Checkpoint, r.Revision, r.Horizon, r.Margin)
}

func inTime(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return " (" + time.Duration(*seconds*float64(time.Second)).Round(time.Second).String() + ")"
}

// nagios returns a plugin's word and exit code.
func nagios(verdict string) (string, int) {
	switch verdict {
	case "safe":
		return "OK", 0
	case "at-risk":
		return "WARNING", 1
	}
	return "CRITICAL", 2
}
