package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/output"
	"github.com/etcdx/etcdx/pkg/watch"
)

const compactCheckHelp = `Says whether a checkpoint can still be resumed without a resync, and for how long.

It compares the checkpoint's revision with the cluster's compaction horizon, which it
learns without any right but that to watch the range. It changes nothing in etcd, and
reads a checkpoint that is in use.

Every call, and a running watch, also remembers beside the checkpoint what it saw of
the cluster's compactions. As soon as two of them were seen to happen, it foretells
when the checkpoint will be compacted if it does not move; before that it says that
it does not know.

It exits with 75 when the margin is below --min-margin, or the time left below --warning.
With --nagios: 0 OK, 1 WARNING, 2 CRITICAL (compacted, or the time left is below
--critical), 3 UNKNOWN.`

func newCompactCheck(g *globals) *cobra.Command {
	var o compactCheckOptions
	cmd := &cobra.Command{
		Use:     "compact-check <checkpoint>",
		Short:   "Says whether a checkpoint can still be resumed, and for how long",
		Long:    compactCheckHelp,
		Example: "  etcdx compact-check orders\n  etcdx compact-check orders --nagios --warning 1h --critical 10m",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := g.checkpointPath(args[0])
			if err != nil {
				return err
			}
			o.prom = o.prom || g.settings.Output == "prom"
			if o.critical > o.warning && cmd.Flags().Changed("warning") {
				return badArgs("--critical must not be longer than --warning")
			}
			o.warning = max(o.warning, o.critical)
			return o.run(cmd.Context(), g, args[0], path)
		},
	}
	cmd.Flags().Int64Var(&o.minMargin, "min-margin", 0, "Warn when fewer revisions than this lie between the horizon and the checkpoint")
	cmd.Flags().DurationVar(&o.warning, "warning", 0, "Warn when the checkpoint is expected to be compacted within this time")
	cmd.Flags().DurationVar(&o.critical, "critical", 0, "With --nagios: critical when it is expected to be compacted within this time")
	cmd.Flags().BoolVar(&o.nagios, "nagios", false, "Print one line and exit as a Nagios plugin does")
	cmd.Flags().BoolVar(&o.prom, "prom", false, "Print metrics in Prometheus' text format")
	return cmd
}

type compactCheckOptions struct {
	minMargin         int64
	warning, critical time.Duration
	nagios, prom      bool
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
	// Compactions is how many compactions were seen to happen; from two on it is known how far apart they are, and when the
	// checkpoint will be lost if it does not move: by which one from now, at what time, and how long that is. null: unknown.
	Compactions     int        `json:"compactions_seen"`
	IntervalSeconds *float64   `json:"compaction_interval_seconds"`
	LostBy          *int64     `json:"lost_by_compaction"`
	LostAt          *time.Time `json:"lost_at"`
	LeftSeconds     *float64   `json:"left_seconds"`

	Resume string `json:"resume"` // what resume would do
	Why    string `json:"why,omitempty"`
}

const schemaCompactCheck = "etcdx.compact-check/1"

