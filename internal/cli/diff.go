package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/closure"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/store"
)

type diffOptions struct {
	passwords passwords
	noBuild   bool
	profile   string
}

func newDiff(a *app) *cobra.Command {
	var o diffOptions
	c := &cobra.Command{
		Use:   "diff [DEPLOYMENT] HOST [FROM] [TO]",
		Short: "show which packages differ between two systems of a host",
		Long: `diff compares two systems of a host package by package: versions, packages that
come and go, sizes. FROM and TO are numbers of generations, or words:

  running  what the host runs        booted   what it was booted with
  boot     what it boots next        profile  what its profile names
  config   what the configuration gives now

Without FROM and TO it compares running with config; with FROM alone, that with
running. The system of the configuration is built if neither the host nor the
builder has it. --verbose also shows what was only rebuilt.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit diff network.nix web1
  godwit diff network.nix web1 41 42
  godwit diff network.nix web1 booted running --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.New("diff takes a deployment file and a host").Hint("%s", fault.Raw(c.UseLine()))
			}
			f := a.fleetArgs(c.Context(), args)
			words := f.hosts
			if !f.fragment() { // else the host is there
				if len(words) == 0 {
					return fault.New("diff takes a host and at most two systems").Hint("%s", fault.Raw(c.UseLine()))
				}
				words = words[1:]
			}
			f.hosts = f.hosts[:len(f.hosts)-len(words)]
			from, to := "running", "config"
			switch len(words) {
			case 0:
			case 1:
				from, to = words[0], "running"
			case 2:
				from, to = words[0], words[1]
			default:
				return fault.New("diff takes a host and at most two systems").Hint("%s", fault.Raw(c.UseLine()))
			}
			for _, word := range []string{from, to} {
				if err := checkSystemWord(word); err != nil {
					return err
				}
			}
			return a.withReport(c.Context(), func(ctx context.Context, s *session) error {
				return s.diff(ctx, f, from, to, o)
			})
		},
	}
	passwordFlags(c, &o.passwords)
	c.Flags().StringVar(&o.profile, "profile", "", "compare this `PROFILE` of the host instead of its system: running, profile (what is kept) and config")
	c.Flags().BoolVar(&o.noBuild, "no-build", false, "fail rather than build the system of the configuration")
	return c
}

var systemWords = []string{"running", "booted", "boot", "profile", "config"}

func checkSystemWord(word string) error {
	if n, err := strconv.Atoi(word); err == nil && n > 0 {
		return nil
	}
	for _, w := range systemWords {
		if w == word {
			return nil
		}
	}
	f := fault.New("`%s' is neither the number of a generation nor one of %s", word, strings.Join(systemWords, ", "))
	if near := fleet.Nearest(word, systemWords); near != "" {
		f.Hint("did you mean %s?", near)
	}
	return f
}

// side is one of the two systems.
type side struct {
	Name   string `json:"name"` // as it was asked for
	System string `json:"system"`
	paths  []closure.Path
}

// diffJSON is what `godwit diff --json` prints.
type diffJSON struct {
	Host    string `json:"host"`
	Profile string `json:"profile,omitempty"`
	From    side   `json:"from"`
	To      side   `json:"to"`
	closure.Difference
}

func (s *session) diff(ctx context.Context, f fleetArgs, from, to string, o diffOptions) error {
	config := from == "config" || to == "config"
	if err := s.openPool(&o.passwords); err != nil {
		return err
	}
	sel := fleet.Selection{Every: 1}
	request := loadRequest{where: f, selection: f.selection(sel), systems: config, probe: config}
	if o.profile != "" { // where it is on the host, the configuration says
		request.profiles, request.systems, request.probe = []string{o.profile}, true, true
	}
	if err := s.load(ctx, request); err != nil {
		return err
	}
	switch {
	case len(s.broken) > 0:
		return s.broken[0].Err
	case len(s.hosts) != 1:
		return fault.New("diff is about one host, and `%s' matches %d", strings.Join(append(f.hosts, s.at.Hosts...), " "), len(s.hosts))
	case s.hosts[0].BuildOnly:
		return fault.New("a build-only host has no running system").On(s.hosts[0].Name)
	}
	h := s.hosts[0]
	conn := s.conns.Conn(h)
	facts, err := lookForDiff(ctx, conn, h)
	if err != nil {
		return err
	}
	out := diffJSON{Host: h.Name, Profile: o.profile}
	if out.From, err = s.side(ctx, h, conn, facts, from, o); err != nil {
		return err
	}
	if out.To, err = s.side(ctx, h, conn, facts, to, o); err != nil {
		return err
	}
	out.Difference = closure.Diff(out.From.paths, out.To.paths)
	s.close()
	if s.app.globals.json {
		if out.Changes == nil {
			out.Changes = []closure.Change{}
		}
		return s.app.printJSON(out)
	}
	fmt.Fprintf(s.app.stderr, "%s\n  from  %s\n  to    %s\n\n", h.Name, out.From, out.To)
	return s.app.print(s.ui.Plain(out.Text(s.app.globals.verbose)))
}

// lookForDiff is what the host has. Of what is not its system there is only what runs,
// and what is kept.
func lookForDiff(ctx context.Context, conn host.Conn, h fleet.Host) (hoststate.Facts, error) {
	if len(h.Profiles) == 0 || h.Main().Kind == fleet.NixOS {
		return hoststate.Look(ctx, conn, h.Name)
	}
	st, err := activate.Preflight(ctx, conn, activate.Request{Host: h.Name, Profiles: activate.Changes(h, activate.PathOf)})
	return hoststate.Facts{State: st}, err
}

func (d side) String() string {
	if _, err := strconv.Atoi(d.Name); err == nil {
		return "generation " + d.Name + ": " + d.System
	}
	return d.Name + ": " + d.System
}

// side reads the closure of one system.
func (s *session) side(ctx context.Context, h fleet.Host, conn host.Conn, f hoststate.Facts, word string, o diffOptions) (side, error) {
	out := side{Name: word}
	src := deploy.HostStore(conn)
	switch word {
	case "running":
		out.System = f.Current
	case "booted":
		out.System = f.Booted
	case "profile":
		out.System = f.Profile
	case "boot":
		out.System = f.BootDefault
	case "config":
		out.System = h.Main().Path
		known, err := store.PathInfos(ctx, src, []string{h.Main().Path})
		if err != nil {
			return out, err
		}
		if len(known) == 0 {
			if src, err = s.buildOne(ctx, h, o.noBuild); err != nil {
				return out, err
			}
		}
	default:
		n, _ := strconv.Atoi(word)
		g, ok := f.Find(n)
		if !ok {
			return out, fault.New("there is no generation %d", n).On(h.Name).Detail(generationLines(f)...)
		}
		out.System = g.System
	}
	if out.System == "" {
		return out, fault.New("cannot tell what is meant by `%s' on this host", word).On(h.Name)
	}
	infos, err := store.Closure(ctx, src, []string{out.System})
	if err != nil {
		return out, err
	}
	out.paths = closure.Of(infos)
	return out, nil
}

// buildOne builds the system of a host and says which store has it.
func (s *session) buildOne(ctx context.Context, h fleet.Host, refuse bool) (store.Endpoint, error) {
	var none store.Endpoint
	if refuse || s.app.globals.dryRun {
		return none, fault.New("the host does not have the system of the configuration, and it is not to be built").On(h.Name).
			Hint("godwit push %s --on %s copies it there", s.at.At.Name(), h.Name)
	}
	link, err := s.rootLinks()
	if err != nil {
		return none, err
	}
	jobs, failed, err := s.jobs(ctx, []fleet.Host{h}, link)
	if err != nil {
		return none, err
	}
	if len(failed) > 0 {
		return none, failed[0].err
	}
	run := &deploy.Run{Options: deploy.Options{Goal: deploy.GoalBuild}, Pool: s.conns, Here: s.ownStore(), Sink: s.ui, Pushers: s.pushers()}
	out := run.Hosts(ctx, jobs)
	if out[0].Err != nil {
		return none, out[0].Err
	}
	return out[0].In, nil
}
