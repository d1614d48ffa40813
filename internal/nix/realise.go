package nix

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"godwit/internal/bounded"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nixlog"
	"godwit/internal/scratch"
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
	log := nixlog.NewBuildLog(scope)
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
// nixlog.BuildLog reads it.
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

// ExplainFailures gives each of the roots (derivations whose outputs are not
// there after a build) the reason: its own failure, or those of the
// derivations that it depends on. hint makes the line that shows a whole log;
// nil stands for `nix log`.
func ExplainFailures(log *nixlog.BuildLog, roots []string, read func(string) (*Derivation, error), runErr error, hint func(drv string) string) map[string]error {
	if hint == nil {
		hint = func(drv string) string { return "nix log " + drv }
	}
	byDrv := map[string]*nixlog.Failure{}
	for _, f := range log.Failures() {
		byDrv[f.Drv] = &f
	}
	out := map[string]error{}
	for _, root := range roots {
		own := byDrv[root]
		var because []*nixlog.Failure
		if own != nil {
			because = []*nixlog.Failure{own}
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
				_ = describe(e, f, hint)
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

func describe(e *fault.Error, f *nixlog.Failure, hint func(string) string) *fault.Error {
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
func failedBelow(root string, failed map[string]*nixlog.Failure, read func(string) (*Derivation, error)) []*nixlog.Failure {
	var out []*nixlog.Failure
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
