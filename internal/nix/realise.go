package nix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nixlog"
	"godwit/internal/scratch"
	"godwit/internal/ui/text"
)

// RealiseItem is a derivation to build, with the GC root that keeps its output.
type RealiseItem struct {
	Drv  string
	Link string // a symlink to make, registered as an indirect GC root; empty: none that stays
}

// Realised is what became of a list of derivations. Every one of them is in
// exactly one of the two maps.
type Realised struct {
	Outputs map[string]string // derivation -> path of its output "out"
	Failed  map[string]error  // derivation -> why (*fault.Error)
}

// Realise builds derivations on this machine, all of them as far as they go:
// one that fails does not stop the others. The error is for what concerns the
// whole run (cancelled, no Nix daemon); failures of derivations are in the
// result.
//
// roots is a directory for the GC roots of items without a Link; what was built
// is kept as long as it is there. When empty they are kept during the call alone.
//
// Nix ends the whole run when a single derivation needs a system that nobody
// has ("a 'X' with features {} is required"), --keep-going or not (seen with
// 2.8.0 and 2.26.3): choose builders first, and give only what this machine builds.
func (t *Tool) Realise(ctx context.Context, items []RealiseItem, roots string, scope event.Scope) (*Realised, error) {
	res := &Realised{Outputs: map[string]string{}, Failed: map[string]error{}}
	if len(items) == 0 {
		return res, nil
	}
	drvs := make([]string, 0, len(items))
	for _, it := range items {
		if !slices.Contains(drvs, it.Drv) {
			drvs = append(drvs, it.Drv)
		}
	}
	log := NewBuildLog(scope)
	args := RealiseArgs(drvs)
	// Between the end of the build and the making of the links a garbage
	// collection must not come in; Nix's own roots bridge that.
	if roots == "" {
		tmp, err := scratch.New("roots-")
		if err != nil {
			return nil, fault.New("cannot make a temporary directory: %s", err).Because(err)
		}
		defer func() { _ = tmp.Remove() }()
		roots = tmp.Path
	}
	root := nextRoot(roots)
	// One derivation is rooted where it is to stay: no second process.
	direct := len(items) == 1 && items[0].Link != ""
	if direct {
		var err error
		if root, err = filepath.Abs(items[0].Link); err != nil {
			return nil, fault.New("cannot make a GC root: %s", err).Because(err)
		}
	}
	args = append(args, "--add-root", root, "--indirect")
	args = append(args, t.settings.BuildArgs...)
	cmd := t.Command(ctx, "nix-store", args...)
	cmd.Stderr = log
	_, runErr := bounded.Output(cmd, "what nix-store prints", mostPrinted)
	log.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}

	read := CachedReader(ReadDerivation)
	var paths []string
	for _, drv := range drvs {
		d, err := read(drv)
		if err != nil {
			return nil, fault.New("%s", err).Because(err)
		}
		if p := d.OutPath(); p != "" {
			res.Outputs[drv] = p
			paths = append(paths, p)
		} else if runErr == nil {
			// Content-addressed: Nix knows the path, the file does not.
			o, err := t.Output(ctx, "nix-store", "--realise", drv)
			if err != nil {
				return nil, err
			}
			if f := strings.Fields(string(o)); len(f) > 0 {
				res.Outputs[drv] = f[0]
			}
		}
	}
	if runErr != nil {
		valid, err := t.Valid(ctx, paths)
		if err != nil {
			return nil, err
		}
		for _, drv := range drvs {
			if p := res.Outputs[drv]; p == "" || !valid[p] {
				delete(res.Outputs, drv)
				res.Failed[drv] = nil
			}
		}
		if len(res.Failed) == 0 {
			return nil, fault.New("nix-store failed: %s", log.Last(runErr)).Because(runErr)
		}
		for drv, err := range ExplainFailures(log, Keys(res.Failed), read, runErr, nil) {
			res.Failed[drv] = err
		}
	}
	for _, it := range items {
		p, ok := res.Outputs[it.Drv]
		if !ok || it.Link == "" {
			continue
		}
		if target, err := os.Readlink(it.Link); direct && err == nil && target == p {
			continue
		}
		if err := t.AddRoot(ctx, p, it.Link); err != nil {
			delete(res.Outputs, it.Drv)
			res.Failed[it.Drv] = err
		}
	}
	return res, nil
}

