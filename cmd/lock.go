package cmd

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/lock"
	"github.com/etcdx/etcdx/pkg/output"
)

const lockHelp = `Acquires a named lock and runs a command while it is held.

The command, with all it started, is dead before anybody else can hold the lock: it is
asked to end (SIGTERM) when no renewal was answered for 60 % of the lease's time, killed
at 85 %, and killed at once when the lock's key is deleted or its lease is revoked.
Killing or stopping etcdx itself does not change that. Signals go to the command; its exit
code comes back.

Without a command it prints the lock's key and holds it until SIGINT or SIGTERM.

Options may stand before and after the lock's name, up to the command. A lock that is named
like a subcommand is reached with "etcdx lock -- NAME".

etcdctl lock and the locks of etcd's client libraries take turns with this one.

The command finds in its environment: ETCD_LOCK_KEY, ETCD_LOCK_REV (as with etcdctl),
ETCDX_FENCE (KEY@TOKEN: a fencing token that rises from holder to holder, for
put|del|txn --fence), ETCDX_LOCK_NAME, ETCDX_LEASE, ETCDX_LOCK_TTL, ETCDX_CLUSTER_ID.`

const lockExamples = `  etcdx lock backup -- backup.sh --full
  etcdx lock -n nightly -- report.sh          # not now? exit 75
  etcdx lock --cron --at-most-every 50m hourly -- job.sh   # the same crontab on every host
  etcdx lock --slots 3 downloads -- fetch.sh  # three at a time`

func newLock(g *globals) *cobra.Command {
	o := lockOptions{}
	cmd := &cobra.Command{
		Use:     "lock [options] <lockname> [options] [--] [command arg1 arg2 ...]",
		Short:   "Acquires a named lock",
		Long:    lockHelp,
		Example: lockExamples,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			command, err := g.rest(cmd, args, &o.name)
			if err != nil || o.name == "" && cmd.Flags().Changed("help") {
				return err
			}
			o.command = command
			return o.start(cmd.Context(), g)
		},
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().SetInterspersed(false)
	cmd.AddCommand(lockVerbs(g)...)
	return cmd
}

// rest takes the name from args, and the options that follow it; what is left is the command.
func (g *globals) rest(cmd *cobra.Command, args []string, name *string) (command []string, err error) {
	if len(args) == 0 {
		return nil, badArgs("lock takes a lock name argument and an optional command to execute")
	}
	*name = args[0]
	fs := cmd.Flags()
	if args = args[1:]; len(args) == 0 || args[0] == "--" || args[0] == "-" || args[0][:min(1, len(args[0]))] != "-" {
		if len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
		return args, nil
	}
	if err := fs.Parse(args); err != nil {
		return nil, badArgs(err.Error())
	}
	if help, err := fs.GetBool("help"); err == nil && help {
		*name = ""
		return nil, cmd.Help()
	}
	if g.settings, err = config.Resolve(fs, g.env); err != nil {
		return nil, err
	}
	return fs.Args(), nil
}

// lockOptions are the flags of lock, and what the command line names.
type lockOptions struct {
	name    string
	command []string

	ttl, grace, wait, connect  time.Duration
	delay                      string
	nonblock, shared, cron     bool
	slots, weight              int
	busyCode, lostCode, skip   int
	every, keep, jitter        time.Duration
	once, mark                 string
	killSignal, leftovers      string
	onLost, onAcquire, suspect string
	note                       string
	showArgs, noStdin, shell   bool
	anonymous                  bool
	quiet, verbose             bool
	sdNotify, noGuard          bool
	metricsFile                string
	detach                     bool
	whilePID                   int

	proposal *string // of an election
	limited  bool    // --wait was given
}

