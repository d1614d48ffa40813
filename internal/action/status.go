package action

import (
	"context"
	"errors"
	"strings"
	"sync"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"godwit/internal/shell"
)

// StatusRequest asks what hosts run.
type StatusRequest struct {
	HostsRequest
	// NoEval does not evaluate the systems, so that nothing is compared with them.
	NoEval bool
	// Asked is told which hosts are being asked; nil: nobody is.
	Asked event.Sink
}

// Fleet is what hosts run, and how that compares with the configuration. Its JSON form is
// what `godwit status --json` prints.
type Fleet struct {
	File   string             `json:"file"`
	Commit string             `json:"commit,omitempty"`
	Tree   string             `json:"tree,omitempty"` // clean, dirty
	OK     bool               `json:"ok"`
	Hosts  []hoststate.Status `json:"hosts"`

	// Source is the state of the configuration; Broken are errors of hosts that cannot
	// be evaluated.
	Source history.Source `json:"-"`
	Broken []error        `json:"-"`
}

// Status asks hosts, all at once, what they run. Nothing is built or changed. When ctx ends
// meanwhile, hosts that were not asked are not part of the answer.
func Status(ctx context.Context, e *Env, r StatusRequest) (*Fleet, error) {
	s := e.open()
	defer s.close()
	if err := s.openPool(); err != nil {
		return nil, err
	}
	if err := s.find(ctx, r.Where); err != nil {
		return nil, err
	}
	src := s.sourceOf(ctx)
	if err := s.load(ctx, loadRequest{where: r.Where, selection: r.Where.selection(r.Selection), systems: !r.NoEval, probe: !r.NoEval, call: true}); err != nil {
		return nil, err
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
	asking := r.Asked
	if asking == nil {
		asking = event.Discard
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
	deploy.Reached(ctx, hosts, s.Limits.Look, event.Discard, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if !h.BuildOnly {
			settle(h, s.look(ctx, h, want[h.Name]))
		}
		return deploy.Outcome{}
	})

	out := &Fleet{File: s.source.About().At.Key(), Commit: src.Commit, Tree: src.State(), OK: true, Hosts: []hoststate.Status{}, Source: src}
	for _, b := range s.broken {
		out.Broken = append(out.Broken, b.Err)
	}
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
	return out, nil
}

// look asks one host.
func (s *session) look(ctx context.Context, h fleet.Host, want hoststate.Wanted) hoststate.Status {
	conn := s.conns.Conn(h)
	// Of a machine whose system tells nothing there is only what its profiles are.
	if !hoststate.Reports(h) {
		f, err := hoststate.LookProfiles(ctx, conn, h.Name, activate.Known(h))
		if err != nil {
			return s.noAnswer(ctx, h, err, want)
		}
		st := hoststate.AssessOther(h.Name, f, want)
		st.AssessProfiles(h, f.State)
		return st
	}
	f, err := hoststate.Look(ctx, conn, h)
	if err != nil {
		return s.noAnswer(ctx, h, err, want)
	}
	st := hoststate.Assess(h.Name, f, want)
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