// rootCount numbers the roots of this process.
var rootCount atomic.Uint64

// nextRoot is a name in dir that no other root of this process has. Nix adds
// "-2", "-3" to it where it makes several.
func nextRoot(dir string) string {
	return filepath.Join(dir, "root"+strconv.FormatUint(rootCount.Add(1), 10))
}

// Hold makes GC roots in the directory roots for store paths that are valid
// already, all in one process. It tells false, with nothing to rely on, when
// not all of them are; nothing is fetched or built.
func (t *Tool) Hold(ctx context.Context, roots string, paths []string) (bool, error) {
	for len(paths) > 0 {
		n := min(len(paths), argsLimit)
		args := append([]string{"--realise"}, paths[:n]...)
		paths = paths[n:]
		cmd := t.Command(ctx, "nix-store", append(args, "--add-root", nextRoot(roots), "--indirect", "--option", "substitute", "false")...)
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			if !isExit(err) {
				return false, fault.New("cannot ask the store: %s", err).Because(err)
			}
			return false, nil
		}
	}
	return true, nil
}

// RealiseArgs are the arguments of nix-store that build drvs and log as
// BuildLog reads it.
func RealiseArgs(drvs []string) []string {
	return append([]string{"--realise", "--keep-going", "--log-format", "internal-json", "-v"}, drvs...)
}

// AddRoot makes link point to a valid store path and registers it as a GC root.
func (t *Tool) AddRoot(ctx context.Context, path, link string) error {
	abs, err := filepath.Abs(link)
	if err != nil {
		return fault.New("cannot make the GC root %s: %s", link, err).Because(err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return fault.New("cannot make the GC root %s: %s", link, err).Because(err)
	}
	cmd := t.Command(ctx, "nix-store", "--realise", path, "--add-root", abs, "--indirect")
	if _, said, err := collect(cmd); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault.New("cannot make the GC root %s: %s", link, lastError(said, err)).Because(err)
	}
	return nil
}

// BuildFailure is a derivation that failed by itself, not for its inputs.
type BuildFailure struct {
	Drv    string
	Reason string   // one line, lower case: "builder failed with exit code 1"
	Log    []string // the last lines of its output
	// Required and Have are set when nobody could build it: what it needs
	// ("aarch64-linux") and what the refusing machine is.
	Required, Have string
}

// logLines is how many lines of a failed build's output are kept.
const logLines = 20

// BuildLog takes the standard error of a Nix that builds with
// `--log-format internal-json -v`: it passes everything on to nixlog.Forward,
// which makes events of it, and remembers what failed. It is an io.Writer;
// Close it at the end.
type BuildLog struct {
	events    *io.PipeWriter
	forwarded chan struct{}

	mu       sync.Mutex
	partial  []byte
	builds   map[uint64]string   // activity -> derivation
	lines    map[string][]string // derivation -> last lines
	recent   []string            // the keys of lines, the oldest first
	failures map[string]*BuildFailure
	order    []string
	errors   []string
}

// NewBuildLog makes a BuildLog that emits on scope.
func NewBuildLog(scope event.Scope) *BuildLog {
	r, w := io.Pipe()
	l := &BuildLog{events: w, forwarded: make(chan struct{}), builds: map[uint64]string{}, lines: map[string][]string{}, failures: map[string]*BuildFailure{}}
	go func() {
		defer crash.Catch()
		defer close(l.forwarded)
		nixlog.Forward(r, scope, nil)
		_, _ = io.Copy(io.Discard, r)
	}()
	return l
}

