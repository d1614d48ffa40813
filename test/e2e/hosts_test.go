package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/test/canary"
	"godwit/test/lab"
)

// kinds are the hosts that tests ask for by name. Of each there are some that are
// alike, so that tests which mostly wait for their host do not wait for each other.
var kinds = map[string]*kind{
	"web":   {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 2},
	"db":    {spec: lab.Spec{Suite: "bookworm", Arch: "amd64"}, most: 2},
	"spare": {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 3},
	// Of tests that mostly wait, for minutes.
	"late": {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 3, waits: true},
	"lid":  {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 3, waits: true},
	"mute": {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 2, waits: true},
	"calm": {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 2, waits: true},
	// Of tests with a daemon of Nix: it leaves a socket and locks that users of a store
	// without one stumble over.
	"nixd": {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 1},
	// What takes part where the emulated host does: nobody else waits for that.
	"pi":  {spec: lab.Spec{Suite: "bookworm", Arch: "arm64"}, most: 2, first: true},
	"www": {spec: lab.Spec{Suite: "trixie", Arch: "amd64"}, most: 1},
	"sql": {spec: lab.Spec{Suite: "bookworm", Arch: "amd64"}, most: 1},
}

// kind is a sort of host.
type kind struct {
	spec  lab.Spec
	most  int      // how many there may be
	waits bool     // their tests cost little
	first bool     // their tests take longest, and begin before others
	free  []*place // those that no test has; the first is given next
	made  int
}

// working is how many tests that do not mostly wait have hosts at a time. More only
// make each other slower, up to where what they wait for is no longer in its time.
var working = runtime.NumCPU() + 1

// turns is how many tests without hosts run at a time; they mostly wait for one that says nothing.
const turns = 4

// place is where a host is, started when a test has it, and removed when the test ends: what
// one test leaves is not there for the next. Only an emulated host stays, since it takes too
// long to start.
type place struct {
	kind *kind
	spec lab.Spec
	host *lab.Host // nil while no test has it
}

// want is a test that asks for hosts.
type want struct {
	names []string
	got   []*place
	ready chan struct{} // closed when got is complete
	waits bool
}

// turn tells whether it is one without hosts.
func (w *want) turn() bool { return len(w.names) == 0 }

// may tells whether it may run beside those that run.
func (w *want) may() bool {
	switch {
	case w.turn():
		return housing.turns < turns
	case w.waits:
		return true
	}
	return housing.work < working+housing.more
}

// count keeps account of those that run.
func (w *want) count(by int) {
	switch {
	case w.turn():
		housing.turns += by
	case !w.waits:
		housing.work += by
	}
}

// housing gives hosts to tests, in the order in which they are written.
var housing struct {
	sync.Mutex
	wants  []*want
	work   int      // tests with hosts that do not mostly wait
	turns  int      // tests without hosts
	more   int      // tests beyond working, while the machine has nothing to do
	places []*place // all that were made
	ended  int      // hosts that were removed
}

// mostMore is how many tests may run beyond working.
const mostMore = 2

// lookAround has another test begin when the machine was idle for a tenth of the last seconds:
// those that run wait, and nobody is made slower.
var lookAround = sync.OnceFunc(func() {
	go func() {
		idle, all := idleTime()
		for range time.Tick(3 * time.Second) {
			nowIdle, nowAll := idleTime()
			free := nowAll > all && 10*(nowIdle-idle) >= nowAll-all
			idle, all = nowIdle, nowAll
			housing.Lock()
			if free {
				housing.more = min(housing.more+1, mostMore)
				serve()
			} else {
				housing.more = max(housing.more-1, 0)
			}
			housing.Unlock()
		}
	}()
})

// idleTime is how long the processors had nothing to do since the machine was started, and how
// long that is for all of them, in ticks; 0 where the kernel does not say.
func idleTime() (idle, all int) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	for i, w := range strings.Fields(line) {
		n, _ := strconv.Atoi(w)
		all += n
		if i == 4 || i == 5 { // idle, and waiting for a disk
			idle += n
		}
	}
	return idle, all
}

