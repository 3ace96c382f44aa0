package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdx/etcdx/pkg/checkpoint"
	"github.com/etcdx/etcdx/pkg/output"
)

const checkpointHelp = `Lists, shows, changes and removes the checkpoints of watches.

A checkpoint's name is that of a file in the state directory; a name with a slash is a
file's path. set and rm refuse a checkpoint that a running watch holds.`

func newCheckpoint(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "checkpoint <ls|show|set|rm>",
		Short:   "Lists, shows, changes and removes the checkpoints of watches",
		Long:    checkpointHelp,
		Example: "  etcdx checkpoint ls\n  etcdx checkpoint show orders\n  etcdx checkpoint set orders 4711",
	}
	cmd.AddCommand(newCheckpointLs(g), newCheckpointShow(g), newCheckpointSet(g), newCheckpointRm(g))
	return cmd
}

// checkpointRecord is a checkpoint for people and programs.
type checkpointRecord struct {
	Schema   string     `json:"schema"`
	Name     string     `json:"name"`
	Path     string     `json:"path"`
	Revision int64      `json:"revision"`
	Phase    string     `json:"phase"`
	Watches  string     `json:"watches"`
	Cluster  string     `json:"cluster_id"`
	Term     uint64     `json:"raft_term"`
	Updated  time.Time  `json:"updated"`
	Writer   string     `json:"writer"`
	Spec     *watchSpec `json:"spec,omitempty"`
	Error    string     `json:"error,omitempty"`
}

const schemaCheckpoint = "etcdx.checkpoint/1"

func readCheckpoint(path string) checkpointRecord {
	r := checkpointRecord{Schema: schemaCheckpoint, Name: strings.TrimSuffix(filepath.Base(path), ".checkpoint"), Path: path}
	s, err := checkpoint.Read(checkpoint.OS{}, path)
	if err == nil {
		r.Spec = &watchSpec{}
		err = json.Unmarshal(s.Spec, r.Spec)
	}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Revision, r.Phase, r.Watches, r.Term, r.Updated = s.Rev, s.Phase, r.Spec.describe(), s.Term, s.Updated
	r.Cluster = strconv.FormatUint(s.ClusterID, 16)
	r.Writer = fmt.Sprintf("%s[%d]", s.Writer.Host, s.Writer.PID)
	return r
}

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if isTerminal(w) {
		text = output.EscapeJSON(text)
	}
	if _, err := fmt.Fprintf(w, "%s\n", text); err != nil {
		return &output.WriteError{Err: err}
	}
	return nil
}

func newCheckpointLs(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "Lists the checkpoints in the state directory", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := g.checkpointDir()
			if err != nil {
				return err
			}
			paths, err := filepath.Glob(filepath.Join(dir, "*.checkpoint"))
			if err != nil {
				return err
			}
			var sheet output.Sheet
			for _, path := range paths {
				r := readCheckpoint(path)
				r.Spec = nil
				if r.Error != "" {
					sheet.Simple += fmt.Sprintf("%s\t%s\n", output.Escape(r.Name, true), output.Escape(r.Error, true))
				} else {
					sheet.Simple += fmt.Sprintf("%s\trevision %d\t%s\t%s\n", output.Escape(r.Name, true), r.Revision, r.Updated.Format(time.RFC3339), r.Watches)
				}
				sheet.Records, sheet.Values = append(sheet.Records, r), append(sheet.Values, r.Name)
			}
			return g.printSheet(sheet)
		},
	}
}

func newCheckpointShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "show <checkpoint>", Short: "Shows a checkpoint", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := g.checkpointPath(args[0])
			if err != nil {
				return err
			}
			if _, err := checkpoint.Read(checkpoint.OS{}, path); err != nil {
				return err
			}
			r := readCheckpoint(path)
			text := fmt.Sprintf("name      %s\npath      %s\nwatches   %s\nrevision  %d\nphase     %s\ncluster   %s\nterm      %d\nupdated   %s\nwriter    %s\n",
				output.Escape(r.Name, true), output.Escape(r.Path, true), r.Watches, r.Revision, output.Escape(r.Phase, true), r.Cluster, r.Term,
				r.Updated.Format(time.RFC3339Nano), output.Escape(r.Writer, true))
			if len(r.Spec.Exec) > 0 {
				text += fmt.Sprintf("handler   %s %q\n", orElse(r.Spec.Mode, "event"), r.Spec.Exec)
			}
			return g.printSheet(output.Sheet{Records: []any{r}, One: true, Values: []string{strconv.FormatInt(r.Revision, 10)}, Simple: text})
		},
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func newCheckpointSet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "set <checkpoint> <revision>", Short: "Moves a checkpoint: the next event sent is the first one after the revision",
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			rev, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || rev < 1 {
				return badArgs(fmt.Sprintf("%q is not a revision", args[1]))
			}
			path, err := g.checkpointPath(args[0])
			if err != nil {
				return err
			}
			file, err := checkpoint.Open(checkpoint.OS{}, path)
			if err != nil {
				return err
			}
			s := file.State()
			// What the anchor and the index say belongs to the old position.
			s.Rev, s.Anchor, s.Phase, s.Updated, s.Writer = rev, nil, phaseLive, time.Now().UTC(), thisWriter()
			err = checkpoint.RemoveIndex(indexPath(file.Path()))
			return errors.Join(err, file.Put(s), file.Close())
		},
	}
}

func newCheckpointRm(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "rm <checkpoint>", Short: "Removes a checkpoint and its key index", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := g.checkpointPath(args[0])
			if err != nil {
				return err
			}
			// A damaged file may go too, but not one that is in use, nor one that is no checkpoint at all.
			file, err := checkpoint.Open(checkpoint.OS{}, path)
			if err != nil && !(as[*checkpoint.CorruptError](err) && strings.HasSuffix(path, ".checkpoint")) {
				return err
			}
			if file != nil {
				defer file.Close()
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			if err := os.Remove(horizonsPath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return checkpoint.RemoveIndex(indexPath(path))
		},
	}
}
