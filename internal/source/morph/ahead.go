package morph

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fleet"
	"godwit/internal/paths"
	"godwit/internal/regular"
)

// A process that reads the names of the hosts knows, when it ends, half of what
// the first evaluating process has to find out again. So Open begins to evaluate
// at once, on the guess that the file holds the hosts that it held the last time,
// and that process says first what the names are. When the guess was wrong, its
// work is thrown away and the names are read as on the first run.

// memory is what Open saw in a deployment file.
type memory struct {
	File         string   `json:"file,omitempty"` // with its whole path
	Names        []string `json:"names"`
	OrderingTags []string `json:"orderingTags,omitempty"`
	// Fallback is the platform that hosts were evaluated with, and Args what made
	// it builtins.currentSystem.
	Fallback string   `json:"fallback"`
	Args     []string `json:"args,omitempty"`
}

// memories is how many files Options.Memory holds before the oldest go.
const memories = 100

// memoryFile is where the memory of this network is kept; empty: nowhere.
func (n *Network) memoryFile() string {
	if n.opts.Memory == "" {
		return ""
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", n.File, n.tool.Settings().Options)
	return filepath.Join(n.opts.Memory, hex.EncodeToString(h.Sum(nil)[:16])+".json")
}

// remembered is what was kept; nil when there is nothing.
func (n *Network) remembered() *memory { return recall(n.memoryFile()) }

func recall(file string) *memory {
	b, err := regular.Read(file, 16<<20)
	var m memory
	if err != nil || json.Unmarshal(b, &m) != nil || len(m.Names) == 0 || m.Fallback == "" {
		return nil
	}
	return &m
}

// remember keeps what Open saw, which knew before. It may fail: the next run takes
// a little longer then.
func (n *Network) remember(ctx context.Context, before *memory) {
	file := n.memoryFile()
	args, err := n.systemArgs(ctx)
	m := memory{File: n.File, Names: n.Names, OrderingTags: n.OrderingTags, Fallback: n.opts.Fallback, Args: args}
	if file == "" || err != nil || before != nil && reflect.DeepEqual(*before, m) {
		return
	}
	b, err := json.Marshal(m)
	if err != nil || os.MkdirAll(n.opts.Memory, 0o700) != nil {
		return
	}
	forget(n.opts.Memory)
	_ = paths.Write(file, b)
}

// Remembered are the names of the hosts that a deployment file had when Open last kept
// them in the directory memory (Options.Memory), whatever the options were. Nothing is
// evaluated; nil when nothing is known.
func Remembered(memory, file string) []string {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil
	}
	var names []string
	var newest time.Time
	entries, _ := os.ReadDir(memory)
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.ModTime().After(newest) {
			continue
		}
		if m := recall(filepath.Join(memory, e.Name())); m != nil && m.File == path {
			names, newest = m.Names, st.ModTime()
		}
	}
	return names
}

// forget removes what is oldest.
func forget(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < memories {
		return
	}
	age := func(e os.DirEntry) int64 {
		if st, err := e.Info(); err == nil {
			return st.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(age(a), age(b)) })
	for _, e := range entries[:len(entries)-memories+1] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}

// ahead is an evaluation that began before the names were known.
type ahead struct {
	request Request
	net     *Network // as guessed; described by what the file holds when led says so
	cancel  context.CancelCauseFunc
	led     chan bool // whether the guess of the names was right
	done    chan struct{}
	hosts   []fleet.Host
	res     *Result
	err     error
}

// errGuess ends an evaluation that began on a wrong guess.
var errGuess = errors.New("the network is not what it was on the last run")

// begin starts the evaluation of r with the names of m; nil when the selection
// wants the metadata of all hosts first, or nothing of what is remembered.
func (n *Network) begin(ctx context.Context, r Request, m *memory) *ahead {
	if m == nil || len(n.opts.Systems) > 0 || n.opts.Fallback != "" && n.opts.Fallback != m.Fallback {
		return nil
	}
	guess := &Network{File: n.File, Names: m.Names, OrderingTags: m.OrderingTags, tool: n.tool, opts: n.opts}
	guess.opts.Fallback = m.Fallback
	first, err := guess.first(r)
	if err != nil || first.twice || len(first.names) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &ahead{request: r, net: guess, cancel: cancel, led: make(chan bool, 1), done: make(chan struct{}), res: &Result{Targets: map[string][]Target{}}}
	q := first.query
	q.args = m.Args
	q.lead = func(summary json.RawMessage) error {
		if err := guess.describe(summary); err != nil || !slices.Equal(guess.Names, m.Names) || !slices.Equal(guess.OrderingTags, m.OrderingTags) {
			return errGuess
		}
		guess.named()
		a.led <- true
		return nil
	}
	go func() {
		defer crash.Catch()
		defer close(a.done)
		a.hosts, a.err = guess.evaluate(ctx, q, a.res)
		a.led <- false // for who still waits
	}()
	return a
}

// stop ends it and waits for its end.
func (a *ahead) stop() {
	a.cancel(errGuess)
	<-a.done
}

// result waits for the evaluation of r, and adds to res; false when it is of
// another request.
func (a *ahead) result(r Request, res *Result) ([]fleet.Host, bool, error) {
	if r.Systems != a.request.Systems || (r.OnHost == nil) != (a.request.OnHost == nil) || !reflect.DeepEqual(r.Selection, a.request.Selection) {
		a.stop()
		return nil, false, nil
	}
	<-a.done
	res.Failed, res.Targets = a.res.Failed, a.res.Targets
	return a.hosts, true, a.err
}

// systemArgs make builtins.currentSystem what hosts are evaluated with.
func (n *Network) systemArgs(ctx context.Context) ([]string, error) {
	if n.opts.Fallback == "" {
		return nil, nil
	}
	return n.tool.SystemOption(ctx, n.opts.Fallback)
}
