package action

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"godwit/internal/awake"
	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/intake"
	"godwit/internal/paths"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/ui/text"
)

// loadRequest is what a verb needs of a configuration.
type loadRequest struct {
	where     Where
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
	// opened is called when the configuration is open and its hosts are about to be
	// evaluated. It may start early, which is told of each host that is.
	opened func() error
	early  *intake.Intake
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
	if r.early != nil {
		call := request.OnHost
		request.OnHost = func(h fleet.Host) {
			if call != nil {
				call(h)
			}
			r.early.Take(h)
		}
		defer r.early.End()
	}
	told := s.source != nil // the hosts, by a saved plan or with --to
	if !told {
		err := s.openSource(ctx, source.Options{Ahead: &request, Memory: Memory(), Named: func(all []string) {
			if names, err := r.selection.Names(all); err == nil {
				s.View.Announce(names)
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
	settings := s.source.About().NixConfig
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		s.tool = s.tool.With([][2]string{{name, settings[name]}})
	}
	if r.opened != nil {
		if err := r.opened(); err != nil {
			return err
		}
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
	if res.Fleet.Hosts, err = fleet.OnlyProfiles(res.Fleet.Hosts, r.profiles); err != nil {
		return err
	}
	s.hosts, s.broken = res.Fleet.Hosts, res.Failed
	if told {
		if err := s.Targets.ApplyAll(s.hosts); err != nil {
			return err
		}
	}
	for i := range s.hosts {
		if s.hosts[i], err = s.settled(s.hosts[i]); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(s.hosts)+len(s.broken))
	for _, h := range s.hosts {
		names = append(names, h.Name)
	}
	for _, b := range s.broken {
		names = append(names, b.Host)
	}
	s.View.Announce(names)
	if r.header {
		s.View.Println(strings.TrimSuffix(s.header(res.Counts), "\n"))
	}
	if len(names) == 0 {
		return fault.New("no hosts selected").Hint("godwit hosts %s shows all hosts with their tags", r.where)
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
	if err := s.openPool(); err != nil {
		return nil, err
	}
	found := make([]string, len(unsure))
	deploy.Each(ctx, unsure, 0, event.Discard, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{}
		}
		ctx, cancel := awake.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		system, err := host.Platform(ctx, s.conns.Conn(h))
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
		sc := event.On(s.View, h.Name, event.StepEvaluate)
		switch {
		case found[i] == "":
			sc.Warn(fmt.Sprintf("the configuration names no platform and the host does not answer: godwit assumes %s", h.Platform.Name),
				fmt.Sprintf("nixpkgs.hostPlatform = \"%s\"; in the configuration of %s", h.Platform.Name, h.Name))
		default:
			sc.Note(fmt.Sprintf("the configuration names no platform; the host is %s (set nixpkgs.hostPlatform = \"%s\")", found[i], found[i]))
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

// mustChoose refuses to change all hosts where the configuration wants some to be chosen.
func (s *session) mustChoose(r loadRequest) error {
	if !r.change || !s.source.About().MustChoose || len(r.selection.On)+len(r.selection.Tagged) > 0 {
		return nil
	}
	f := fault.New("no host is selected, and the configuration does not allow a change of all hosts at once")
	if d, err := all.Named(s.source.About().At.Dialect); err == nil {
		f.Detail(d.Word("applyAll") + " = false")
	}
	return f.Hint("select hosts with --on; --on '*' selects all")
}

// evalCache is the directory of what was evaluated before; "" where nobody wants it.
func (s *session) evalCache() string {
	dir, err := paths.State()
	if err != nil || s.NoEvalCache {
		return ""
	}
	return filepath.Join(dir, "evaluated")
}

// Memory is where opening a source remembers what it holds; empty: nowhere.
func Memory() string {
	dir, err := paths.State()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "networks")
}

const (
	// longEvaluation is when an evaluation takes long enough for connections to be
	// opened meanwhile. Before, they would only take the processor from it.
	longEvaluation = time.Second
	// callsEvaluating is how many are opened at once then.
	callsEvaluating = 4
)

// globQuoter makes a name a pattern that matches nothing else.
var globQuoter = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`)

// unevaluated are hosts that fail to evaluate, with the little of them that can
// still be evaluated: where to reach them.
func (s *session) unevaluated(ctx context.Context) map[string]fleet.Host {
	out := map[string]fleet.Host{}
	var on []string
	for _, b := range s.broken {
		on = append(on, globQuoter.Replace(b.Host))
	}
	if len(on) == 0 {
		return out
	}
	res, err := s.source.Load(ctx, source.Request{Selection: fleet.Selection{On: on, Every: 1}})
	if err == nil {
		for _, h := range res.Fleet.Hosts {
			out[h.Name] = h
		}
	}
	return out
}
