package cmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/config"
	"github.com/etcdx/etcdx/pkg/conn"
	"github.com/etcdx/etcdx/pkg/output"
)

const contextHelp = `Shows and changes contexts: named sets of endpoints, TLS files, user and time limits.

They are kept in $XDG_CONFIG_HOME/etcdx/config.yaml (~/.config/etcdx/config.yaml); what
/etc/etcdx/config.yaml defines is there for all users. A flag wins over ETCDX_*, which
wins over ETCDCTL_*, which wins over the context. --context NAME or ETCDX_CONTEXT uses
another context than the current one.

In a context with "protected: true", commands that change the cluster need --write.`

func newContext(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context <subcommand>",
		Short: "Shows and changes named contexts: which cluster to use, and how",
		Long:  contextHelp,
		Example: `  etcdx context set prod --endpoints https://a:2379,https://b:2379 --cacert ca.pem --protected
  etcdx context use prod
  etcdx context import-env staging`,
		// The commands must work while the settings do not: they are how to mend them.
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.parsed = true
			g.settings = config.Presentation(cmd.Flags(), g.env)
			return g.useFilter(cmd, g.settings.Filter)
		},
	}
	cmd.AddCommand(newContextLs(g), newContextShow(g), newContextUse(g), newContextSet(g), newContextRm(g), newContextImport(g), newContextCheck(g))
	return cmd
}

func newContextLs(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "Lists the contexts; * marks the one in force",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := config.ReadContexts(g.env)
			if err != nil {
				return err
			}
			var sheet output.Sheet
			for _, name := range all.Names() {
				c, file, err := all.Get(name)
				if err != nil {
					return err
				}
				r := newContextRecord(name, file, c)
				mark := " "
				if r.InForce = name == inForce(cmd.Flags(), g.env, all); r.InForce {
					mark = "*"
				}
				line := fmt.Sprintf("%s %s\t%s", mark, name, strings.Join(c.Endpoints, ","))
				if c.Protected {
					line += "\tprotected"
				}
				sheet.Records, sheet.Values = append(sheet.Records, r), append(sheet.Values, name)
				sheet.Simple += line + "\n"
			}
			return g.printSheet(sheet)
		},
	}
}

// contextRecord is a context without its secrets. The settings have their names in the context file.
type contextRecord struct {
	Schema  string `json:"schema"`
	Name    string `json:"name"`
	File    string `json:"file"`
	InForce bool   `json:"in_force"`
	config.Context
}

func newContextRecord(name, file string, c config.Context) contextRecord {
	return contextRecord{Schema: "etcdx.context/1", Name: name, File: file, Context: c.WithoutSecrets()}
}

// inForce returns the name of the context that a command with these flags would use; empty: none.
func inForce(fs *pflag.FlagSet, env func(string) (string, bool), all config.Contexts) string {
	if name := fs.Lookup("context").Value.String(); name != "" {
		return name
	}
	if name, _ := env(config.Variable("ETCDX", "context")); name != "" {
		return name
	}
	return all.Current
}

func newContextShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "show [name]",
		Short:             "Shows a context, or the one in force, without its secrets",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: g.completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := config.ReadContexts(g.env)
			if err != nil {
				return err
			}
			name := inForce(cmd.Flags(), g.env, all)
			if len(args) > 0 {
				name = args[0]
			}
			if name == "" {
				return notFoundError{"no context is in force"}
			}
			c, file, err := all.Get(name)
			if err != nil {
				return err
			}
			text, err := config.Show(name, c)
			if err != nil {
				return err
			}
			r := newContextRecord(name, file, c)
			r.InForce = name == inForce(cmd.Flags(), g.env, all)
			return g.printSheet(output.Sheet{
				Records: []any{r}, One: true, Values: []string{name}, Simple: fmt.Sprintf("# %s\n%s", file, text),
			})
		},
	}
}

func newContextUse(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "use <name>",
		Short:             "Makes a context the current one; '-' makes none",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: g.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if name == "-" {
				name = ""
			} else if all, err := config.ReadContexts(g.env); err != nil {
				return err
			} else if _, _, err := all.Get(name); err != nil {
				return err
			}
			return changeContexts(g.env, func(f *config.File) error { f.Current = name; return nil })
		},
	}
}