// Write takes a piece of the log.
func (l *BuildLog) Write(p []byte) (int, error) {
	defer crash.Catch()
	_, _ = l.events.Write(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if len(l.partial)+len(p) < 1<<20 { // a line without end is not kept for ever
				l.partial = append(l.partial, p...)
			}
			return n, nil
		}
		line := p[:i]
		if len(l.partial) > 0 {
			line = append(l.partial, line...)
		}
		l.line(line)
		l.partial = l.partial[:0]
		p = p[i+1:]
	}
}

// Close takes a last line without line break. All events are out afterwards.
func (l *BuildLog) Close() error {
	_ = l.events.Close()
	<-l.forwarded
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.line(l.partial)
		l.partial = nil
	}
	return nil
}

// The types of internal-json that matter here (Nix, src/libutil/logging.hh).
const (
	actBuild         = 105
	resBuildLogLine  = 101
	resPostBuildLine = 107
)

func (l *BuildLog) line(b []byte) {
	rest, ok := bytes.CutPrefix(b, []byte("@nix "))
	if !ok {
		if s := text.Clean(string(b)); s != "" {
			l.message(s)
		}
		return
	}
	var m struct {
		Action string            `json:"action"`
		ID     uint64            `json:"id"`
		Level  int               `json:"level"`
		Type   int               `json:"type"`
		Msg    string            `json:"msg"`
		Fields []json.RawMessage `json:"fields"`
	}
	if json.Unmarshal(rest, &m) != nil {
		return
	}
	switch m.Action {
	case "start":
		if m.Type == actBuild && len(m.Fields) > 0 {
			var drv string
			_ = json.Unmarshal(m.Fields[0], &drv)
			if len(l.builds) < mostBuilds {
				l.builds[m.ID] = drv
			}
		}
	case "stop":
		delete(l.builds, m.ID)
	case "result":
		if (m.Type == resBuildLogLine || m.Type == resPostBuildLine) && len(m.Fields) > 0 {
			var s string
			_ = json.Unmarshal(m.Fields[0], &s)
			drv := l.builds[m.ID]
			if drv != "" {
				l.keep(drv, text.Clean(s))
			}
		}
	case "msg":
		l.message(m.Msg)
	}
}

var (
	drvInText  = regexp.MustCompile(`'(/[^'\s]+\.drv)[^']*'`)
	dependency = regexp.MustCompile(`(?i)\bdependenc(?:y|ies)\b[^\n]*\b(?:failed|couldn't be built)|^build of .* failed`)
	// 2.8 to 2.29: error: builder for '/nix/store/….drv' failed with exit code 1
	builderFor = regexp.MustCompile(`^builder for '[^']*' failed (.*?);?$`)
	// from 2.30: Cannot build '/nix/store/….drv'. / Reason: builder failed with exit code 1.
	reasonLine = regexp.MustCompile(`(?m)^\s*Reason: *(.*?)\.?\s*$`)
	// a 'aarch64-linux' with features {big-parallel} is required to build '….drv', but I am a 'x86_64-linux' with features {…}
	refusal = regexp.MustCompile(`[Aa] '([^']+)' with features \{([^}]*)\} is required to build '([^']+)', but I am a '([^']+)'`)
	// 2.34: Reason: platform mismatch / Required system: 'riscv64-linux' / Current system: 'x86_64-linux'
	// 2.34: Reason: missing system features / Required features: {foo, kvm} / Available features: {…}
	// between them: Required system: 'aarch64-linux' with features {…}
	refusalRequired = regexp.MustCompile(`Required system: '([^']+)'(?: with features \{([^}]*)\})?`)
	refusalCurrent  = regexp.MustCompile(`Current system: '([^']+)'`)
	refusalFeatures = regexp.MustCompile(`Required features: \{([^}]*)\}`)
)

// mostBuilds is of how many derivations something is kept, the latest.
const mostBuilds = 2000

// keep adds a line to the end of a derivation's log.
func (l *BuildLog) keep(drv, line string) {
	ls, known := l.lines[drv]
	if !known {
		if l.recent = append(l.recent, drv); len(l.recent) > mostBuilds {
			delete(l.lines, l.recent[0])
			l.recent = l.recent[1:]
		}
	}
	if len(line) > 1024 {
		line = strings.ToValidUTF8(strings.Clone(line[:1024]), "") + "…"
	}
	if ls = append(ls, line); len(ls) > logLines {
		ls = slices.Delete(ls, 0, 1)
	}
	l.lines[drv] = ls
}

