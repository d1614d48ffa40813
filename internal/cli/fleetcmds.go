package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/bounded"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/secrets"
	"godwit/internal/shell"
	"godwit/internal/source"
	"godwit/internal/ui"
	"godwit/internal/ui/text"
)

func newCheckHealth(a *app) *cobra.Command {
	var sel fleet.Selection
	var p passwords
	var timeout int
	c := &cobra.Command{
		Use:   "check-health [DEPLOYMENT]",
		Short: "run the health checks of hosts",
		Long: `check-health runs the health checks of the selected hosts, all hosts at once and
all checks of a host at once, each until it passes or the time is over.` + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return errNegative
			}
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				return s.onHosts(ctx, f, sel, &p, s.preflightHealth(ctx), func(h fleet.Host) bool { return h.HealthChecks.Len() > 0 }, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
					if h.HealthChecks.Len() == 0 {
						return deploy.Outcome{State: deploy.Skipped, Detail: "no health checks"}
					}
					sc := event.On(s.ui, h.Name, event.StepCheck)
					if a.globals.dryRun {
						return deploy.Outcome{State: deploy.Skipped, Detail: fmt.Sprintf("dry run: would run %d checks", h.HealthChecks.Len())}
					}
					err := deploy.Check(ctx, conn, h, h.HealthChecks, time.Duration(timeout)*time.Second, sc)
					return deploy.Outcome{State: deploy.Checked, Err: err, Detail: okDetail(err, fmt.Sprintf("%d/%[1]d checks", h.HealthChecks.Len()))}
				})
			})
		},
	}
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	c.Flags().IntVar(&timeout, "timeout", 0, "`SECONDS` that all checks of a host may take (0: 120)")
	return c
}

func okDetail(err error, text string) string {
	if err != nil {
		return ""
	}
	return text
}

func newUploadSecrets(a *app) *cobra.Command {
	var sel fleet.Selection
	var p passwords
	var skipChecks, force bool
	var timeout int
	c := &cobra.Command{
		Use:   "upload-secrets [DEPLOYMENT]",
		Short: "upload the secrets of hosts",
		Long: `upload-secrets uploads all secrets of the selected hosts, runs the actions of
those that changed, and then the health checks.` + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return errNegative
			}
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				before := func(hosts []fleet.Host) error {
					if !skipChecks {
						if err := s.preflightHealth(ctx)(hosts); err != nil {
							return err
						}
					}
					if err := s.oneAddressEach(ctx, hosts, false, false); err != nil {
						return err
					}
					return preflightSecrets(ctx, hosts)
				}
				s.changes = true
				return s.onHosts(ctx, f, sel, &p, before, func(h fleet.Host) bool { return len(h.Secrets) > 0 }, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
					sc := event.On(s.ui, h.Name, event.StepSecrets)
					if len(h.Secrets) == 0 {
						return deploy.Outcome{State: deploy.Skipped, Detail: "no secrets"}
					}
					return s.wet(sc, "upload "+text.Count(len(h.Secrets), "secret"), func() deploy.Outcome {
						rep, err := deploy.UploadSecrets(ctx, conn, h, secrets.Options{ForceActions: force}, sc)
						if err == nil && !skipChecks && h.HealthChecks.Len() > 0 {
							err = deploy.Check(ctx, conn, h, h.HealthChecks, time.Duration(timeout)*time.Second, event.On(s.ui, h.Name, event.StepCheck))
						}
						return deploy.Outcome{State: deploy.Uploaded, Err: err, Detail: okDetail(err, rep.String())}
					})
				})
			})
		},
	}
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	c.Flags().BoolVar(&skipChecks, "skip-health-checks", false, "do not run health checks")
	c.Flags().BoolVar(&force, "force-actions", false, "run the actions of unchanged secrets, too")
	c.Flags().IntVar(&timeout, "timeout", 0, "`SECONDS` that all checks of a host may take (0: 120)")
	return c
}