func (o *lockOptions) addFlags(fs *pflag.FlagSet) {
	o.ttl, o.connect = 15*time.Second, 0
	fs.Var((*wholeSeconds)(&o.ttl), "ttl", "time to live of the lease, in seconds or such as 1m")
	fs.BoolVarP(&o.nonblock, "nonblock", "n", false, "give up at once when the lock is held")
	fs.VarP(&waitValue{o: o, fs: fs}, "wait", "w", "give up after this time, connecting included (also a format, as --write-out)")
	fs.Var(&formatValue{fs: fs}, "write-out", "set the output format (fields, json, protobuf, simple, table)")
	fs.Lookup("write-out").Hidden = true
	fs.IntVarP(&o.busyCode, "busy-code", "E", exitBusy, "exit code when the lock was not to be had")
	fs.BoolVarP(&o.shared, "shared", "s", false, "share the lock with other --shared holders")
	fs.IntVar(&o.slots, "slots", 0, "let holders in until their weights fill so many slots")
	fs.IntVar(&o.weight, "weight", 1, "how many slots this holder takes")
	o.addOnceFlags(fs)
	fs.DurationVar(&o.grace, "grace", 0, "time between asking the command to end and killing it (0: a quarter of the lease's time)")
	fs.StringVar(&o.killSignal, "kill-signal", "TERM", "signal that asks the command to end when the lock is about to be lost")
	fs.IntVar(&o.lostCode, "lost-code", exitLost, "exit code when the lock was lost")
	fs.StringVar(&o.delay, "lock-delay", "auto", "wait after a holder's unclean end: auto (2 s at most), ttl, 0, or a time")
	fs.StringVar(&o.leftovers, "leftovers", "ignore", "processes that outlive the command: ignore, wait, kill")
	fs.StringVar(&o.onLost, "on-lost", "", "shell command to run beside when the lock is lost")
	fs.StringVar(&o.onAcquire, "on-acquire", "", "shell command to run beside when the lock is acquired")
	fs.StringVar(&o.suspect, "on-suspect", "", "shell command to run beside when renewals are not answered")
	fs.StringVar(&o.note, "note", "", "text for the lock's value")
	fs.BoolVar(&o.showArgs, "show-args", false, "write the command's arguments into the lock's value")
	fs.BoolVar(&o.anonymous, "anonymous", false, "leave host, user, process ID and command out of the lock's value")
	fs.BoolVar(&o.noStdin, "no-stdin", false, "do not pass standard input to the command")
	fs.BoolVar(&o.shell, "shell", false, "run the command with sh -c")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing but errors")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "say what happens to the lock")
	fs.BoolVar(&o.sdNotify, "sd-notify", false, "tell systemd: ready when acquired, and a watchdog beat for every renewal")
	fs.StringVar(&o.metricsFile, "metrics-file", "", "keep Prometheus text in this file")
	fs.BoolVar(&o.detach, "detach", false, "print the lock's variables for eval, and keep it while --while-pid lives, or until unlock")
	fs.IntVar(&o.whilePID, "while-pid", 0, "process that a detached lock lives with; when the lock is lost it is ended")
	fs.BoolVar(&o.noGuard, "no-guard", false, "do without the second process that ends the command when this one cannot")
}

func (o *lockOptions) addOnceFlags(fs *pflag.FlagSet) {
	fs.Var((*wholeSeconds)(&o.every), "at-most-every", "do nothing if the last run, on any host, started less than this ago")
	fs.StringVar(&o.once, "once", "", "do nothing if a run with this ID was started on any host")
	o.keep = 7 * 24 * time.Hour
	fs.Var((*wholeSeconds)(&o.keep), "once-keep", "how long a --once ID is remembered")
	fs.StringVar(&o.mark, "mark", "start", "which runs count: start (all that began) or success")
	fs.IntVar(&o.skip, "skip-code", 0, "exit code when the run was not due")
	fs.BoolVar(&o.cron, "cron", false, "for crontabs: --nonblock, exit 0 when busy, and output only of runs that fail")
	fs.DurationVar(&o.jitter, "jitter", 0, "wait a random time up to this before connecting")
}

