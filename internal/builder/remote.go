package builder

import (
	"context"
	"io"
	"slices"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/nixlog"
	"godwit/internal/store"
)

// place is a machine with Nix where programs can be run: a container, a host.
type place interface {
	// run runs argv there to its end. When ctx ends, the program there does too.
	run(ctx context.Context, argv []string, stdout, stderr io.Writer) error
	// dial runs argv there with its pipes in our hands.
	dial(ctx context.Context, argv []string) (*store.Stream, error)
	// logHint is the command line that shows a derivation's log.
	logHint(drv string) string
}

// endpoint is the store of a place.
func endpoint(name string, p place) store.Endpoint {
	return store.Endpoint{Name: name, Dial: func(ctx context.Context, write bool) (*store.Stream, error) {
		return p.dial(ctx, store.Serve(write))
	}}
}

// notForwarded are settings that mean something else, or nothing, on another machine.
var notForwarded = []string{
	"system", "extra-platforms", "builders", "store", "build-users-group", "build-dir", "ssl-cert-file", "netrc-file",
	"pre-build-hook", "post-build-hook", "build-hook", "diff-hook", "secret-key-files", "plugin-files", "nix-path",
	"restrict-eval", "pure-eval", "allowed-uris", "allow-import-from-derivation", "eval-cache", "eval-cores",
	"sandbox", "sandbox-paths", "extra-sandbox-paths", "sandbox-fallback", "filter-syscalls", "system-features",
	"extra-system-features", "max-jobs", "cores", "warn-dirty", "accept-flake-config", "experimental-features",
	"extra-experimental-features", "access-tokens", "connect-timeout", "download-attempts", "use-case-hack", "trusted-users",
	"allowed-users", "auto-optimise-store", "flake-registry", "tarball-ttl", "log-format",
}

// forwarded are the person's own --option pairs that another machine should know.
func forwarded(tool *nix.Tool) [][2]string {
	var out [][2]string
	for _, o := range tool.Settings().Options {
		if !slices.Contains(notForwarded, o[0]) {
			out = append(out, o)
		}
	}
	return out
}

// buildAt builds at a place: what this machine has to build first is built
// here; the derivations' closures are copied there with the serve protocol; then
// nix-store realises them there and logs to us. It works with every version of
// Nix at either end, because nothing in it depends on --store or --eval-store.
func buildAt(ctx context.Context, tool *nix.Tool, name string, p place, dst store.Endpoint, options [][2]string, req Request, sink event.Sink) (*Built, error) {
	scope := req.scope(sink)
	drvs := req.drvs()
	built := newBuilt()
	if len(drvs) == 0 {
		return built, nil
	}
	roots := slices.Clone(drvs)
	prepared, err := prepare(ctx, tool, req, scope)
	if err != nil {
		return nil, err
	}
	roots = append(roots, prepared...)
	if err := copyTo(ctx, localStore(tool), dst, roots, scope); err != nil {
		return nil, err
	}

	log := nixlog.NewBuildLog(scope)
	argv := []string{"nix-store"}
	for _, o := range options {
		argv = append(argv, "--option", o[0], o[1])
	}
	argv = append(argv, nix.RealiseArgs(drvs)...)
	out := bounded.NewBuffer("what nix-store on "+name+" prints", mostOfEngine)
	runErr := p.run(ctx, argv, out, log)
	log.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if full := out.Err(); full != nil {
		return nil, fault.New("%w", full)
	}
	valid := func(paths []string) (map[string]bool, error) { return validAt(ctx, p, paths) }
	return sortOut(drvs, out.String(), log, runErr, valid, name, dst, p.logHint)
}

// validAt tells which paths are in the store of a place.
func validAt(ctx context.Context, p place, paths []string) (map[string]bool, error) {
	ok := make(map[string]bool, len(paths))
	for _, x := range paths {
		ok[x] = true
	}
	for c := range slices.Chunk(paths, 500) {
		bad := bounded.NewBuffer("what the builder's nix-store prints", mostOfEngine)
		err := p.run(ctx, append([]string{"nix-store", "--check-validity", "--print-invalid"}, c...), bad, io.Discard)
		if full := bad.Err(); full != nil {
			err = full
		}
		if err != nil {
			return nil, err
		}
		for _, x := range strings.Fields(bad.String()) {
			ok[x] = false
		}
	}
	return ok, nil
}

// prepare builds here what the builder cannot, and gives the outputs.
func prepare(ctx context.Context, tool *nix.Tool, req Request, scope event.Scope) ([]string, error) {
	if len(req.Prepare) == 0 {
		return nil, nil
	}
	items := make([]nix.RealiseItem, 0, len(req.Prepare))
	for _, d := range req.Prepare {
		items = append(items, nix.RealiseItem{Drv: d})
	}
	r, err := tool.Realise(ctx, items, "", scope)
	if err != nil {
		return nil, err
	}
	for _, d := range nix.Keys(r.Failed) {
		return nil, r.Failed[d]
	}
	var out []string
	for _, d := range nix.Keys(r.Outputs) {
		drv, err := nix.ReadDerivation(d)
		if err != nil {
			return nil, fault.New("%s", err).Because(err)
		}
		for _, o := range drv.Outputs {
			if o.Path != "" {
				out = append(out, o.Path)
			}
		}
	}
	// Outputs that nobody asked for were perhaps not made: only what is there.
	ok, err := tool.Valid(ctx, out)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(p string) bool { return !ok[p] }), nil
}

// sortOut makes the result of a build elsewhere, which ended with runErr.
func sortOut(drvs []string, stdout string, log *nixlog.BuildLog, runErr error, valid func([]string) (map[string]bool, error), name string, in store.Endpoint, hint func(string) string) (*Built, error) {
	built := newBuilt()
	read := nix.CachedReader(nix.ReadDerivation)
	var paths []string
	for _, d := range drvs {
		drv, err := read(d)
		if err != nil {
			return nil, fault.New("%s", err).Because(err)
		}
		built.Outputs[d] = Output{drv.OutPath(), in}
		if p := drv.OutPath(); p != "" {
			paths = append(paths, p)
		} else if f := strings.Fields(stdout); runErr == nil && len(drvs) == 1 && len(f) > 0 {
			built.Outputs[d] = Output{f[0], in} // content-addressed: only the builder knows the path
		}
	}
	if runErr == nil {
		return built, nil
	}
	ok, err := valid(paths)
	if err != nil {
		// The builder itself went away.
		return nil, fault.New("%s: the build broke off: %s", name, log.Last(runErr)).Because(runErr).
			Detail(event.Message(err)).Hint("run it again: what was built until then is there")
	}
	for _, d := range drvs {
		if p := built.Outputs[d].Path; p == "" || !ok[p] {
			delete(built.Outputs, d)
			built.Failed[d] = nil
		}
	}
	if len(built.Failed) == 0 {
		return nil, fault.New("%s: nix-store failed: %s", name, log.Last(runErr)).Because(runErr)
	}
	for d, err := range nix.ExplainFailures(log, nix.Keys(built.Failed), read, runErr, hint) {
		built.Failed[d] = err
	}
	return built, nil
}