func newExec(a *app) *cobra.Command {
	var sel fleet.Selection
	var p passwords
	var timeout int
	c := &cobra.Command{
		Use:   "exec [flags] [DEPLOYMENT] COMMAND...",
		Short: "run a command on hosts",
		Long: `exec runs a command on the selected hosts, all at once. The words are joined by
blanks into one line for the login shell of the host; a first word sudo becomes
root the way --elevate says. Flags of godwit's go before DEPLOYMENT; everything
after it belongs to the command. Where DEPLOYMENT is left out, a command whose first
word looks like a file goes behind --. Output comes line by line with the host's name,
colours and other escape sequences taken out, lines of more than 4 KiB cut, to a
terminal and to a pipe alike; --json has every line as it was, escaped.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit exec network.nix uptime
  godwit exec --on 'web*' network.nix sudo systemctl restart nginx`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return errNegative
			}
			f, words := a.execArgs(c, args)
			line, err := commandLine(f, words)
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				return s.onHosts(ctx, f, sel, &p, nil, nil, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
					return s.wet(event.On(s.ui, h.Name, event.StepExec), "run "+line, func() deploy.Outcome {
						if timeout > 0 {
							var cancel context.CancelFunc
							ctx, cancel = context.WithTimeout(ctx, time.Duration(timeout)*time.Second)
							defer cancel()
						}
						return s.execOn(ctx, h, conn, line)
					})
				})
			})
		},
	}
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	c.Flags().IntVar(&timeout, "timeout", 0, "`SECONDS` that the command may take on each host (0: no limit)")
	c.Flags().SetInterspersed(false)
	return c
}

// execArgs parts the configuration from the command. A single word is a command, and
// so is everything behind -- or after a flag that names the configuration.
func (a *app) execArgs(c *cobra.Command, args []string) (f fleetArgs, words []string) {
	f = fleetArgs{wish: a.wish()}
	if len(args) == 1 && strings.HasSuffix(args[0], ".nix") && f.wish.Empty() {
		f.wish.Words = args
		return f, nil
	}
	switch {
	case c.ArgsLenAtDash() == 0:
		return f, append([]string{"--"}, args...)
	case !f.wish.Empty() || len(args) < 2:
		return f, args
	}
	named, rest := places(args)
	if len(rest) == 0 { // the command looks like a file, too
		named, rest = args[:1], args[1:]
	}
	f.wish.Words = named
	return f, rest
}

// commandLine is what exec runs: the words as they were typed. A flag of godwit's that
// stands there would run on every host as a word of the command.
func commandLine(f fleetArgs, args []string) (string, error) {
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
			Hint("flags of godwit's go before it: godwit exec FLAGS%s COMMAND...", fault.Raw(where))
	}
	return line, nil
}

// execLine is the longest line of a command that is passed on whole, in bytes.
const execLine = 64 << 10

func (s *session) execOn(ctx context.Context, h fleet.Host, conn host.Conn, line string) deploy.Outcome {
	sc := event.On(s.ui, h.Name, event.StepExec)
	sc.Start(line)
	out := bounded.NewLineWriter(execLine, sc.Log)
	errs := bounded.NewLineWriter(execLine, func(l string) {
		sc.Emit(event.Event{Kind: event.Log, Text: l, Data: map[string]string{"stream": "stderr"}})
	})
	cmd := host.Cmd{Shell: line, Stdout: out, Stderr: errs, KillOnCancel: true, Limit: host.NoLimit}
	if rest, ok := strings.CutPrefix(line, "sudo "); ok {
		cmd.Shell, cmd.Elevate = rest, true
	}
	err := conn.Run(ctx, cmd)
	out.Flush()
	errs.Flush()
	if errors.Is(err, context.DeadlineExceeded) {
		err = fault.New("%s timed out", line).On(h.Name).Hint("--timeout SECONDS gives it longer").Because(err)
	}
	sc.End("exit 0", err)
	return deploy.Outcome{State: deploy.Ran, Err: err, Detail: okDetail(err, "exit 0")}
}

