package reader

import (
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
	"strings"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fleet"
	"godwit/internal/paths"
	"godwit/internal/regular"
	"godwit/internal/source"
)

// A process that reads the names of the hosts knows, when it ends, half of what
// the first evaluating process has to find out again. So Open begins to evaluate
// at once, on the guess that the configuration holds the hosts that it held the
// last time, and that process says first what the names are. When the guess was
// wrong, its work is thrown away and the names are read as on the first run.

// memory is what Open saw in a configuration.
type memory struct {
	File         string   `json:"file,omitempty"` // the key of its location
	Names        []string `json:"names"`
	OrderingTags []string `json:"orderingTags,omitempty"`
	// Fallback is the platform that hosts were evaluated with, and Args what made
	// it builtins.currentSystem.
	Fallback string   `json:"fallback"`
	Args     []string `json:"args,omitempty"`
}

// memories is how many configurations Options.Memory holds before the oldest go.
const memories = 100

// memoryFile is where the memory of this configuration is kept; empty: nowhere.
func (r *Reader) memoryFile() string {
	if r.opts.Memory == "" {
		return ""
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q", r.dialect.Name, r.about.At.Key(), r.tool.Settings().Options)
	return filepath.Join(r.opts.Memory, hex.EncodeToString(h.Sum(nil)[:16])+".json")
}

// remembered is what was kept; nil when there is nothing.
func (r *Reader) remembered() *memory { return recall(r.memoryFile()) }

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
func (r *Reader) remember(ctx context.Context, before *memory) {
	file := r.memoryFile()
	args, err := r.tool.SystemOption(ctx, r.opts.Fallback)
	a := r.about
	m := memory{File: a.At.Key(), Names: a.Names, OrderingTags: a.OrderingTags, Fallback: r.opts.Fallback, Args: args}
	if file == "" || err != nil || before != nil && reflect.DeepEqual(*before, m) {
		return
	}
	b, err := json.Marshal(m)
	if err != nil || os.MkdirAll(r.opts.Memory, 0o700) != nil {
		return
	}
	forget(r.opts.Memory)
	_ = paths.Write(file, b)
}

// Remembered are the names of the hosts that a configuration had when Open last kept
// them in the directory memory (Options.Memory), whatever the options were. Nothing is
// evaluated; nil when nothing is known. A flake without Attr stands for all its outputs.
func Remembered(memory string, at source.Location) []string {
	var names []string
	var newest time.Time
	entries, _ := os.ReadDir(memory)
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.ModTime().After(newest) {
			continue
		}
		if m := recall(filepath.Join(memory, e.Name())); m != nil && (m.File == at.Key() || at.Flake != "" && at.Attr == "" && strings.HasPrefix(m.File, at.Key())) {
			names, newest = m.Names, st.ModTime()
		}
	}
	return names
}

// forget makes room for one more.
func forget(dir string) { paths.Forget(dir, memories-1) }

// ahead is an evaluation that began before the names were known.
type ahead struct {
	request source.Request
	guess   *Reader // described by what the configuration holds when led says so
	cancel  context.CancelCauseFunc
	led     chan bool // whether the guess of the names was right
	done    chan struct{}
	hosts   []fleet.Host
	res     *source.Result
	err     error
}

// errGuess ends an evaluation that began on a wrong guess.
var errGuess = errors.New("the configuration is not what it was on the last run")

// begin starts the evaluation of req with the names of m; nil when the selection
// wants the metadata of all hosts first, or nothing of what is remembered.
func (r *Reader) begin(ctx context.Context, req source.Request, m *memory) *ahead {
	if m == nil || len(req.Platforms) > 0 || r.opts.Fallback != "" && r.opts.Fallback != m.Fallback {
		return nil
	}
	guess := &Reader{about: source.About{At: r.about.At, Names: m.Names, OrderingTags: m.OrderingTags}, tool: r.tool, dialect: r.dialect, opts: r.opts, watch: r.watch, unwatched: r.unwatched}
	guess.opts.Fallback = m.Fallback
	first, err := guess.first(req)
	if err != nil || first.twice || len(first.names) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &ahead{request: req, guess: guess, cancel: cancel, led: make(chan bool, 1), done: make(chan struct{}), res: &source.Result{Targets: map[string][]source.Target{}}}
	q := first.query
	q.system = m.Args
	q.lead = func(summary json.RawMessage) error {
		if err := guess.describe(summary); err != nil || !slices.Equal(guess.about.Names, m.Names) || !slices.Equal(guess.about.OrderingTags, m.OrderingTags) {
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

// result waits for the evaluation of req, and adds to res; false when it is of
// another request.
func (a *ahead) result(req source.Request, res *source.Result) ([]fleet.Host, bool, error) {
	b := a.request
	if (req.OnHost == nil) != (b.OnHost == nil) {
		a.stop()
		return nil, false, nil
	}
	// Where roots are made and who is told of hosts does not change what is evaluated.
	b.OnHost, b.RootDir, req.OnHost, req.RootDir = nil, "", nil, ""
	if !reflect.DeepEqual(req, b) {
		a.stop()
		return nil, false, nil
	}
	<-a.done
	res.Failed, res.Targets = a.res.Failed, a.res.Targets
	return a.hosts, true, a.err
}
