package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/watch"
)

// watchSpec is what a checkpoint remembers of the command line: all that resume needs.
type watchSpec struct {
	Key    []byte   `json:"key"`
	End    []byte   `json:"range_end,omitempty"`
	PrevKV bool     `json:"prev_kv,omitempty"`
	Only   string   `json:"only,omitempty"` // put or delete; empty: both
	Format string   `json:"format,omitempty"`
	Hex    bool     `json:"hex,omitempty"`
	Exec   []string `json:"exec,omitempty"`
	Mode   string   `json:"mode,omitempty"` // of exec: event, batch or coprocess

	Debounce   time.Duration `json:"debounce_ns,omitempty"`
	Attempts   int           `json:"attempts,omitempty"`
	OnFail     string        `json:"on_fail,omitempty"`
	DeadLetter string        `json:"dead_letter,omitempty"`
	Grace      time.Duration `json:"grace_ns"`

	OnCompacted  string        `json:"on_compacted"`
	OnRegression string        `json:"on_regression"`
	IdleAdvance  string        `json:"idle_advance"`
	IdleAfter    time.Duration `json:"idle_after_ns"`
	IdleLag      time.Duration `json:"idle_lag_ns"`
	QueueMiB     int64         `json:"queue_mib"`
	TrackKeys    bool          `json:"track_keys"`
	VerifyEvery  time.Duration `json:"verify_every_ns,omitempty"`
	MetricsFile  string        `json:"metrics_file,omitempty"`
}

// keepOptions are the flags of a watch with a checkpoint.
type keepOptions struct {
	name, start                 string
	spec                        watchSpec
	putOnly, delOnly            bool
	batch, coprocess, trackKeys bool
}

func (o *keepOptions) addFlags(fs *pflag.FlagSet) {
	s := &o.spec
	fs.StringVar(&o.name, "checkpoint", "", "Remember the position under this name, or in this file, and continue there")
	fs.StringVar(&o.start, "start", "sync", "Where to start without a checkpoint: sync (the present state, then changes), now, or a revision")
	fs.BoolVar(&o.putOnly, "put-only", false, "Leave deletes out")
	fs.BoolVar(&o.delOnly, "delete-only", false, "Leave puts out")
	fs.BoolVar(&o.batch, "batch", false, "Run the command once per batch of revisions, with JSON lines on its standard input")
	fs.BoolVar(&o.coprocess, "coprocess", false, "Run the command once; it acknowledges on file descriptor 3")
	fs.DurationVar(&s.Debounce, "debounce", 0, "With --batch: wait until nothing new came for this long (at most ten times as long)")
	fs.IntVar(&s.Attempts, "attempts", 0, "How often to try a handler before --on-fail applies (0: for ever, if nothing else says so)")
	fs.StringVar(&s.OnFail, "on-fail", failStop, "What to do with events whose handler gives up: stop, skip or dead-letter")
	fs.StringVar(&s.DeadLetter, "dead-letter", "", "File that takes the events the handler does not (implies --on-fail dead-letter)")
	fs.DurationVar(&s.Grace, "grace", 10*time.Second, "How long a stop may take: for the handler to finish, or to be ended")
	fs.StringVar(&s.OnCompacted, "on-compacted", "sync", "When the position is compacted: sync (send what changed and what vanished) or fail")
	fs.StringVar(&s.OnRegression, "on-regression", "fail", "When the cluster's history went back (a restored backup): fail or sync")
	fs.StringVar(&s.IdleAdvance, "idle-advance", string(watch.IdleProof), "How to keep up while idle if the servers' progress marks are not sound: proof, strict (not at all) or naive (can lose events)")
	fs.DurationVar(&s.IdleAfter, "idle-after", 600*time.Second, "Advance an idle watch after this long without an event")
	fs.DurationVar(&s.IdleLag, "idle-lag", 60*time.Second, "Advance it to the revision that was current this long before")
	fs.Int64Var(&s.QueueMiB, "queue-mib", 16, "Bound, in MiB, on what waits for the handler")
	fs.BoolVar(&o.trackKeys, "track-keys", true, "Keep an index of the keys, which tells after a compaction which ones are gone")
	fs.DurationVar(&s.VerifyEvery, "verify-every", 0, "Compare the index with the cluster this often (0: never)")
	fs.StringVar(&s.MetricsFile, "metrics-file", "", "Write metrics in Prometheus' text format to this file")
}