// onHosts is the frame of verbs that need hosts and no build. before may refuse
// the run when the hosts are known and none has been touched.
//
// needs tells which hosts a connection is opened to; nil: to all.
func (s *session) onHosts(ctx context.Context, f fleetArgs, sel fleet.Selection, p *passwords, before func([]fleet.Host) error, needs func(fleet.Host) bool, fn func(context.Context, fleet.Host, host.Conn) deploy.Outcome) error {
	l, err := s.app.globals.limits()
	if err != nil {
		return err
	}
	if err := s.openPool(p); err != nil {
		return err
	}
	if err := s.load(ctx, loadRequest{where: f, selection: f.selection(sel), header: true, call: !s.app.globals.dryRun, change: s.changes}); err != nil {
		return err
	}
	if before != nil {
		if err := before(s.hosts); err != nil {
			return err
		}
	}
	outcomes := s.brokenOutcomes()
	reach := func(ctx context.Context, h fleet.Host) error {
		if h.BuildOnly || s.app.globals.dryRun || needs != nil && !needs(h) {
			return nil
		}
		return s.conns.Conn(h).Connect(ctx)
	}
	outcomes = append(outcomes, deploy.Reached(ctx, s.hosts, l.Activate, s.ui, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{State: deploy.Skipped, Detail: "build-only host: not touched"}
		}
		return fn(ctx, h, s.conns.Conn(h))
	})...)
	return s.finish(ctx, outcomes)
}

// wet passes a change of a host through the choke point of all.
func (s *session) wet(sc event.Scope, would string, fn func() deploy.Outcome) deploy.Outcome {
	return deploy.Wet(s.app.globals.dryRun, sc, would, fn)
}

// preflightSecrets opens every source before anything is touched anywhere.
func preflightSecrets(ctx context.Context, hosts []fleet.Host) error {
	return secrets.Preflight(ctx, hosts, "")
}

