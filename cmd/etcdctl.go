package cmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"
	"google.golang.org/grpc/grpclog"

	"github.com/etcdx/etcdx/pkg/config"
)

// mount adds every command of etcdctl that etcdx does not have itself. Building them costs time that get, put or lock
// should not pay, so run calls it only when the command line names none of etcdx's own commands.
func (g *globals) mount(root *cobra.Command) {
	// The flag is cobra's, for the process; etcdctl sets it too, so that "member l" works.
	cobra.EnablePrefixMatching = true
	root.AddGroup(command.NewKVGroup(), command.NewClusterMaintenanceGroup(), command.NewConcurrencyGroup(),
		command.NewAuthenticationGroup(), command.NewUtilityGroup())
	command.SetHelpCmdGroup(root)
	own := map[string]*cobra.Command{}
	for _, c := range root.Commands() {
		own[c.Name()] = c
	}
	for _, theirs := range etcdctlCommands(root) {
		if mine, ok := own[theirs.Name()]; ok {
			mine.GroupID = theirs.GroupID
			continue
		}
		g.adopt(theirs)
		if theirs.Name() == "txn" {
			g.addTxn(theirs)
		}
		root.AddCommand(theirs)
	}
}

// etcdctlCommands returns the commands of etcdctl 3.7.
func etcdctlCommands(root *cobra.Command) []*cobra.Command {
	return []*cobra.Command{
		command.NewGetCommand(), command.NewPutCommand(), command.NewDelCommand(), command.NewTxnCommand(),
		command.NewCompactionCommand(), command.NewAlarmCommand(), command.NewDefragCommand(), command.NewEndpointCommand(),
		command.NewMoveLeaderCommand(), command.NewWatchCommand(), command.NewVersionCommand(), command.NewLeaseCommand(),
		command.NewMemberCommand(), command.NewSnapshotCommand(), command.NewMakeMirrorCommand(), command.NewLockCommand(),
		command.NewElectCommand(), command.NewAuthCommand(), command.NewUserCommand(), command.NewRoleCommand(),
		command.NewCheckCommand(), command.NewCompletionCommand(), command.NewDowngradeCommand(), command.NewOptionsCommand(root),
	}
}

// adopt makes a command of etcdctl, and all below it, take etcdx's settings before they run.
func (g *globals) adopt(c *cobra.Command) {
	for _, sub := range c.Commands() {
		g.adopt(sub)
	}
	if c.Run == nil {
		return
	}
	run := c.Run
	c.Run = nil
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if isLocal(cmd) {
			run(cmd, args)
			return nil
		}
		if err := g.lend(cmd); err != nil {
			return err
		}
		if !g.asEtcdctl && !drawsOnStderr(cmd) {
			return g.supervise(cmd, args)
		}
		// These commands do not look at a context: signals must end them, as they end etcdctl.
		g.ignoreSignals()
		if err := g.debugWithoutSecrets(cmd.Flags()); err != nil {
			return err
		}
		takeFromEnvironment(cmd.Flags(), g.env)
		if !g.asEtcdctl {
			_, format, _, err := g.convert(commandWords(cmd), g.streams.Out)
			if err == nil {
				err = cmd.Flags().Set("write-out", string(format))
			}
			if err != nil {
				return err
			}
		}
		run(cmd, args)
		return nil
	}
}

// debugWithoutSecrets does what --debug does in etcdctl, which prints every setting, but keeps the secrets among them to
// itself: lend has put there what a password file says, and logs are read by many.
func (g *globals) debugWithoutSecrets(fs *pflag.FlagSet) error {
	if !g.settings.Debug {
		return nil
	}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2WithVerbosity(g.streams.Err, g.streams.Err, g.streams.Err, 4))
	fs.VisitAll(func(f *pflag.Flag) {
		fmt.Fprintf(g.streams.Err, "%s=%s\n", config.Variable("ETCDCTL", f.Name), config.WithoutSecret(f.Name, f.Value.String()))
	})
	return fs.Set("debug", "false") // etcdctl would print them again
}