// serve gives free hosts to those who wait. Who needs several gets all at once, and
// keeps what there is from those behind.
func serve() {
	kept := map[string]int{}
	housing.wants = slices.DeleteFunc(housing.wants, func(w *want) bool {
		all := w.may()
		for _, name := range w.names {
			k := kinds[name]
			all = all && len(k.free)+k.most-k.made > kept[name]
		}
		if !all {
			for _, name := range w.names {
				kept[name]++
			}
			return false
		}
		for _, name := range w.names {
			k := kinds[name]
			if len(k.free) == 0 {
				k.free = append(k.free, newPlace(name, k))
			}
			w.got = append(w.got, k.free[0])
			k.free = k.free[1:]
		}
		w.count(1)
		close(w.ready)
		return true
	})
}

func newPlace(name string, k *kind) *place {
	spec := k.spec
	spec.Name = name
	spec.Dir = filepath.Join(shared.dir, fmt.Sprint("lab", k.made))
	spec.Keys = filepath.Join(shared.dir, "keys") // one for all: a host may be told to log in to another
	k.made++
	p := &place{kind: k, spec: spec}
	housing.places = append(housing.places, p)
	return p
}

// start starts the host, unless it is there.
func (p *place) start() (*lab.Host, error) {
	if p.host != nil {
		return p.host, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	h, err := lab.Start(ctx, p.spec)
	p.host = h
	return h, err
}

// end looks for secrets in clear on the host, and removes it.
func (p *place) end(ctx context.Context) error {
	if p.host == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	found, err := canary.Host(ctx, p.host, shared.began, mayBe...)
	for _, line := range found {
		err = errors.Join(err, errors.New("a secret is in clear on "+line))
	}
	err = errors.Join(err, p.host.Remove(ctx))
	p.host = nil
	return err
}

// host is hosts for one.
func host(t *testing.T, name string) *lab.Host {
	t.Helper()
	return hosts(t, name)[0]
}

// turn lets a test without hosts of the housing run beside others, when it is its turn.
func turn(t *testing.T) {
	t.Helper()
	hosts(t)
}

// hosts gives a test hosts of those names, for itself until it ends, as they are made.
// Emulated ones are as the test before has left them. A test calls it once, before
// anything else; tests run beside each other as far as there are hosts.
func hosts(t *testing.T, names ...string) []*lab.Host {
	t.Helper()
	needLab(t)
	w := &want{names: names, ready: make(chan struct{})}
	housing.Lock()
	for _, name := range names {
		if kinds[name] == nil {
			housing.Unlock()
			t.Fatalf("no lab host is called %q", name)
		}
	}
	at := len(housing.wants)
	if len(names) > 2 || slices.ContainsFunc(names, func(name string) bool { return kinds[name].first }) {
		at = 0 // who needs many would wait longest for them, and end alone
	}
	w.waits = !slices.ContainsFunc(names, func(name string) bool { return !kinds[name].waits })
	housing.wants = slices.Insert(housing.wants, at, w)
	housing.Unlock()
	t.Cleanup(func() {
		<-w.ready
		ended := 0
		for _, p := range w.got {
			if p.spec.Arch != "amd64" {
				continue
			}
			if err := p.end(context.Background()); err != nil {
				t.Errorf("%s: %v", p.spec.Name, err)
			}
			ended++
		}
		housing.Lock()
		defer housing.Unlock()
		housing.ended += ended
		for _, p := range w.got {
			p.kind.free = append(p.kind.free, p)
		}
		w.count(-1)
		serve()
	})
	t.Parallel() // goes on when all tests have asked
	lookAround()
	asked := time.Now()
	housing.Lock()
	serve()
	housing.Unlock()
	<-w.ready
	var list []*lab.Host
	for i, p := range w.got {
		h, err := p.start()
		if err != nil {
			t.Fatalf("cannot start the lab host %s: %v", names[i], err)
		}
		list = append(list, h)
	}
	if len(names) == 0 {
		return nil
	}
	began := time.Now()
	t.Cleanup(func() {
		t.Logf("waited %.0f s for its hosts, had them for %.0f s", began.Sub(asked).Seconds(), time.Since(began).Seconds())
	})
	return list
}

// endHosts ends all that are still there, after a search for secrets, and says how many
// hosts there were.
func endHosts(ctx context.Context) (int, error) {
	errs := make([]error, len(housing.places))
	var wg sync.WaitGroup
	for i, p := range housing.places {
		if p.host != nil {
			housing.ended++
			wg.Go(func() { errs[i] = p.end(ctx) })
		}
	}
	wg.Wait()
	return housing.ended, errors.Join(errs...)
}
