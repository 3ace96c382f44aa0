package cmd

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3/command"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
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
		if err := g.lend(cmd); err != nil {
			return err
		}
		run(cmd, args)
		return nil
	}
}

// lend prepares the process for a command of etcdctl, which reads flags by name and ETCDCTL_* for itself, and ends the
// process itself when it fails.
func (g *globals) lend(cmd *cobra.Command) error {
	// These commands do not look at a context: signals must end them, as they end etcdctl.
	g.ignoreSignals()
	takeFromEnvironment(cmd.Flags(), g.env)
	switch topName(cmd) {
	case "version", "completion", "options":
		return nil
	}
	if err := g.complete(); err != nil {
		return err
	}
	fs := cmd.Flags()
	for name, value := range map[string]string{
		"user": g.settings.Conn.Auth.User, "password": g.settings.Conn.Auth.Password, "auth-jwt-token": g.settings.Conn.Auth.Token,
	} {
		if err := fs.Lookup(name).Value.Set(value); err != nil {
			return err
		}
	}
	if fs.Lookup("discovery-srv").Value.String() != "" {
		return nil // etcdctl looks the endpoints up itself, and the server's name with them
	}
	endpoints := g.settings.Conn.Endpoints
	if servedByAny(cmd) && len(endpoints) > 1 && !g.settings.Conn.Pin {
		endpoints = g.answering(cmd.Context())
	}
	// Set would add to a list that the command line began.
	return fs.Lookup("endpoints").Value.(pflag.SliceValue).Replace(endpoints)
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
	switch strings.Join(path(cmd), " ") {
	case "lease keep-alive", "make-mirror", "move-leader", "check perf", "check datascale", "watch", "lock", "elect":
		return false
	}
	switch topName(cmd) {
	case "endpoint", "defrag", "snapshot":
		return false
	}
	return true
}

// answering returns the endpoint that served a read first, or all endpoints if none did: then the command finds out why.
func (g *globals) answering(ctx context.Context) []string {
	ctx, cancel := g.short(ctx)
	defer cancel()
	c, err := g.connect()
	if err != nil {
		return g.settings.Conn.Endpoints
	}
	best, err := conn.Read(ctx, c, func(ctx context.Context, m conn.Member) (string, error) {
		_, err := m.Client.Get(ctx, "health", clientv3.WithCountOnly())
		if isDenial(err) {
			err = nil // who may not read this key may still do what the command is about; the member is well
		}
		return m.Endpoint, err
	})
	if err != nil {
		return g.settings.Conn.Endpoints
	}
	return []string{best}
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

// path returns a command's words without the program's name.
func path(cmd *cobra.Command) []string {
	return strings.Fields(cmd.CommandPath())[1:]
}

// topName returns the first word of a command.
func topName(cmd *cobra.Command) string {
	if words := path(cmd); len(words) > 0 {
		return words[0]
	}
	return ""
}