func (o compactCheckOptions) run(ctx context.Context, g *globals, name, path string) error {
	s, err := checkpoint.Read(checkpoint.OS{}, path)
	if err == nil {
		var r compactCheckRecord
		r, err = o.check(ctx, g, s, horizonsPath(path))
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

// check asks the cluster, and adds what it saw to the file of its compactions. The record's verdict is empty if it did not
// answer.
func (o compactCheckOptions) check(ctx context.Context, g *globals, s checkpoint.State, horizons string) (compactCheckRecord, error) {
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
	w := &watch.Watcher{Config: watch.Config{Range: spec.watchRange()}, Source: watchSource{c, g.notice}, KV: c}
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
	saw, err := observe(ctx, w, horizons)
	if err != nil {
		return compactCheckRecord{}, err
	}
	r.Horizon = saw.horizon
	r.foretell(saw.cadence, time.Now())
	return o.judge(r, s, spec)
}

// foretell fills in what follows from the compactions seen so far.
func (r *compactCheckRecord) foretell(c watch.Cadence, now time.Time) {
	r.Compactions = c.Compactions
	if !c.Known() {
		return
	}
	r.IntervalSeconds = new(c.Every.Seconds())
	if at, by, ok := c.Loss(r.Revision, now); ok {
		r.LostBy, r.LostAt, r.LeftSeconds = &by, new(at.UTC().Round(time.Millisecond)), new(at.Sub(now).Seconds())
	}
}

// within says whether the checkpoint is expected to be lost before d has passed. What is not known alarms nobody.
func (r compactCheckRecord) within(d time.Duration) bool {
	return d > 0 && r.LeftSeconds != nil && *r.LeftSeconds < d.Seconds()
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
	case r.Margin < o.minMargin || r.within(o.warning):
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
		if r.Verdict == "at-risk" && r.within(o.critical) {
			word, code = "CRITICAL", 2
		}
		fmt.Fprintf(out, "ETCDX %s - %s | margin=%d;%d;0 behind=%d left=%s\n", word, r.summary(), r.Margin, o.minMargin, r.Behind, o.leftData(r))
		if code == 0 {
			return nil
		}
		return codeError{code: code}
	case o.prom:
		fmt.Fprint(out, r.prometheus(err == nil || errors.As(err, new(codeError))))
		return err
	case g.settings.Output != string(output.Simple):
		if printErr := g.printSheet(output.Sheet{Records: []any{r}, One: true, Values: []string{r.Verdict}}); printErr != nil {
			return printErr
		}
		return err
	}
	fmt.Fprintf(out, "verdict   %s\ncheckpoint revision  %d\ncompact revision     %d\ncurrent revision     %d\nmargin    %d revisions%s\nbehind    %d revisions\n",
		r.Verdict, r.Revision, r.Horizon, r.Current, r.Margin, inTime(r.MarginSeconds), r.Behind)
	fmt.Fprintf(out, "forecast  %s\n", r.forecast())
	fmt.Fprintf(out, "resume    would %s\n", r.Resume)
	return err
}

// forecast says when the checkpoint will be lost, for people.
func (r compactCheckRecord) forecast() string {
	if r.LeftSeconds == nil {
		return fmt.Sprintf("unknown: %d of the 2 compactions that it takes were seen", r.Compactions)
	}
	every := seconds(*r.IntervalSeconds)
	switch *r.LostBy {
	case 0:
		return fmt.Sprintf("lost already (a compaction every %v)", every)
	case 1:
		return fmt.Sprintf("lost in about %v, by the next compaction (one every %v), if it does not move", seconds(*r.LeftSeconds), every)
	}
	return fmt.Sprintf("lost in about %v, by compaction %d from now (one every %v), if it does not move", seconds(*r.LeftSeconds), *r.LostBy, every)
}

// seconds rounds to what is worth reading.
func seconds(s float64) time.Duration {
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// leftData is the time left as a plugin's performance data: U is a value that is not known.
func (o compactCheckOptions) leftData(r compactCheckRecord) string {
	if r.LeftSeconds == nil {
		return "U"
	}
	return fmt.Sprintf("%.0fs;%.0f:;%.0f:", *r.LeftSeconds, o.warning.Seconds(), o.critical.Seconds())
}

// prometheus renders the record in Prometheus' text format; what is not known is left out.
func (r compactCheckRecord) prometheus(resumable bool) string {
	var b strings.Builder
	metric := func(name string, value float64) {
		fmt.Fprintf(&b, "%s{checkpoint=%q} %.15g\n", name, r.Checkpoint, value)
	}
	safe := 0.0
	if resumable {
		safe = 1
	}
	metric("etcdx_checkpoint_resumable", safe)
	metric("etcdx_checkpoint_margin_revisions", float64(r.Margin))
	metric("etcdx_checkpoint_behind_revisions", float64(r.Behind))
	metric("etcdx_compact_revision", float64(r.Horizon))
	metric("etcdx_compactions_seen", float64(r.Compactions))
	if r.IntervalSeconds != nil {
		metric("etcdx_compaction_interval_seconds", *r.IntervalSeconds)
	}
	if r.LeftSeconds != nil {
		metric("etcdx_checkpoint_left_seconds", *r.LeftSeconds)
	}
	return b.String()
}

func (r compactCheckRecord) summary() string {
	if r.Why != "" {
		return r.Why
	}
	text := fmt.Sprintf("%s: checkpoint %s at revision %d, compaction at %d, %d revisions of margin", r.Verdict, r.Checkpoint, r.Revision, r.Horizon, r.Margin)
	if r.LeftSeconds != nil && r.Margin >= 0 {
		text += fmt.Sprintf(", lost in about %v if it does not move", seconds(*r.LeftSeconds))
	}
	return text
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