// message takes note of errors: about one derivation, or others.
func (l *BuildLog) message(msg string) {
	msg = text.Strip(msg)
	said, isError := strings.CutPrefix(msg, "error:")
	if !isError {
		return
	}
	said = strings.TrimSpace(said)
	f := parseFailure(said)
	switch {
	case f != nil:
		if l.failures[f.Drv] == nil && len(l.order) < mostBuilds {
			if len(f.Log) == 0 {
				f.Log = l.lines[f.Drv]
			}
			l.failures[f.Drv] = f
			l.order = append(l.order, f.Drv)
		}
	case dependency.MatchString(said):
	case len(l.errors) < 200:
		l.errors = append(l.errors, text.Clean(strings.SplitN(said, "\n", 2)[0]))
	}
}

// parseFailure reads an error of Nix (without "error:") that says that one
// derivation failed by itself; nil for any other.
func parseFailure(said string) *BuildFailure {
	if m := refusal.FindStringSubmatch(said); m != nil {
		return refused(m[3], m[1], m[2], m[4])
	}
	d := drvInText.FindStringSubmatch(said)
	if d == nil {
		return nil
	}
	if m := refusalRequired.FindStringSubmatch(said); m != nil {
		have := ""
		if c := refusalCurrent.FindStringSubmatch(said); c != nil {
			have = c[1]
		}
		return refused(d[1], m[1], m[2], have)
	}
	if m := refusalFeatures.FindStringSubmatch(said); m != nil {
		return &BuildFailure{Drv: d[1], Required: m[1], Reason: "it needs a builder with the features " + m[1]}
	}
	f := &BuildFailure{Drv: d[1]}
	first, rest, _ := strings.Cut(said, "\n")
	if m := reasonLine.FindStringSubmatch(said); m != nil {
		if strings.Contains(strings.ToLower(m[1]), "dependenc") {
			return nil
		}
		f.Reason = m[1]
	} else if dependency.MatchString(said) {
		return nil
	} else if m := builderFor.FindStringSubmatch(strings.TrimSpace(first)); m != nil {
		f.Reason = "builder failed " + m[1]
	} else {
		f.Reason = text.Clean(strings.TrimSuffix(strings.ReplaceAll(first, "'"+d[1]+"'", DrvName(d[1])), ":"))
		// hash mismatch: what was specified and what came
		for _, s := range strings.Split(rest, "\n") {
			if s = strings.TrimSpace(s); strings.HasPrefix(s, "specified:") || strings.HasPrefix(s, "got:") || strings.HasPrefix(s, "wanted:") {
				f.Log = append(f.Log, text.Clean(s))
			}
		}
	}
	f.Reason = strings.TrimSuffix(f.Reason, ":")
	return f
}

func refused(drv, system, features, have string) *BuildFailure {
	f := &BuildFailure{Drv: drv, Required: system, Have: have}
	what := system
	if features = strings.TrimSpace(features); features != "" {
		what += " with " + features
	}
	f.Reason = "it needs a builder for " + what
	if have != "" {
		f.Reason += "; this one is " + have
	}
	return f
}

// Failures are the derivations that failed by themselves, first failed first.
func (l *BuildLog) Failures() []*BuildFailure {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*BuildFailure, len(l.order))
	for i, d := range l.order {
		out[i] = l.failures[d]
	}
	return out
}

// Errors are errors that are not about a derivation.
func (l *BuildLog) Errors() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.errors)
}

// Last is the last such error, or err's own text.
func (l *BuildLog) Last(err error) string {
	if e := l.Errors(); len(e) > 0 {
		return e[len(e)-1]
	}
	if err != nil {
		return err.Error()
	}
	return "no reason given"
}

