package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"godwit/internal/shell"
	"godwit/internal/ui"
)

type statusOptions struct {
	selection fleet.Selection
	passwords passwords
	noEval    bool
}

func newStatus(a *app) *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "status [DEPLOYMENT] [HOST...]",
		Short: "show what hosts run, and whether that is what the configuration says",
		Long: `status asks the selected hosts, all at once, what they run, were booted with and
boot next, who deployed that and from which commit, which units have failed, how
much room is left, and whether a deployment waits for its confirmation. It
evaluates the configuration and says which hosts run something else. Nothing is
built or changed. --verbose shows everything of each host, --json gives it to
scripts.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit status network.nix
  godwit status network.nix web1 --verbose
  godwit status network.nix --no-eval --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f := a.fleetArgs(c.Context(), args)
			return a.withReport(c.Context(), func(ctx context.Context, s *session) error {
				return s.status(ctx, f, o)
			})
		},
	}
	selectFlags(c, &o.selection)
	passwordFlags(c, &o.passwords)
	c.Flags().BoolVar(&o.noEval, "no-eval", false, "do not evaluate the systems: only what hosts say, no comparison with the configuration")
	return c
}

// statusJSON is what `godwit status --json` prints.
type statusJSON struct {
	File   string             `json:"file"`
	Commit string             `json:"commit,omitempty"`
	Tree   string             `json:"tree,omitempty"` // clean, dirty
	OK     bool               `json:"ok"`
	Hosts  []hoststate.Status `json:"hosts"`
}

func (s *session) status(ctx context.Context, f fleetArgs, o statusOptions) error {
	l, err := s.app.globals.limits()
	if err != nil {
		return err
	}
	if err := s.openPool(&o.passwords); err != nil {
		return err
	}
	if err := s.find(ctx, f); err != nil {
		return err
	}
	src := s.sourceOf(ctx)
	if err := s.load(ctx, loadRequest{where: f, selection: f.selection(o.selection), systems: !o.noEval, probe: !o.noEval, call: true}); err != nil {
		return err
	}
	behind := s.behind(ctx, src)
	want := map[string]hoststate.Wanted{}
	hosts := s.hosts
	for _, h := range hosts {
		want[h.Name] = hoststate.Wanted{System: h.Main().Path, Source: src, Behind: behind}
	}
	rest := s.unevaluated(ctx)
	var blind []hoststate.Status
	for _, b := range s.broken {
		w := hoststate.Wanted{Err: b.Err, Source: src, Behind: behind}
		h, ok := rest[b.Host]
		if !ok {
			blind = append(blind, hoststate.NotAsked(b.Host, w))
			continue
		}
		want[b.Host] = w
		hosts = append(hosts, h)
	}

	var mu sync.Mutex
	got := map[string]hoststate.Status{}
	asking := event.Sink(event.Discard)
	if s.ui.Mode() == ui.Live { // elsewhere the answer is all that is of interest
		asking = s.ui
	}
	settle := func(h fleet.Host, st hoststate.Status) {
		var why error
		if !st.Answers {
			why = errors.New(st.Error)
		}
		event.On(asking, h.Name, event.StepConnect).End("", why)
		mu.Lock()
		defer mu.Unlock()
		got[h.Name] = st
	}
	reach := func(ctx context.Context, h fleet.Host) error {
		if h.BuildOnly {
			return nil
		}
		event.On(asking, h.Name, event.StepConnect).Start("")
		err := s.conns.Conn(h).Connect(ctx)
		if err != nil {
			settle(h, s.noAnswer(ctx, h, err, want[h.Name]))
		}
		return err
	}
	deploy.Reached(ctx, hosts, l.Look, event.Discard, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if !h.BuildOnly {
			settle(h, s.look(ctx, h, want[h.Name]))
		}
		return deploy.Outcome{}
	})
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return silent{ExitInterrupted}
	}
	s.close()

	out := statusJSON{File: s.source.About().At.Key(), Commit: src.Commit, Tree: src.State(), OK: true, Hosts: []hoststate.Status{}}
	for _, h := range hosts {
		if st, ok := got[h.Name]; ok {
			out.Hosts = append(out.Hosts, st)
		}
	}
	out.Hosts = append(out.Hosts, blind...)
	for i := range out.Hosts {
		st := &out.Hosts[i]
		out.OK = out.OK && st.OK
		for j := range st.Hints {
			st.Hints[j] = strings.Replace(st.Hints[j], "DEPLOYMENT", shell.Word(s.at.At.Name()), 1)
		}
	}
	if s.app.globals.json {
		err = s.app.printJSON(out)
	} else {
		err = s.app.print(s.ui.Plain(statusText(s.width(), out, src, s.app.globals.verbose)))
		for _, b := range s.broken {
			fmt.Fprint(s.app.stderr, fault.Render(b.Err))
		}
		for _, h := range joinHints(out.Hosts) {
			fmt.Fprintln(s.app.stderr, "hint: "+h)
		}
	}
	if err != nil {
		return err
	}
	if !out.OK {
		return silent{ExitDrift}
	}
	return nil
}

// joinHints are the hints of all hosts; those that differ in nothing but the
// name of the host at their end become one.
func joinHints(list []hoststate.Status) []string {
	var order []string
	hosts := map[string][]string{}
	for _, st := range list {
		for _, h := range st.Hints {
			stem, ok := strings.CutSuffix(h, " "+shell.Word(st.Host))
			if _, seen := hosts[stem]; !seen {
				order = append(order, stem)
				hosts[stem] = nil
			}
			if ok {
				hosts[stem] = append(hosts[stem], shell.Word(st.Host))
			}
		}
	}
	for i, stem := range order {
		order[i] = strings.Join(append([]string{stem}, hosts[stem]...), " ")
	}
	return order
}

// look asks one host.
func (s *session) look(ctx context.Context, h fleet.Host, want hoststate.Wanted) hoststate.Status {
	conn := s.conns.Conn(h)
	st := hoststate.Status{Host: h.Name, Answers: true, OK: true, Problems: []hoststate.Problem{}}
	// Of a machine that is no NixOS there is only what its profiles are.
	if len(h.Profiles) == 0 || h.Main().Kind == fleet.NixOS {
		f, err := hoststate.Look(ctx, conn, h.Name)
		if err != nil {
			return s.noAnswer(ctx, h, err, want)
		}
		st = hoststate.Assess(h.Name, f, want)
	}
	if profiles := activate.Changes(h, activate.PathOf); len(profiles) > 0 {
		found, err := activate.Preflight(ctx, conn, activate.Request{Host: h.Name, Profiles: profiles})
		if err != nil {
			return s.noAnswer(ctx, h, err, want)
		}
		st.AssessProfiles(h, found)
	}
	return st
}

// noAnswer is the status of a host that could not be asked.
func (s *session) noAnswer(ctx context.Context, h fleet.Host, err error, want hoststate.Wanted) hoststate.Status {
	hints := fault.Hints(err)
	why := event.Message(err)
	if last := s.lastText(ctx, h.Name); last != "" {
		why += " (" + last + ")"
	}
	return hoststate.NoAnswer(h.Name, why, hints, want)
}

// behind counts commits with git, each pair once.
func (s *session) behind(ctx context.Context, src history.Source) func(string) (int, bool) {
	if !src.Known() {
		return nil
	}
	type answer struct {
		n  int
		ok bool
	}
	var mu sync.Mutex
	known := map[string]answer{}
	return func(commit string) (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		a, ok := known[commit]
		if !ok {
			a.n, a.ok = history.Behind(ctx, src.Tree, commit)
			known[commit] = a
		}
		return a.n, a.ok
	}
}

func statusText(width int, out statusJSON, src history.Source, verbose bool) string {
	var b strings.Builder
	if src.Known() {
		fmt.Fprintf(&b, "repository at %s\n\n", src)
	}
	rows := make([][]string, len(out.Hosts))
	for i, st := range out.Hosts {
		system, when, by, commit := "?", "–", "–", "–"
		if st.Running != nil {
			system = cmp.Or(st.Running.Version, "?")
		}
		if d := st.Deployed; d != nil {
			when = hoststate.Ago(time.Duration(d.Ago * float64(time.Second)))
			by = dash(d.By)
			if d.Commit != "" {
				commit = history.Short(d.Commit)
				if d.Tree == "dirty" {
					commit += "+"
				}
			}
		}
		if p := st.Pending; p != nil && st.Running != nil && st.Running.Path == p.New {
			when, by, commit = hoststate.Ago(time.Duration(p.Ago*float64(time.Second))), dash(p.By), "–"
			if p.Commit != "" {
				commit = history.Short(p.Commit)
			}
		}
		symbol := "✓"
		switch {
		case !st.Answers:
			symbol = "✗"
		case !st.OK:
			symbol = "⚠"
		}
		rows[i] = []string{st.Host, system, when, by, commit, symbol + " " + st.Summary()}
	}
	b.WriteString(ui.Table(width, []string{"HOST", "SYSTEM", "DEPLOYED", "BY", "COMMIT", "STATE"}, rows))
	if verbose {
		for _, st := range out.Hosts {
			b.WriteString("\n" + hostText(st))
		}
	}
	return b.String()
}

// hostText is everything about one host.
func hostText(st hoststate.Status) string {
	var b strings.Builder
	b.WriteString(st.Host + "\n")
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	system := func(name string, sys *hoststate.System) {
		if sys == nil {
			return
		}
		text := sys.Path
		if sys.Generation > 0 {
			text += fmt.Sprintf(" (generation %d)", sys.Generation)
		}
		line(name, "%s", text)
	}
	if !st.Answers {
		line("error", "%s", st.Error)
		return b.String()
	}
	system("runs", st.Running)
	system("booted", st.Booted)
	system("profile", st.Profile)
	for _, p := range st.Profiles {
		said := dash(p.Running)
		if !p.InSync {
			said += ", wanted " + p.Wanted
		}
		line("profile", "%s (%s) %s", p.Name, p.Kind, said)
	}
	if st.BootKnown {
		system("boots", st.Boots)
	} else {
		line("boots", "unknown; most likely what the profile names")
	}
	if st.Wanted != "" {
		line("repository", "%s", st.Wanted)
	}
	if st.KernelNow != "" {
		line("kernel", "%s", st.KernelNow)
	}
	if d := st.Deployed; d != nil {
		text := d.At.Local().Format("2006-01-02 15:04:05")
		if d.By != "" {
			text += " by " + d.By
			if d.Deployer != "" {
				text += " on " + d.Deployer
			}
		}
		if d.Commit != "" {
			text += ", commit " + d.Commit + " (" + d.Tree + ")"
		}
		if d.Deployment != "" {
			text += ", " + d.Deployment
		}
		line("deployed", "%s", text)
	}
	if e := st.Last; e != nil && e.Outcome != history.Changed {
		line("last try", "%s", strings.TrimSuffix(fmt.Sprintf("%s %s: %s", e.Outcome, e.Ended.Local().Format("2006-01-02 15:04:05"), e.Reason), ": "))
	}
	if p := st.Pending; p != nil {
		line("pending", "%s (%s) from %s to %s", p.ID, cmp.Or(p.Phase, "activating"), p.Old, p.New)
	}
	for _, d := range st.Disks {
		line("room", "%s free of %s on %s", ui.Size(d.Free), ui.Size(d.Total), d.Folder)
	}
	if len(st.Failed) > 0 {
		line("failed", "%s", strings.Join(st.Failed, " "))
	}
	for _, p := range st.Problems {
		line(p.Kind, "%s", p.Text)
	}
	return b.String()
}
