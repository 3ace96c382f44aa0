package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
)

// lockVerbs returns the subcommands of lock.
func lockVerbs(g *globals) []*cobra.Command {
	return []*cobra.Command{newLockLs(g), newLockWho(g), newLockWait(g), newLockCheck(g), newLockRequest(g), newLockBreak(g)}
}

// store connects.
func (g *globals) lockStore() (lockStore, error) {
	c, err := g.connect()
	return lockStore{c}, err
}

// lockRecord is one contender for a lock.
type lockRecord struct {
	Schema string       `json:"schema"`
	Name   string       `json:"name"`
	Rank   int          `json:"rank"` // 1: first in the queue
	Holds  bool         `json:"holds"`
	Key    string       `json:"key"`
	Token  int64        `json:"token"`
	Lease  string       `json:"lease"` // empty: never expires
	Mode   lock.Mode    `json:"mode"`
	Holder *lock.Holder `json:"holder,omitempty"`
	// TTL and Remaining are of the lease, in seconds; -1: it is gone, or was not asked for.
	TTL       int64 `json:"ttl"`
	Remaining int64 `json:"remaining"`
}

const schemaLock = "etcdx.lock/1"

func records(name string, q lock.Queue) []lockRecord {
	holders := len(q.Holders())
	all := make([]lockRecord, len(q))
	for i, c := range q {
		all[i] = lockRecord{Schema: schemaLock, Name: name, Rank: i + 1, Holds: i < holders, Key: c.Key, Token: c.Token, Mode: c.Claim.Mode, TTL: -1, Remaining: -1}
		if c.Lease != 0 {
			all[i].Lease = strconv.FormatInt(c.Lease, 16)
		}
		if h, ok := lock.ParseHolder(c.Value); ok {
			all[i].Holder = &h
		}
	}
	return all
}

// show prints records for people or programs.
func (g *globals) showLocks(ctx context.Context, s lockStore, all []lockRecord) error {
	for i := range all {
		s.fillLease(ctx, &all[i])
	}
	sheet := output.Sheet{Columns: []string{"NAME", "RANK", "STATE", "MODE", "TOKEN", "LEASE", "RENEWED", "HOLDER"}}
	for _, r := range all {
		state, renewed, lease, who := "waiting", "never expires", "none", "unknown"
		if r.Holds {
			state = "held"
		}
		if r.Lease != "" {
			renewed, lease = fmt.Sprintf("%ds ago", r.TTL-r.Remaining), r.Lease
		}
		if h := r.Holder; h != nil {
			who = fmt.Sprintf("%s pid %d %s %s", lock.Plain(h.Host), h.PID, lock.Plain(h.User), lock.Plain(h.Command))
			if h.Note != "" {
				who += " (" + lock.Plain(h.Note) + ")"
			}
		}
		sheet.Records, sheet.Values = append(sheet.Records, r), append(sheet.Values, r.Key)
		sheet.Cells = append(sheet.Cells, []string{
			lock.Plain(r.Name), strconv.Itoa(r.Rank), state, string(r.Mode), strconv.FormatInt(r.Token, 10), lease, renewed, strings.TrimSpace(who),
		})
	}
	return g.printSheet(sheet)
}

func (s lockStore) fillLease(ctx context.Context, r *lockRecord) {
	id, err := strconv.ParseInt(r.Lease, 16, 64)
	if err != nil {
		return
	}
	resp, err := conn.Read(ctx, s.Cluster, func(ctx context.Context, m conn.Member) (*clientv3.LeaseTimeToLiveResponse, error) {
		return m.Client.TimeToLive(ctx, clientv3.LeaseID(id))
	})
	if err == nil {
		r.TTL, r.Remaining = resp.GrantedTTL, resp.TTL
	}
}

func newLockLs(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "ls [name or prefix]", Short: "Lists locks and elections, with who holds them and who waits",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.lockStore()
			if err != nil {
				return err
			}
			prefix := ""
			if len(args) > 0 {
				prefix = args[0]
			}
			names, found := []string{}, map[string]lock.Queue{}
			from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
			if prefix == "" {
				from, end = "\x00", "\x00"
			}
			_, err = s.Scan(cmd.Context(), from, end, conn.ScanOptions{Wait: g.settings.CommandTimeout}, func(_ *pb.ResponseHeader, kvs []*mvccpb.KeyValue) error {
				for _, kv := range kvs {
					name, ok := lock.IsLockKey(kv)
					if _, seen := found[name]; ok && !seen {
						names, found[name] = append(names, name), nil
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			var all []lockRecord
			for _, name := range names {
				q, _, err := lock.Read(ctx, s, name)
				if err != nil {
					return err
				}
				all = append(all, records(name, q)...)
			}
			return g.showLocks(ctx, s, all)
		},
	}
}

func newLockWho(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "who <lockname>", Short: "Prints who holds a lock; exit code 66: nobody",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withQueue(cmd, args[0], func(ctx context.Context, s lockStore, q lock.Queue) error {
				return g.showLocks(ctx, s, records(args[0], q.Holders()))
			})
		},
	}
}