// request checks the flags against each other.
func (o *lockOptions) request(g *globals) (lock.Request, error) {
	r := lock.Request{Name: o.name, TTL: o.ttl, Grace: o.grace, Try: o.nonblock || o.cron || o.limited && o.wait == 0, Delay: lock.AutoDelay, Proposal: o.proposal}
	var err error
	switch {
	case o.name == "":
		return r, badArgs("a lock needs a name")
	case o.detach && (len(o.command) > 0 || o.whilePID <= 0 || o.noGuard || !canGuard):
		return r, usageError{text: "--detach needs --while-pid, and no command", hint: `eval "$(etcdx lock --detach --while-pid $$ NAME)"`}
	case o.anonymous && (o.detach || o.showArgs):
		return r, badArgs("--anonymous leaves out what --detach and --show-args need")
	case o.shared && o.slots > 0:
		return r, badArgs("--shared and --slots are two kinds of lock: choose one")
	case o.weight != 1 && o.slots == 0:
		return r, badArgs("--weight is for --slots")
	case o.mark != "start" && o.mark != "success":
		return r, badArgs(fmt.Sprintf("bad --mark %q: start or success", o.mark))
	case o.leftovers != "ignore" && o.leftovers != "wait" && o.leftovers != "kill":
		return r, badArgs(fmt.Sprintf("bad --leftovers %q: ignore, wait or kill", o.leftovers))
	case o.slots < 0 || o.weight < 1 || o.slots > 0 && o.weight > o.slots:
		return r, badArgs(fmt.Sprintf("a weight of %d does not fit into %d slots", o.weight, o.slots))
	}
	if _, err := o.termSignal(); err != nil {
		return r, err
	}
	if o.shared {
		r.Claim.Mode = lock.Shared
	}
	if o.slots > 0 {
		r.Claim = lock.Claim{Mode: lock.Semaphore, Slots: o.slots, Weight: o.weight}
	}
	switch o.delay {
	case "auto":
	case "ttl":
		r.Delay = lock.TTLDelay
	default:
		if r.Delay, err = parseSeconds(o.delay); err != nil || r.Delay < 0 {
			return r, badArgs(fmt.Sprintf("bad --lock-delay %q: auto, ttl, 0, or a time such as 2s", o.delay))
		}
	}
	if _, err := lock.CheckTTL(o.ttl, o.grace); err != nil {
		return r, err
	}
	r.Once = lock.Once{Every: o.every, ID: o.once, Keep: o.keep, OnSuccess: o.mark == "success"}
	r.Connect = g.settings.CommandTimeout
	if o.limited && o.wait > 0 {
		r.Connect = o.wait
	}
	r.Holder = o.holder()
	return r, nil
}

// wholeSeconds is a time given as a number of seconds, like etcdctl's --ttl, or as a duration. It is rounded up to seconds.
type wholeSeconds time.Duration

// Set implements pflag.Value.
func (s *wholeSeconds) Set(text string) error {
	d, err := parseSeconds(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is below zero", text)
	}
	*s = wholeSeconds((d + time.Second - 1).Truncate(time.Second))
	return err
}

// String implements pflag.Value: etcdctl shows a number.
func (s *wholeSeconds) String() string { return strconv.Itoa(int(time.Duration(*s) / time.Second)) }

// Type implements pflag.Value.
func (s *wholeSeconds) Type() string { return "seconds" }

// maxSeconds keeps what is computed with a time from the command line within int64: 68 years.
const maxSeconds = math.MaxInt32

// parseSeconds reads a number of seconds, fractions allowed, or a duration.
func parseSeconds(text string) (time.Duration, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		var d time.Duration
		if d, err = time.ParseDuration(text); err != nil {
			return 0, err
		}
		n = d.Seconds()
	}
	if math.IsNaN(n) || math.Abs(n) > maxSeconds {
		return 0, fmt.Errorf("%q is longer than anything here lasts", text)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// waitValue is flock's -w, unless it is given one of the formats of etcdctl's -w.
type waitValue struct {
	o  *lockOptions
	fs *pflag.FlagSet
}

// Set implements pflag.Value.
func (w *waitValue) Set(text string) error {
	for _, f := range []output.Format{"simple", "fields", "json", "protobuf", "table", "jsonl", "yaml", "value"} {
		if text == string(f) {
			return w.fs.Set("write-out", text)
		}
	}
	d, err := parseSeconds(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is below zero", text)
	}
	w.o.wait, w.o.limited = d, true
	return err
}

// String implements pflag.Value.
func (w *waitValue) String() string { return "" }

// Type implements pflag.Value.
func (w *waitValue) Type() string { return "duration" }

// formatValue takes the place of the global --write-out, whose short form is a time here, and passes on what it is set to.
type formatValue struct{ fs *pflag.FlagSet }

// Set implements pflag.Value.
func (f *formatValue) Set(text string) error { return f.fs.Set("output", text) }

// String implements pflag.Value.
func (f *formatValue) String() string {
	if f.fs == nil || f.fs.Lookup("output") == nil {
		return "simple"
	}
	return f.fs.Lookup("output").Value.String()
}

// Type implements pflag.Value.
func (f *formatValue) Type() string { return "string" }
