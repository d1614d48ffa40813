package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/cli/show"
	"godwit/internal/cli/vaultverbs"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/shell"
)

func newCheckHealth(a *app) *cobra.Command {
	var r action.HealthRequest
	var p passwords
	var timeout int
	c := &cobra.Command{
		Use:   "check-health [DEPLOYMENT]",
		Short: "run the health checks of hosts",
		Long: `check-health runs the health checks of the selected hosts. It runs all checks of all
hosts at the same time, and repeats each check until it passes or the time is over.` + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return errNegative
			}
			r.Timeout = seconds(timeout)
			var err error
			if r.Where, err = a.whereArgs(c, args); err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.CheckHealth(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	c.Flags().IntVar(&timeout, "timeout", 0, "`SECONDS` that all checks of a host may take (0: 120)")
	return c
}

func newUploadSecrets(a *app) *cobra.Command {
	var r action.SecretsRequest
	var p passwords
	var timeout int
	c := &cobra.Command{
		Use:   "upload-secrets [DEPLOYMENT]",
		Short: "upload the secrets of hosts",
		Long: `upload-secrets uploads all secrets of the selected hosts, runs the actions of the
secrets that changed, and then runs the health checks.` + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return errNegative
			}
			r.Timeout = seconds(timeout)
			var err error
			if r.Where, err = a.whereArgs(c, args); err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.UploadSecrets(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	overrideLockFlag(c, &r.OverrideLock)
	c.Flags().BoolVar(&r.SkipHealthChecks, "skip-health-checks", false, "do not run health checks")
	c.Flags().BoolVar(&r.ForceActions, "force-actions", false, "run the actions of unchanged secrets, too")
	c.Flags().IntVar(&timeout, "timeout", 0, "`SECONDS` that all checks of a host may take (0: 120)")
	return c
}

func newExec(a *app) *cobra.Command {
	var r action.ExecRequest
	var p passwords
	var timeout int
	c := &cobra.Command{
		Use:   "exec [flags] [DEPLOYMENT] COMMAND...",
		Short: "run a command on hosts",
		Long: `exec runs a command on the selected hosts, on all at the same time. It joins the words
with blanks into one line for the login shell of the host. If the first word is sudo,
godwit becomes root the way that --elevate says.

Flags of godwit go before DEPLOYMENT; everything after it belongs to the command. If you
leave out DEPLOYMENT and the first word of the command looks like a file, write -- before
the command.

Each line of output begins with the name of the host. Colours and other escape sequences
are removed, and lines of more than 4 KiB are cut, on a terminal and in a pipe. --json
has each line unchanged, escaped.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit exec network.nix uptime
  godwit exec --on 'web*' network.nix sudo systemctl restart nginx`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return errNegative
			}
			r.Timeout = seconds(timeout)
			var words []string
			r.Where, words = a.execArgs(c, args)
			var err error
			if r.Line, err = commandLine(r.Where, words); err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.Exec(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	c.Flags().IntVar(&timeout, "timeout", 0, "`SECONDS` that the command may take on each host (0: no limit)")
	c.Flags().SetInterspersed(false)
	return c
}

// execArgs parts the configuration from the command. A single word is a command, and
// so is everything behind -- or after a flag that names the configuration.
func (a *app) execArgs(c *cobra.Command, args []string) (f action.Where, words []string) {
	f = action.Where{Wish: a.wish()}
	if len(args) == 1 && strings.HasSuffix(args[0], ".nix") && f.Wish.Empty() {
		f.Wish.Words = args
		return f, nil
	}
	switch {
	case c.ArgsLenAtDash() == 0:
		return f, append([]string{"--"}, args...)
	case !f.Wish.Empty() || len(args) < 2:
		return f, args
	}
	named, rest := places(args)
	if len(rest) == 0 { // the command looks like a file, too
		named, rest = args[:1], args[1:]
	}
	f.Wish.Words = named
	return f, rest
}

// commandLine is what exec runs: the words as they were typed. A flag of godwit's that
// stands there would run on every host as a word of the command.
func commandLine(f action.Where, args []string) (string, error) {
	var words []string
	for _, w := range args {
		words = append(words, splitOptionPair(w)...)
	}
	explicit := len(words) > 0 && words[0] == "--"
	if explicit {
		words = words[1:]
	}
	line := strings.Join(words, " ")
	where := ""
	if f.String() != "" {
		where = " " + shell.Word(f.String())
	}
	switch {
	case strings.TrimSpace(line) == "":
		return "", fault.New("exec takes a deployment file and a command").Hint("godwit exec%s COMMAND...", fault.Raw(where))
	case !explicit && strings.HasPrefix(words[0], "-"):
		return "", fault.New("no command begins with %s: after the deployment file all words belong to the command", words[0]).
			Hint("flags of godwit go before it: godwit exec FLAGS%s COMMAND...", fault.Raw(where))
	}
	return line, nil
}

func newListSecrets(a *app) *cobra.Command {
	var sel fleet.Selection
	c := &cobra.Command{
		Use: "list-secrets [DEPLOYMENT]", Short: "list the secrets of hosts",
		Long: "list-secrets prints which secrets go where; --json is for scripts. No host is contacted." + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.listing(c.Context(), action.ListRequest{HostsRequest: action.HostsRequest{Where: f, Selection: sel}, Header: true}, func(hosts []fleet.Host) any {
				if a.globals.json {
					return vaultverbs.SecretsJSON(hosts)
				}
				return vaultverbs.SecretsText(hosts)
			})
		},
	}
	selectFlags(c, &sel)
	return c
}

func newHosts(a *app) *cobra.Command {
	var sel fleet.Selection
	c := &cobra.Command{
		Use: "hosts [DEPLOYMENT]", Short: "list the hosts of a configuration",
		Long: "hosts prints the selected hosts; --json is for scripts. No host is contacted." + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.listing(c.Context(), action.ListRequest{HostsRequest: action.HostsRequest{Where: f, Selection: sel}}, func(hosts []fleet.Host) any {
				if a.globals.json {
					return show.HostsJSON(hosts)
				}
				return show.Hosts(hosts)
			})
		},
	}
	selectFlags(c, &sel)
	return c
}

// listing writes what a report makes of a configuration to stdout: a text, or any other value
// as JSON. Here --json asks for the list, so the view stays quiet.
func (a *app) listing(ctx context.Context, r action.ListRequest, report func([]fleet.Host) any) error {
	return a.reporting(ctx, nil, func(ctx context.Context, e *action.Env, v *view) error {
		list, err := action.List(ctx, e, r)
		if err != nil {
			return err
		}
		v.close()
		switch out := report(list.Hosts).(type) {
		case string:
			err = a.print(out)
		default:
			err = a.printJSON(out)
		}
		if err != nil {
			return err
		}
		return a.lacking(list.Broken)
	})
}

func newEval(a *app) *cobra.Command {
	var expr string
	c := &cobra.Command{
		Use: "eval [DEPLOYMENT] {ATTRIBUTE | -E FUNCTION}", Short: "evaluate an attribute of the nodes",
		Long: `eval prints nodes.ATTRIBUTE in Nix syntax, or as JSON with --json. A host name with dots
needs quotes: '"h1.example.org".config.networking.hostName'. With -E it prints what a
function of { nodes, pkgs, lib } returns, as JSON.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit eval network.nix web.config.networking.hostName
  godwit eval -E '{ nodes, lib, ... }: lib.attrNames nodes'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			r := action.EvalRequest{Function: expr, JSON: a.globals.json}
			if !c.Flags().Changed("expr") {
				last := len(args) - 1
				if last < 0 || strings.HasSuffix(args[last], ".nix") {
					return fault.New("%s takes a deployment file and an attribute", c.CommandPath()).Hint("%s", fault.Raw(c.UseLine()))
				}
				r.Attribute, args = args[last], args[:last]
			}
			var err error
			if r.Where, err = a.whereArgs(c, args); err != nil {
				return err
			}
			return a.reporting(c.Context(), nil, func(ctx context.Context, e *action.Env, v *view) error {
				out, err := action.Eval(ctx, e, r)
				if err != nil {
					return err
				}
				v.close()
				return a.print(strings.TrimRight(out, "\n") + "\n")
			})
		},
	}
	c.Flags().StringVarP(&expr, "expr", "E", "", "a `FUNCTION` of { nodes, pkgs, lib } instead of an attribute")
	return c
}
