package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/awake"
	"godwit/internal/builder"
	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/nix"
	"godwit/internal/paths"
	"godwit/internal/plan"
	"godwit/internal/regular"
	"godwit/internal/scratch"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/ssh"
	"godwit/internal/store"
	"godwit/internal/ui"
	"godwit/internal/ui/text"
)

// session is one run of a verb: the view, Nix, the loaded configuration, and
// what the run opens on the way. Close ends all of it.
type session struct {
	app   *app
	ui    *ui.UI
	start time.Time

	tool      *nix.Tool
	buildArgs []string   // of --build-arg
	at        *all.Found // where the configuration is; nil before find
	source    source.Source
	ready     store.Endpoint // what has the paths of --store-path
	// hosts are the selected hosts that could be evaluated; broken the others.
	hosts  []fleet.Host
	broken []source.HostError
	result *source.Result

	// approval is how a plan is agreed to; saved is the plan that is applied.
	approval  planFlags
	saved     *plan.Plan
	savedFile string

	// message is why this run was started, for the history.
	message string

	// above are settings that stand above the configuration's (deployrs.go).
	above map[string]any

	// rolling is how a deploy is rolled out.
	rolling scheduleFlags

	// copying is how closures travel; slow has connections that compress.
	copying copyFlags
	changes bool // what onHosts does changes hosts
	slow    *ssh.Pool

	sourceOnce sync.Once // sourceOf has warned

	// twinsFound are hosts that share an address (preflight.go).
	twinsOnce  sync.Once
	twinsFound map[string]string

	pool    *ssh.Pool
	conns   host.Pool // to all hosts: with this machine, where it is one of them
	closers []func()
}

// newSession starts the view.
func (a *app) newSession() (*session, error) {
	o := ui.Options{Verbose: a.globals.verbose}
	switch {
	case a.globals.json:
		o.Mode = ui.JSON
	case a.globals.progress == "auto":
	case a.globals.progress == "live":
		o.Mode = ui.Live
	case a.globals.progress == "plain":
		o.Mode = ui.Plain
	default:
		return nil, fault.New("--progress %s: there is auto, live and plain", a.globals.progress)
	}
	return a.open(o), nil
}

// open starts a session with a view of its own kind.
func (a *app) open(o ui.Options) *session {
	crash.Open()
	o.Stdout, o.Stderr, o.Getenv = a.stdout, a.stderr, a.getenv
	return &session{app: a, ui: ui.New(o), start: time.Now()}
}