// ExplainFailures gives each of the roots (derivations whose outputs are not
// there after a build) the reason: its own failure, or those of the
// derivations that it depends on. hint makes the line that shows a whole log;
// nil stands for `nix log`.
func ExplainFailures(log *BuildLog, roots []string, read func(string) (*Derivation, error), runErr error, hint func(drv string) string) map[string]error {
	if hint == nil {
		hint = func(drv string) string { return "nix log " + drv }
	}
	byDrv := map[string]*BuildFailure{}
	for _, f := range log.Failures() {
		byDrv[f.Drv] = f
	}
	out := map[string]error{}
	for _, root := range roots {
		own := byDrv[root]
		var because []*BuildFailure
		if own != nil {
			because = []*BuildFailure{own}
		} else {
			because = failedBelow(root, byDrv, read)
		}
		name := DrvName(root)
		switch {
		case own != nil:
			out[root] = describe(fault.New("building %s failed: %s", name, own.Reason), own, hint)
		case len(because) == 1:
			f := because[0]
			out[root] = describe(fault.New("building %s failed: %s", DrvName(f.Drv), f.Reason), f, hint)
		case len(because) > 1:
			var names []string
			for _, f := range because {
				names = append(names, DrvName(f.Drv))
			}
			e := fault.New("building %s failed", listing(names, 4))
			for i, f := range because {
				if i == 3 {
					e.Detail(fmt.Sprintf("and %d more", len(because)-3))
					break
				}
				describe(e, f, hint)
			}
			out[root] = e
		case len(log.Errors()) > 0:
			errs := log.Errors()
			e := fault.New("%s cannot be built: %s", name, errs[len(errs)-1])
			if len(errs) > 1 {
				e.Detail(errs[:len(errs)-1]...)
			}
			out[root] = e
		case len(byDrv) > 0:
			// Nix gave up before it came to this one.
			f := log.Failures()[0]
			out[root] = fault.New("%s was not built: Nix stopped when %s failed: %s", name, DrvName(f.Drv), f.Reason)
		default:
			e := fault.New("%s cannot be built, and Nix did not say why", name)
			if runErr != nil {
				e.Because(runErr).Detail(runErr.Error())
			}
			out[root] = e
		}
	}
	return out
}

func describe(e *fault.Error, f *BuildFailure, hint func(string) string) *fault.Error {
	e.Detail("derivation " + f.Drv)
	for _, s := range f.Log {
		e.Detail("| " + s)
	}
	if f.Required == "" {
		e.Hint("the whole log: %s", fault.Raw(hint(f.Drv)))
	} else {
		e.Exit(5)
	}
	return e
}

// failedBelow finds the failed derivations that root depends on, in a fixed order.
func failedBelow(root string, failed map[string]*BuildFailure, read func(string) (*Derivation, error)) []*BuildFailure {
	var out []*BuildFailure
	if len(failed) == 0 {
		return nil
	}
	seen := map[string]bool{root: true}
	for todo := []string{root}; len(todo) > 0; {
		d, err := read(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		if err != nil {
			continue
		}
		for _, in := range d.InputDrvs {
			if seen[in.Path] {
				continue
			}
			seen[in.Path] = true
			if f := failed[in.Path]; f != nil {
				out = append(out, f)
			} else {
				todo = append(todo, in.Path)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return DrvName(out[i].Drv) < DrvName(out[j].Drv) })
	return out
}

// CachedReader reads each derivation once. It may be used by one goroutine at a time.
func CachedReader(read func(string) (*Derivation, error)) func(string) (*Derivation, error) {
	type entry struct {
		d   *Derivation
		err error
	}
	cache := map[string]entry{}
	return func(drv string) (*Derivation, error) {
		if e, ok := cache[drv]; ok {
			return e.d, e.err
		}
		d, err := read(drv)
		cache[drv] = entry{d, err}
		return d, err
	}
}

// Keys are the keys of m, sorted.
func Keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func listing(names []string, n int) string {
	if len(names) > n {
		return strings.Join(names[:n], ", ") + fmt.Sprintf(" and %d more", len(names)-n)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