// isLocal says whether a command of etcdctl talks to nobody.
func isLocal(cmd *cobra.Command) bool {
	return slices.Contains([]string{"version", "completion", "options"}, topName(cmd))
}

// drawsOnStderr says whether a command draws a progress bar there, which needs the terminal itself.
func drawsOnStderr(cmd *cobra.Command) bool { return topName(cmd) == "check" }

// lend sets the flags that a command of etcdctl reads to etcdx's settings: who to log in as, and which endpoints to use.
func (g *globals) lend(cmd *cobra.Command) error {
	if err := g.complete(); err != nil {
		return err
	}
	fs := cmd.Flags()
	for name, value := range map[string]string{
		"user": g.settings.Conn.Auth.User, "password": g.settings.Conn.Auth.Password, "auth-jwt-token": g.settings.Conn.Auth.Token,
	} {
		if value != "" {
			if err := fs.Set(name, value); err != nil {
				return err
			}
		}
	}
	if fs.Lookup("discovery-srv").Value.String() != "" {
		return nil // etcdctl looks the endpoints up itself, and the server's name with them
	}
	endpoints := g.settings.Conn.Endpoints
	if servedByAny(cmd) && !g.settings.Conn.Pin && (len(endpoints) > 1 || !g.asEtcdctl) {
		best, err := g.answering(cmd.Context())
		switch {
		case err == nil:
			endpoints = []string{best}
		case !g.asEtcdctl:
			return fmt.Errorf("%s: %w", strings.Join(commandWords(cmd), " "), err)
		}
	}
	f := fs.Lookup("endpoints")
	f.Changed = true
	// Set would add to a list that the command line began.
	return f.Value.(pflag.SliceValue).Replace(endpoints)
}

// takeFromEnvironment removes the variables whose values are in the flags by now: etcdctl refuses a setting that is made in
// both places, and warns of ETCDCTL_API, which older scripts set.
func takeFromEnvironment(fs *pflag.FlagSet, env func(string) (string, bool)) {
	fs.VisitAll(func(f *pflag.Flag) { _ = os.Unsetenv(config.Variable("ETCDCTL", f.Name)) })
	if v, _ := env("ETCDCTL_API"); v == "3" {
		_ = os.Unsetenv("ETCDCTL_API")
	}
}

// servedByAny says whether a command of etcdctl asks the cluster something that any one member can answer, so that etcdx may
// choose the member. The others talk to each endpoint, to the leader among them, to exactly the one given, or hold on for
// long and are better off with all of them.
func servedByAny(cmd *cobra.Command) bool {
	switch strings.Join(commandWords(cmd), " ") {
	case "lease keep-alive", "make-mirror", "move-leader", "check perf", "check datascale", "watch", "lock", "elect":
		return false
	}
	switch topName(cmd) {
	case "endpoint", "defrag", "snapshot":
		return false
	}
	return true
}

// answering returns the endpoint that served a read first.
func (g *globals) answering(ctx context.Context) (string, error) {
	c, err := g.connect()
	if err != nil {
		return "", err
	}
	ctx, cancel := g.short(ctx)
	defer cancel()
	return answering(ctx, c)
}

// isDenial says whether a member answered that this user may not do that.
func isDenial(err error) bool {
	for _, denial := range []error{rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty} {
		if is(denial)(err) {
			return true
		}
	}
	return false
}

// isRefusedLogin says whether a member answered that this is not the user, or not any more.
func isRefusedLogin(err error) bool {
	for _, refusal := range []error{rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken} {
		if is(refusal)(err) {
			return true
		}
	}
	return false
}

// commandWords returns a command's words without the program's name.
func commandWords(cmd *cobra.Command) []string {
	return strings.Fields(cmd.CommandPath())[1:]
}

// topName returns the first word of a command.
func topName(cmd *cobra.Command) string {
	if words := commandWords(cmd); len(words) > 0 {
		return words[0]
	}
	return ""
}