// withQueue reads a lock that must be held by somebody.
func (g *globals) withQueue(cmd *cobra.Command, name string, do func(context.Context, lockStore, lock.Queue) error) error {
	s, err := g.lockStore()
	if err != nil {
		return err
	}
	ctx, cancel := g.short(cmd.Context())
	defer cancel()
	q, _, err := lock.Read(ctx, s, name)
	if err == nil && len(q) == 0 {
		err = notFoundError{fmt.Sprintf("lock %q is free", name)}
	}
	if err != nil {
		return err
	}
	return do(ctx, s, q)
}

func newLockWait(g *globals) *cobra.Command {
	o := lockOptions{busyCode: exitBusy}
	cmd := &cobra.Command{
		Use: "wait <lockname>", Short: "Waits until nobody holds or wants a lock; exit code 75: not in time",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.lockStore()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if o.limited {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, o.wait, lock.ErrBusy)
				defer cancel()
			}
			return lock.AwaitFree(ctx, s, args[0])
		},
	}
	cmd.Flags().VarP(&waitValue{o: &o, fs: cmd.Flags()}, "wait", "w", "give up after this time")
	cmd.Flags().Var(&formatValue{fs: cmd.Flags()}, "write-out", "set the output format")
	cmd.Flags().Lookup("write-out").Hidden = true
	return cmd
}

func newLockCheck(g *globals) *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use: "check", Short: "Says whether the lock of $ETCDX_FENCE is still held; exit code 79: no",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if text == "" {
				text = fromEnvironment
			}
			f, err := g.parseFence(text)
			if err != nil {
				return err
			}
			s, err := g.lockStore()
			if err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			resp, err := s.Get(ctx, f.key)
			if err != nil {
				return fmt.Errorf("check %s: %w", f.key, err)
			}
			if len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != f.token {
				return fmt.Errorf("lock %s is not held with token %d: %w", f.key, f.token, lock.ErrLost)
			}
			return nil
		},
	}
	addFenceFlag(cmd.Flags(), &text)
	return cmd
}

func newLockRequest(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "request <lockname>", Short: "Asks the holders of a lock to end their work and let go",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withQueue(cmd, args[0], func(ctx context.Context, s lockStore, q lock.Queue) error {
				var errs []error
				for _, c := range q.Holders() {
					errs = append(errs, lock.Ask(ctx, s, c, requester()))
				}
				return errors.Join(errs...)
			})
		},
	}
}

// requester says who asks for a lock.
func requester() string {
	h := (&lockOptions{}).holder()
	return fmt.Sprintf("%s@%s (pid %d)", h.User, h.Host, os.Getpid())
}

const breakHelp = `Takes a lock away from its holders, after printing who they are.

Without --force nobody can hold the lock before the holder has certainly ended: one that
lives kills its command and lets go at once; one that is cut off has passed its own deadline
when the lock becomes free, after its time to live and two seconds. Holders that are not
etcdx (etcdctl, libraries) do not notice either way.

--force deletes the key now. The next holder waits for the lock-delay only.

It asks for the holder's token, as "lock ls" shows it, or --yes.`

func newLockBreak(g *globals) *cobra.Command {
	var force, yes bool
	cmd := &cobra.Command{
		Use: "break [--force] <lockname> [token]", Short: "Takes a lock away from its holders", Long: breakHelp,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !yes {
				return usageError{text: "break: whose lock?", hint: "give the token that \"etcdx lock ls " + args[0] + "\" shows, or --yes for every holder"}
			}
			return g.withQueue(cmd, args[0], func(ctx context.Context, s lockStore, q lock.Queue) error {
				holders := q.Holders()
				if len(args) == 2 {
					holders = withToken(q, args[1])
				}
				if len(holders) == 0 {
					return notFoundError{fmt.Sprintf("lock %q has no holder with token %s", args[0], args[1])}
				}
				if err := g.showLocks(ctx, s, records(args[0], holders)); err != nil {
					return err
				}
				return breakAll(cmd.Context(), s, holders, force)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete the key now")
	cmd.Flags().BoolVar(&yes, "yes", false, "without a token: whoever holds it")
	return cmd
}

func withToken(q lock.Queue, token string) (found lock.Queue) {
	for _, c := range q {
		if strconv.FormatInt(c.Token, 10) == token {
			found = append(found, c)
		}
	}
	return found
}

func breakAll(ctx context.Context, s lockStore, holders lock.Queue, force bool) error {
	var errs []error
	for _, c := range holders {
		if force {
			errs = append(errs, lock.BreakNow(ctx, s, c))
			continue
		}
		r := lockRecord{Lease: strconv.FormatInt(c.Lease, 16)}
		if s.fillLease(ctx, &r); c.Lease == 0 || r.TTL < 1 {
			r.TTL = int64(time.Minute / time.Second)
		}
		bctx, cancel := context.WithTimeout(ctx, time.Duration(r.TTL)*time.Second+10*time.Second)
		errs = append(errs, lock.Break(bctx, s, c, time.Duration(r.TTL)*time.Second))
		cancel()
	}
	return errors.Join(errs...)
}