// close ends everything that the session opened, the view last. Deferred, it ends
// the process when there was a panic: what is open then may never close.
func (s *session) close() {
	if v := recover(); v != nil {
		crash.Die(v)
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
	_ = s.ui.Close()
}

// run is the frame of every verb: a session, its body, and its end.
func (a *app) withSession(ctx context.Context, body func(ctx context.Context, s *session) error) error {
	s, err := a.newSession()
	if err != nil {
		return err
	}
	defer s.close()
	err = body(ctx, s)
	// The view must be down before a message is printed.
	s.close()
	if err != nil && s.ui.Mode() == ui.JSON {
		var quiet silent
		if !errors.As(err, &quiet) {
			s.ui.Emit(event.Event{Kind: event.Result, Outcome: event.OutcomeFailed, Error: err.Error(), Hints: fault.Hints(err), Time: time.Now()})
		}
	}
	return err
}

// quiet tells whether human lines (header, tables) are left out.
func (s *session) quiet() bool { return s.ui.Mode() == ui.JSON }

func (s *session) println(line string) {
	if !s.quiet() {
		s.ui.Println(line)
	}
}

// output is a line for scripts. With --json the events carry the same facts.
func (s *session) output(line string) {
	if !s.quiet() {
		s.ui.Output(line)
	}
}

// findNix finds Nix with the run's options.
func (s *session) findNix(ctx context.Context) error {
	if s.tool != nil {
		return nil
	}
	options, err := s.app.globals.nixOptions()
	if err != nil {
		return err
	}
	s.tool, err = nix.Find(ctx, nix.Settings{Options: options, ShowTrace: s.app.globals.showTrace, BuildArgs: s.buildArgs})
	return err
}

// loadRequest is what a verb needs of a configuration.
type loadRequest struct {
	where     fleetArgs
	selection fleet.Selection
	systems   bool     // the derivations too, not just metadata
	profiles  []string // of these names alone; none: all
	// targets take the place of the systems (source.Request).
	targets string
	// probe asks hosts that do not say their platform what they are.
	probe bool
	// header prints morph's list of selected hosts.
	header bool
	// call says that the run will need connections to the hosts.
	call bool
	// change says that hosts are changed: then some have to be chosen, where the
	// configuration wants that.
	change bool
}

// load opens a configuration and evaluates what the selection needs.
func (s *session) load(ctx context.Context, r loadRequest) error {
	if err := s.find(ctx, r.where); err != nil {
		return err
	}
	r.selection.On = slices.Concat(r.selection.On, s.at.Hosts)
	r.selection = s.onlyHere(r.selection)
	request := source.Request{OnlyOf: s.at.OnlyOf, Selection: r.selection, Outputs: r.systems, Targets: r.targets, Only: r.profiles}
	if r.call {
		var stop func()
		request.OnHost, stop = s.callEvaluated(ctx)
		defer stop()
	}
	if s.source != nil && len(s.app.globals.targets) > 0 {
		return fault.New("--target is for the hosts of a configuration; here it is said already where they are")
	}
	if s.source == nil {
		err := s.openSource(ctx, source.Options{Ahead: &request, Memory: memory(), Named: func(all []string) {
			if names, err := r.selection.Names(all); err == nil {
				s.ui.Announce(names)
			}
		}})
		if err != nil {
			return err
		}
		if r.systems { // roots of derivations, while the run goes on
			if request.RootDir, err = s.tempDir("drvs-"); err != nil {
				return err
			}
		}
	}
	if err := s.mustChoose(r); err != nil {
		return err
	}
	res, err := s.rooting(s.source.Load(ctx, request))
	if err != nil {
		return err
	}
	if r.probe {
		if res, err = s.askHosts(ctx, request, res); err != nil {
			return err
		}
	}
	s.result = res
	if res.Fleet.Hosts, err = onlyProfiles(res.Fleet.Hosts, r.profiles); err != nil {
		return err
	}
	if s.copying.noSubstitute {
		for i := range res.Fleet.Hosts {
			res.Fleet.Hosts[i].SubstituteOnDestination = false
		}
	}
	s.hosts, s.broken = res.Fleet.Hosts, res.Failed
	if err := s.settleLocal(); err != nil {
		return err
	}
	for i := range s.hosts {
		s.hosts[i] = s.reached(s.hosts[i])
	}
	names := make([]string, 0, len(s.hosts)+len(s.broken))
	for _, h := range s.hosts {
		names = append(names, h.Name)
	}
	for _, b := range s.broken {
		names = append(names, b.Host)
	}
	s.ui.Announce(names)
	if r.header {
		s.println(strings.TrimSuffix(s.header(res.Counts), "\n"))
	}
	if len(names) == 0 {
		return fault.New("no hosts selected").Hint("godwit hosts %s shows all hosts with their tags", r.where)
	}
	for _, pair := range sortedPairs(res.Fleet.NixConfig) {
		s.tool = s.tool.With([][2]string{pair})
	}
	return nil
}

// header is the list of selected hosts: as the tool of the dialect prints it, if it does.
func (s *session) header(c fleet.Counts) string {
	if p, ok := s.source.(source.Presenter); ok {
		if text := p.Header(s.hosts, c); text != "" {
			return text
		}
	}
	return fmt.Sprintf("%d of %s\n\n", c.Chosen, text.Count(c.Total, "host"))
}

// ownStore is this machine's; nothing where there is no Nix.
func (s *session) ownStore() store.Endpoint {
	if s.tool == nil {
		return store.Endpoint{}
	}
	return builder.Here(s.tool)
}

// memory is where opening a source remembers what it holds; empty: nowhere.
func memory() string {
	dir, err := paths.State()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "networks")
}