func newContextSet(g *globals) *cobra.Command {
	var protected bool
	var prefix, command string
	cmd := &cobra.Command{
		Use:   "set <name> [global flags]",
		Short: "Makes a context, or changes it, from the flags that are given",
		Long: `Makes a context, or changes it. The global flags that are given become its settings;
an empty value removes one. Other settings of the context stay as they are.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: g.completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeContexts(g.env, func(f *config.File) error {
				c := f.Contexts[args[0]]
				err := c.Take(given(cmd.Flags()))
				fs := cmd.Flags()
				if fs.Changed("protected") {
					c.Protected = protected
				}
				if fs.Changed("prefix") {
					c.Prefix = prefix
				}
				if fs.Changed("password-command") {
					c.PasswordCommand = command
				}
				f.Contexts[args[0]] = c
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&protected, "protected", false, "ask for --write before anything is changed")
	cmd.Flags().StringVar(&prefix, "prefix", "", "where the completion of keys begins")
	cmd.Flags().StringVar(&command, "password-command", "", "shell command whose first output line is the password")
	return cmd
}

// given returns the values of the flags on the command line, by name.
func given(fs *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	fs.Visit(func(f *pflag.Flag) {
		values[f.Name] = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values[f.Name] = strings.Join(list.GetSlice(), ",")
		}
	})
	return values
}

func newContextRm(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "rm <name>",
		Short:             "Removes a context of this user",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: g.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return changeContexts(g.env, func(f *config.File) error {
				if _, ok := f.Contexts[args[0]]; !ok {
					return notFoundError{fmt.Sprintf("no context %q in this user's file", args[0])}
				}
				delete(f.Contexts, args[0])
				if f.Current == args[0] {
					f.Current = ""
				}
				return nil
			})
		},
	}
}

func newContextImport(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "import-env <name>",
		Short: "Makes a context from the ETCDX_* and ETCDCTL_* variables",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			values := config.FromEnvironment(g.env)
			if len(values) == 0 {
				return notFoundError{"neither ETCDX_* nor ETCDCTL_* says anything that a context can hold"}
			}
			err := changeContexts(g.env, func(f *config.File) error {
				c := f.Contexts[args[0]]
				err := c.Take(values)
				f.Contexts[args[0]] = c
				return err
			})
			if err == nil {
				fmt.Fprintf(g.streams.Out, "%s: %s\n", args[0], strings.Join(slices.Sorted(maps.Keys(values)), ", "))
			}
			return err
		},
	}
}

func newContextCheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "check [name]",
		Short:             "Connects with a context, or with the settings in force, and says whether it works",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: g.completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if len(args) > 0 {
				if err = cmd.Flags().Set("context", args[0]); err != nil {
					return err
				}
			}
			format := g.settings.Output
			if g.settings, err = config.Resolve(cmd.Flags(), g.env); err != nil {
				return err
			}
			g.settings.Output = format
			c, err := g.connect()
			if err != nil {
				return err
			}
			ctx, cancel := g.short(cmd.Context())
			defer cancel()
			start := time.Now()
			endpoint, err := answering(ctx, c)
			if err != nil {
				return fmt.Errorf("check: %w", err)
			}
			r := contextCheckRecord{Schema: "etcdx.context-check/1", Context: g.settings.Context, Endpoint: endpoint, TookMS: time.Since(start).Milliseconds()}
			return g.printSheet(output.Sheet{
				Records: []any{r}, One: true, Values: []string{endpoint}, Simple: fmt.Sprintf("%s answers in %dms\n", endpoint, r.TookMS),
			})
		},
	}
}

// contextCheckRecord says which endpoint answered, and how fast.
type contextCheckRecord struct {
	Schema   string `json:"schema"`
	Context  string `json:"context,omitempty"` // empty: none is in force
	Endpoint string `json:"endpoint"`
	TookMS   int64  `json:"took_ms"`
}

// answering returns the endpoint that served a read first.
func answering(ctx context.Context, c *conn.Cluster) (string, error) {
	return conn.Read(ctx, c, func(ctx context.Context, m conn.Member) (string, error) {
		_, err := m.Client.Get(ctx, "health", clientv3.WithCountOnly())
		if isDenial(err) {
			err = nil // who may not read this key may still do other things; the member is well
		}
		return m.Endpoint, err
	})
}

// changeContexts rewrites the user's context file.
func changeContexts(env func(string) (string, bool), change func(*config.File) error) error {
	path := config.UserFile(env)
	if path == "" {
		return usageError{text: "there is no place for contexts", hint: "set HOME or XDG_CONFIG_HOME"}
	}
	f, err := config.ReadFile(path)
	if err != nil {
		return err
	}
	if f.Contexts == nil {
		f.Contexts = map[string]config.Context{}
	}
	if err := change(&f); err != nil {
		return err
	}
	return config.WriteFile(path, f)
}

// completeContexts completes the names of contexts.
func (g *globals) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	all, err := config.ReadContexts(g.env)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return all.Names(), cobra.ShellCompDirectiveNoFileComp
}