func newListSecrets(a *app) *cobra.Command {
	var sel fleet.Selection
	c := &cobra.Command{
		Use: "list-secrets [DEPLOYMENT]", Short: "list the secrets of hosts",
		Long: "list-secrets prints which secrets go where; --json gives it to scripts. No host is contacted." + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.listing(c.Context(), loadRequest{where: f, selection: sel, header: true}, func(hosts []fleet.Host) (string, error) {
				if a.globals.json {
					return secretsJSON(hosts)
				}
				return secretsText(hosts), nil
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
		Long: "hosts prints the selected hosts; --json gives them to scripts. No host is contacted." + "\n" + whereHelp + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.listing(c.Context(), loadRequest{where: f, selection: sel}, func(hosts []fleet.Host) (string, error) {
				if a.globals.json {
					return hostsJSON(hosts)
				}
				return hostsTable(hosts), nil
			})
		},
	}
	selectFlags(c, &sel)
	return c
}

// listing loads metadata and writes a text made of it to stdout. Here --json
// asks for the list, so the view stays quiet.
func (a *app) listing(ctx context.Context, r loadRequest, text func([]fleet.Host) (string, error)) error {
	s := a.open(ui.Options{})
	defer s.close()
	if err := s.load(ctx, r); err != nil {
		return err
	}
	s.close()
	out, err := text(s.hosts)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(a.stdout, out); err != nil {
		return err
	}
	for _, b := range s.broken {
		fmt.Fprint(a.stderr, fault.Render(b.Err))
	}
	if len(s.broken) > 0 {
		return silent{ExitHosts}
	}
	return nil
}

// hostJSON is a host as scripts see it.
type hostJSON struct {
	Name       string   `json:"name"`
	TargetHost string   `json:"targetHost"`
	TargetPort int      `json:"targetPort,omitempty"`
	TargetUser string   `json:"targetUser,omitempty"`
	System     string   `json:"system"`
	SystemFrom string   `json:"systemFrom"`
	Release    string   `json:"release,omitempty"`
	Tags       []string `json:"tags"`
	BuildOnly  bool     `json:"buildOnly"`
	BuildOn    string   `json:"buildOn,omitempty"`
	Secrets    int      `json:"secrets"`
	Checks     int      `json:"healthChecks"`
	// Profiles are those of a host that has others than its system.
	Profiles []profileJSON `json:"profiles,omitempty"`
}

type profileJSON struct {
	Name string     `json:"name"`
	Kind fleet.Kind `json:"kind"`
	User string     `json:"user,omitempty"`
}

func profilesJSON(h fleet.Host) []profileJSON {
	if activate.Plain(h) {
		return nil
	}
	var out []profileJSON
	for _, p := range h.Profiles {
		out = append(out, profileJSON{p.Name, p.Kind, p.User})
	}
	return out
}

func hostsJSON(hosts []fleet.Host) (string, error) {
	list := make([]hostJSON, len(hosts))
	for i, h := range hosts {
		list[i] = hostJSON{h.Name, h.At.Host, h.At.Port, h.At.User, h.Platform.Name, h.Platform.From, h.Main().Version,
			append([]string{}, h.Tags...), h.BuildOnly, h.BuildOn, len(h.Secrets), h.HealthChecks.Len(), profilesJSON(h)}
	}
	b, err := json.MarshalIndent(list, "", "  ")
	return string(b) + "\n", err
}

func hostsTable(hosts []fleet.Host) string {
	rows := make([][]string, len(hosts))
	for i, h := range hosts {
		target := h.At.Host
		if h.At.Port != 0 {
			target = net.JoinHostPort(target, strconv.Itoa(h.At.Port))
		}
		switch {
		case h.At.Host == "":
			target = "-"
		case h.At.User != "":
			target = h.At.User + "@" + target
		}
		rows[i] = []string{h.Name, target, h.Platform.Name, strings.Join(h.Tags, ","),
			fmt.Sprint(len(h.Secrets)), fmt.Sprint(h.HealthChecks.Len())}
	}
	head := []string{"HOST", "TARGET", "SYSTEM", "TAGS", "SECRETS", "CHECKS"}
	if slices.ContainsFunc(hosts, func(h fleet.Host) bool { return !activate.Plain(h) }) {
		head = append(head, "PROFILES")
		for i, h := range hosts {
			var names []string
			for _, p := range h.Profiles {
				names = append(names, p.Name)
			}
			rows[i] = append(rows[i], strings.Join(names, ","))
		}
	}
	return ui.Table(0, head, rows)
}

func newEval(a *app) *cobra.Command {
	var expr string
	c := &cobra.Command{
		Use: "eval [DEPLOYMENT] {ATTRIBUTE | -E FUNCTION}", Short: "evaluate an attribute of the nodes",
		Long: `eval prints nodes.ATTRIBUTE in Nix syntax, or as JSON with --json. A host name
with dots needs quotes: '"h1.example.org".config.networking.hostName'. With -E it
prints as JSON what a function of { nodes, pkgs, lib } gives.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit eval network.nix web.config.networking.hostName
  godwit eval -E '{ nodes, lib, ... }: lib.attrNames nodes'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("expr") {
				f, err := a.whereArgs(c, args)
				if err != nil {
					return err
				}
				return a.evalFunction(c.Context(), f, expr)
			}
			if len(args) == 0 || strings.HasSuffix(args[len(args)-1], ".nix") {
				return fault.New("%s takes a deployment file and an attribute", c.CommandPath()).Hint("%s", fault.Raw(c.UseLine()))
			}
			attribute := args[len(args)-1]
			f, err := a.whereArgs(c, args[:len(args)-1])
			if err != nil {
				return err
			}
			s := a.open(ui.Options{})
			defer s.close()
			if err := s.find(c.Context(), f); err != nil {
				return err
			}
			if err := s.findNix(c.Context()); err != nil {
				return err
			}
			if err := s.openSource(c.Context(), source.Options{}); err != nil {
				return err
			}
			e, ok := s.source.(source.Evaluator)
			if !ok {
				return fault.New("%s has no nodes to evaluate", s.source.About().At)
			}
			out, err := e.Eval(c.Context(), attribute, a.globals.json)
			if err != nil {
				return err
			}
			s.close()
			_, err = fmt.Fprintln(a.stdout, strings.TrimRight(out, "\n"))
			return err
		},
	}
	c.Flags().StringVarP(&expr, "expr", "E", "", "a `FUNCTION` of { nodes, pkgs, lib } in place of an attribute")
	return c
}