// evalCache is the directory of what was evaluated before; "" where nobody wants it.
func (s *session) evalCache() string {
	dir, err := paths.State()
	if err != nil || s.app.globals.noEvalCache {
		return ""
	}
	return filepath.Join(dir, "evaluated")
}

// askHosts settles the platform of hosts whose configuration does not say it:
// the live host knows best; where it does not answer, the fallback that they
// were evaluated with stays. Either way a line says which option to set.
func (s *session) askHosts(ctx context.Context, r source.Request, res *source.Result) (*source.Result, error) {
	var unsure []fleet.Host
	for _, h := range res.Fleet.Hosts {
		if h.Platform.Guessed() {
			unsure = append(unsure, h)
		}
	}
	if len(unsure) == 0 {
		return res, nil
	}
	if err := s.openPool(nil); err != nil {
		return nil, err
	}
	found := make([]string, len(unsure))
	deploy.Each(ctx, unsure, 0, event.Discard, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{}
		}
		ctx, cancel := awake.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		system, err := platformOf(ctx, s.conns.Conn(h))
		if err != nil {
			return deploy.Outcome{Err: err}
		}
		for i := range unsure {
			if unsure[i].Name == h.Name {
				found[i] = system
			}
		}
		return deploy.Outcome{}
	})
	systems := map[string]string{}
	for i, h := range unsure {
		sc := event.On(s.ui, h.Name, event.StepEvaluate)
		switch {
		case found[i] == "":
			sc.Warn(fmt.Sprintf("the configuration does not say a platform and the host does not answer: taken for %s", h.Platform.Name),
				fmt.Sprintf("nixpkgs.hostPlatform = \"%s\"; in the configuration of %s", h.Platform.Name, h.Name))
		default:
			sc.Note(fmt.Sprintf("the configuration does not say a platform; the host is %s (set nixpkgs.hostPlatform = \"%s\")", found[i], found[i]))
			if found[i] != h.Platform.Name {
				systems[h.Name] = found[i]
			}
		}
	}
	if len(systems) == 0 {
		return res, nil
	}
	roots, err := s.tempDir("drvs-")
	if err != nil {
		return nil, err
	}
	r.Platforms, r.RootDir, r.OnHost = systems, roots, nil
	return s.rooting(s.source.Load(ctx, r))
}

// rooting has the end of the session wait for links that are being made, before
// their directory goes away.
func (s *session) rooting(res *source.Result, err error) (*source.Result, error) {
	s.closers = append(s.closers, func() { _ = res.Rooted() })
	return res, err
}

// tempDir makes a directory that goes away with the session.
func (s *session) tempDir(what string) (string, error) {
	dir, err := scratch.New(what)
	if err != nil {
		return "", fault.New("cannot make a temporary directory: %w", err)
	}
	s.closers = append(s.closers, func() { _ = dir.Remove() })
	return dir.Path, nil
}

// platformOf is the Nix system of a live host: that of the system that it
// runs, or else of its processor.
func platformOf(ctx context.Context, h host.Conn) (string, error) {
	out, err := h.Output(ctx, host.Cmd{Script: `cat /run/current-system/system 2>/dev/null || { uname -m; uname -s; }`})
	if err != nil {
		return "", err
	}
	words := strings.Fields(out)
	switch {
	case len(words) == 1 && strings.Contains(words[0], "-"):
		return words[0], nil
	case len(words) == 2:
		cpu := map[string]string{"arm64": "aarch64", "amd64": "x86_64"}[words[0]]
		if cpu == "" {
			cpu = words[0]
		}
		return cpu + "-" + strings.ToLower(words[1]), nil
	}
	return "", fmt.Errorf("the host says %q", out)
}