// needsCheckpoint returns the name of a given flag that means nothing without --checkpoint, or "".
func (o *keepOptions) needsCheckpoint(given *pflag.FlagSet) string {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&keepOptions{}).addFlags(own)
	name := ""
	own.VisitAll(func(f *pflag.Flag) {
		if given.Changed(f.Name) && name == "" {
			name = f.Name
		}
	})
	return name
}

// complete checks the flags against each other and fills in the spec.
func (o *keepOptions) complete(g *globals, r watch.Range, prevKV bool, exec []string) error {
	s := &o.spec
	s.Key, s.End, s.PrevKV, s.Exec, s.TrackKeys = r.Key, r.End, prevKV, exec, o.trackKeys
	s.Format, s.Hex = g.settings.Output, g.settings.Hex
	if s.DeadLetter != "" && s.OnFail == failStop {
		s.OnFail = failDead
	}
	switch {
	case o.putOnly && o.delOnly:
		return badArgs("--put-only and --delete-only leave nothing")
	case o.putOnly:
		s.Only = "put"
	case o.delOnly:
		s.Only = "delete"
	}
	switch {
	case o.batch && o.coprocess:
		return badArgs("--batch and --coprocess exclude each other")
	case (o.batch || o.coprocess) && len(exec) == 0:
		return badArgs("--batch and --coprocess need a command after --")
	case o.batch:
		s.Mode = "batch"
	case o.coprocess:
		s.Mode = "coprocess"
	}
	for _, c := range []struct {
		flag, value string
		allowed     []string
	}{
		{"on-fail", s.OnFail, []string{failStop, failSkip, failDead}},
		{"on-compacted", s.OnCompacted, []string{"sync", "fail"}},
		{"on-regression", s.OnRegression, []string{"sync", "fail"}},
		{"idle-advance", s.IdleAdvance, []string{"proof", "strict", "naive"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return badArgs(fmt.Sprintf("--%s=%q: choose one of %s", c.flag, c.value, strings.Join(c.allowed, ", ")))
		}
	}
	switch {
	case s.OnFail == failDead && s.DeadLetter == "":
		return badArgs("--on-fail dead-letter needs --dead-letter FILE")
	case s.IdleLag >= s.IdleAfter && s.IdleAdvance != "strict":
		return badArgs("--idle-lag must be shorter than --idle-after")
	case s.VerifyEvery > 0 && !s.TrackKeys:
		return badArgs("--verify-every needs --track-keys")
	case s.QueueMiB <= 0 || s.Attempts < 0 || s.Grace <= 0:
		return badArgs("--queue-mib and --grace must be positive, and --attempts not negative")
	}
	return nil
}

func (s watchSpec) watchRange() watch.Range { return watch.Range{Key: s.Key, End: s.End} }

// same says whether two specs watch the same, so that one's position can serve the other.
func (s watchSpec) same(t watchSpec) bool {
	return string(s.Key) == string(t.Key) && string(s.End) == string(t.End) && s.Only == t.Only && s.PrevKV == t.PrevKV
}

// otherWatchError says that a checkpoint belongs to another watch.
type otherWatchError struct{ path, want, have string }

func (e *otherWatchError) Error() string {
	return fmt.Sprintf("checkpoint %s belongs to a watch of %s, not of %s", e.path, e.have, e.want)
}

// describe names what a spec watches.
func (s watchSpec) describe() string {
	r := s.watchRange()
	text := fmt.Sprintf("key %q", r.Key)
	if p, ok := isPrefix(r); ok {
		text = fmt.Sprintf("prefix %q", p)
	} else if len(r.End) > 0 {
		text = fmt.Sprintf("range [%q, %q)", r.Key, r.End)
	}
	if s.Only != "" {
		text += " (" + s.Only + "s only)"
	}
	if s.PrevKV {
		text += " with previous values"
	}
	return text
}

// checkpointPath returns the file of a checkpoint: a path if it looks like one, else a name in the state directory.
func (g *globals) checkpointPath(name string) (string, error) {
	if strings.ContainsAny(name, `/\`) {
		return name, nil
	}
	dir, err := g.checkpointDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name+".checkpoint"), nil
}

// checkpointDir is where checkpoints live: systemd's state directory, XDG's, or the settings'.
func (g *globals) checkpointDir() (string, error) {
	dir := g.settings.StateDir
	if dir == "" {
		if v, ok := g.env("STATE_DIRECTORY"); ok && v != "" {
			dir, _, _ = strings.Cut(v, ":")
		} else if v, ok := g.env("XDG_STATE_HOME"); ok && filepath.IsAbs(v) {
			dir = filepath.Join(v, "etcdx")
		} else if v, ok := g.env("HOME"); ok && v != "" {
			dir = filepath.Join(v, ".local", "state", "etcdx")
		}
	}
	if dir == "" {
		return "", usageError{text: "there is no state directory for checkpoints", hint: "set HOME or XDG_STATE_HOME, or give a path with a slash"}
	}
	return filepath.Join(dir, "checkpoints"), nil
}

// runKept is watch with a checkpoint: a new one, or the one that exists.
func (o *watchOptions) runKept(cmd *cobra.Command, g *globals, t watchTarget) error {
	r, err := o.rangeOf(t)
	if err != nil {
		return err
	}
	if o.rev > 0 {
		if cmd.Flags().Changed("start") {
			return badArgs("--rev and --start exclude each other")
		}
		o.keep.start = strconv.FormatInt(o.rev, 10)
	}
	if err := o.keep.complete(g, r, o.prevKV, t.exec); err != nil {
		return err
	}
	path, err := g.checkpointPath(o.keep.name)
	if err != nil {
		return err
	}
	file, err := checkpoint.Open(checkpoint.OS{}, path)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = o.keep.create(cmd.Context(), g, path)
	}
	if err != nil {
		return err
	}
	var saved watchSpec
	if err := json.Unmarshal(file.State().Spec, &saved); err != nil {
		return errors.Join(&checkpoint.CorruptError{Path: path, Why: "its spec is not readable"}, file.Close())
	}
	if !saved.same(o.keep.spec) {
		return errors.Join(&otherWatchError{path: path, want: o.keep.spec.describe(), have: saved.describe()}, file.Close())
	}
	return keptWatch{g: g, spec: o.keep.spec, file: file}.run(cmd.Context())
}

// create makes the checkpoint, for the cluster as it is now.
func (o *keepOptions) create(ctx context.Context, g *globals, path string) (*checkpoint.File, error) {
	c, err := g.connect()
	if err != nil {
		return nil, err
	}
	w := &watch.Watcher{Config: watch.Config{Range: o.spec.watchRange()}, KV: c}
	ctx, cancel := g.short(ctx)
	defer cancel()
	head, err := w.Verify(ctx, watch.Evidence{})
	if err != nil {
		return nil, err
	}
	s := newState(head, o.spec)
	switch o.start {
	case "sync":
	case "now":
		s.Rev = head.Rev
	default:
		rev, err := strconv.ParseInt(o.start, 10, 64)
		if err != nil || rev < 1 {
			return nil, badArgs(fmt.Sprintf("--start=%q: it takes sync, now or a revision", o.start))
		}
		if rev > head.Rev+1 {
			return nil, usageError{text: fmt.Sprintf("revision %d has not come yet: the cluster is at %d", rev, head.Rev)}
		}
		s.Rev = rev - 1
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &checkpoint.WriteError{Path: path, Err: err}
	}
	if err := checkpoint.RemoveIndex(indexPath(path)); err != nil {
		return nil, &checkpoint.WriteError{Path: path, Err: err}
	}
	return checkpoint.Create(checkpoint.OS{}, path, s)
}

func newState(head watch.Head, spec watchSpec) checkpoint.State {
	text, _ := json.Marshal(spec) // strings, numbers and bytes: it cannot fail
	return checkpoint.State{
		Format: checkpoint.Format, ClusterID: head.ClusterID, MemberID: head.MemberID, Term: head.Term, Phase: phaseLive,
		Spec: text, Writer: thisWriter(), Updated: time.Now().UTC(),
	}
}

func thisWriter() checkpoint.Writer {
	host, _ := os.Hostname()
	return checkpoint.Writer{Host: host, PID: os.Getpid(), App: "etcdx"}
}

func indexPath(path string) string { return path + ".keys" }
