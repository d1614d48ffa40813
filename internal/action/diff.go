package action

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/activate"
	"godwit/internal/closure"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/store"
)

// Side is one of the two systems.
type Side struct {
	Name   string `json:"name"` // as it was asked for
	System string `json:"system"`
	paths  []closure.Path
}

// Difference is what differs between two systems of a host. Its JSON form is what `godwit
// diff --json` prints.
type Difference struct {
	Host    string `json:"host"`
	Profile string `json:"profile,omitempty"`
	From    Side   `json:"from"`
	To      Side   `json:"to"`
	closure.Difference
}

// SystemWords are the systems of a host that have a name; others are numbers of
// generations.
var SystemWords = []string{"running", "booted", "boot", "profile", "config"}

// CheckSystemWord refuses what is neither.
func CheckSystemWord(word string) error {
	if n, err := strconv.Atoi(word); err == nil && n > 0 || slices.Contains(SystemWords, word) {
		return nil
	}
	f := fault.New("'%s' is neither the number of a generation nor one of %s", word, strings.Join(SystemWords, ", "))
	if near := fleet.Nearest(word, SystemWords); near != "" {
		f.Hint("did you mean %s?", near)
	}
	return f
}

// DiffRequest asks what differs between two systems of one host.
type DiffRequest struct {
	// Where names the host.
	Where Where
	// From and To are systems, as CheckSystemWord takes them.
	From, To string
	// Profile is another profile of the host to be compared instead.
	Profile string
	// NoBuild fails rather than build what the configuration gives.
	NoBuild bool
}

// Diff compares two systems of a host package by package.
func Diff(ctx context.Context, e *Env, r DiffRequest) (*Difference, error) {
	s := e.open()
	defer s.close()
	config := r.From == "config" || r.To == "config"
	if err := s.openPool(); err != nil {
		return nil, err
	}
	request := loadRequest{where: r.Where, selection: r.Where.selection(everyHost), systems: config, probe: config}
	if r.Profile != "" { // where it is on the host, the configuration says
		request.profiles, request.systems, request.probe = []string{r.Profile}, true, true
	}
	if err := s.load(ctx, request); err != nil {
		return nil, err
	}
	switch {
	case len(s.broken) > 0:
		return nil, s.broken[0].Err
	case len(s.hosts) != 1:
		return nil, fault.New("diff is about one host, and '%s' matches %d", strings.Join(append(r.Where.Hosts, s.at.Hosts...), " "), len(s.hosts))
	case s.hosts[0].BuildOnly:
		return nil, fault.New("a build-only host has no running system").On(s.hosts[0].Name)
	}
	h := s.hosts[0]
	conn := s.conns.Conn(h)
	facts, err := lookForDiff(ctx, conn, h)
	if err != nil {
		return nil, err
	}
	out := &Difference{Host: h.Name, Profile: r.Profile}
	if out.From, err = s.side(ctx, h, conn, facts, r.From, r); err != nil {
		return nil, err
	}
	if out.To, err = s.side(ctx, h, conn, facts, r.To, r); err != nil {
		return nil, err
	}
	out.Difference = closure.Diff(out.From.paths, out.To.paths)
	return out, nil
}

// lookForDiff is what the host has. Of what is not its system there is only what runs,
// and what is kept.
func lookForDiff(ctx context.Context, conn host.Conn, h fleet.Host) (hoststate.Facts, error) {
	if hoststate.Reports(h) {
		return hoststate.Look(ctx, conn, h)
	}
	st, err := activate.Preflight(ctx, conn, activate.Request{Host: h.Name, Profiles: activate.Changes(h, activate.PathOf)})
	return hoststate.Facts{State: st}, err
}

// String is the system in words.
func (d Side) String() string {
	if _, err := strconv.Atoi(d.Name); err == nil {
		return "generation " + d.Name + ": " + d.System
	}
	return d.Name + ": " + d.System
}

// side reads the closure of one system.
func (s *session) side(ctx context.Context, h fleet.Host, conn host.Conn, f hoststate.Facts, word string, r DiffRequest) (Side, error) {
	out := Side{Name: word}
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
			if src, err = s.buildOne(ctx, h, r.NoBuild); err != nil {
				return out, err
			}
		}
	default:
		n, _ := strconv.Atoi(word)
		g, ok := f.Find(n)
		if !ok {
			return out, fault.New("there is no generation %d", n).On(h.Name).Detail(f.Lines()...)
		}
		out.System = g.System
	}
	if out.System == "" {
		return out, fault.New("cannot tell what is meant by '%s' on this host", word).On(h.Name)
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
	if refuse || s.DryRun {
		return none, fault.New("the host does not have the system of the configuration, and nothing is built in this run").On(h.Name).
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
	run := &deploy.Run{Options: deploy.Options{Goal: deploy.GoalBuild}, Pool: s.conns, Here: s.ownStore(), Sink: s.View, Pushers: s.pushers()}
	out := run.Hosts(ctx, jobs)
	if out[0].Err != nil {
		return none, out[0].Err
	}
	return out[0].In, nil
}