// openPool makes the pool of ssh connections.
func (s *session) openPool(p *passwords) error {
	if s.pool != nil {
		return nil
	}
	o, err := ssh.OptionsFromEnv(s.app.getenv)
	if err != nil {
		return err
	}
	if err := s.app.globals.checkUser(); err != nil {
		return err
	}
	o.Elevate = s.app.globals.elevate
	o.Sink = s.ui
	o.Greeting = deploy.Greeting
	if p != nil {
		o.Password = func(ctx context.Context) (string, error) { return s.password(ctx, p) }
		o.PasswordOnRequest = !p.ask && p.command == ""
	}
	return s.openPools(o)
}

// call opens the connection to a host. Its error is met by who needs the connection.
func (s *session) call(ctx context.Context, h fleet.Host) {
	if !h.BuildOnly {
		_ = s.conns.Conn(h).Connect(ctx)
	}
}

// callAhead opens the connections to hosts while caches are asked what they
// have: both are waiting for a network. Who needs a connection waits for the same.
func (s *session) callAhead(ctx context.Context, hosts []fleet.Host) {
	for _, h := range hosts {
		go func() { defer crash.Catch(); s.call(ctx, h) }()
	}
}

const (
	// longEvaluation is when an evaluation takes long enough for connections to be
	// opened meanwhile. Before, they would only take the processor from it.
	longEvaluation = time.Second
	// callsEvaluating is how many are opened at once then.
	callsEvaluating = 4
)

// callEvaluated opens connections to hosts that are evaluated while others still
// are, when that takes long. It gives the function that is told of them, and the
// end of it.
func (s *session) callEvaluated(ctx context.Context) (evaluated func(fleet.Host), stop func()) {
	long, over := make(chan struct{}), make(chan struct{})
	timer := time.AfterFunc(longEvaluation, func() { defer crash.Catch(); close(long) })
	gate := deploy.NewGate(callsEvaluating)
	evaluated = func(h fleet.Host) {
		go func() {
			defer crash.Catch()
			select {
			case <-long:
			case <-over:
				return
			}
			if leave, err := gate.Enter(ctx); err == nil {
				s.call(ctx, h)
				leave()
			}
		}()
	}
	return evaluated, func() { timer.Stop(); close(over) }
}

// chooseBuilders decides where each host is built. Hosts that nothing can
// build come back as outcomes.
func (s *session) chooseBuilders(ctx context.Context, hosts []fleet.Host) (*builder.Plan, error) {
	settings, err := s.app.builderSettings()
	if err != nil {
		return nil, err
	}
	wanted, err := s.app.globals.wantedBuilder()
	if err != nil {
		return nil, err
	}
	if err := s.openPool(nil); err != nil {
		return nil, err
	}
	var roots string
	if !s.app.globals.dryRun {
		if roots, err = s.tempDir("roots-"); err != nil {
			return nil, err
		}
	}
	chosen, err := builder.Choose(ctx, builder.Inputs{
		Tool: s.tool, Hosts: hosts, Wanted: wanted, Settings: settings, SSH: s.pool, Sink: s.ui, Roots: roots, Rooted: s.result.Rooted,
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, chosen.Close)
	return chosen, nil
}

// builderSettings are the user's file with the command line on top.
func (a *app) builderSettings() (builder.Settings, error) {
	all, err := a.settings()
	if err != nil {
		return builder.Settings{}, err
	}
	b, err := builder.SettingsFrom(all)
	if err != nil {
		return b, err
	}
	g := a.globals
	if g.engine != "" {
		b.Engine = g.engine
	}
	if g.image != "" {
		b.Image, b.ImageFile = g.image, ""
	}
	if g.imageFile != "" {
		if err := regular.Check(g.imageFile); err != nil {
			return b, fault.New("cannot read --image-file %s: %w", g.imageFile, errors.Unwrap(err))
		}
		b.ImageFile = g.imageFile
	}
	return b, nil
}

// pushers copies out of stores, with the run's view.
func (s *session) pushers() *deploy.Pushers {
	p := &deploy.Pushers{SSH: s.overSSH, Options: store.Options{Sink: s.ui, DryRun: s.app.globals.dryRun}}
	s.copyInto(p)
	s.closers = append(s.closers, func() { _ = p.Close() })
	return p
}
