package builder

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/event"
	"godwit/internal/nix"
	"godwit/internal/nixlog"
	"godwit/internal/store"
)

func (c *container) logHint(drv string) string {
	return c.eng.Kind + " exec " + c.ctr + " nix-store --read-log " + drv
}

// way is how derivations get to a container and are built there.
type way int

const (
	// wayRelay: internal/store copies the closures, `nix-store --realise` runs
	// in the container. Nothing in it depends on the Nix of this machine.
	wayRelay way = iota
	// wayBridge: `nix build DRV^* --store unix://SOCKET --eval-store auto`.
	wayBridge
)

// ways are the versions for which wayBridge was tried and builds. Others take
// wayRelay, without trying.
//
// Measured 2026-11 with Debian's Nix 2.8.0, 2.26.3 and 2.34.8 here, 2.26.3 in
// the container, for a .drv that only this machine has:
//
//	                                                       2.8.0    2.26.3   2.34.8
//	nix build DRV     --store unix:// --eval-store auto    no (1)   no (2)   no (2)
//	nix build DRV^*   --store unix:// --eval-store auto    no (3)   builds   builds
//	nix build DRV!*   (and DRV!out)                        no       no       no
//	nix copy --derivation --to unix://, then
//	    nix build DRV --store unix:// --eval-store auto    builds   no (4)   no (4)
//	    nix-store --store unix:// --realise DRV            builds   builds   builds
//	nix-build DRV     --store unix:// --eval-store auto    builds   builds   builds
//	nix-store --eval-store                                 no such flag
//	internal/store's copy, then nix-store --realise there  builds   builds   builds
//
// (1) "is not a valid store path"; (2) "no substituter that can build it";
// (3) "is not a valid URL"; (4) status 0, and nothing is built: DRV is the file.
//
// All of it holds only for a client without settings of its own: over unix://
// Nix sends every setting that nix.conf or NIX_CONFIG changed, and with
// `system = aarch64-darwin` among them the builder refuses ("a 'x86_64-linux'
// with features {} is required …, but I am a 'aarch64-darwin'"). The bridge is
// therefore used with an empty configuration.
var ways = []struct {
	vendor           string
	fromMin, fromMax int // minor versions of Nix 2
}{
	{"Nix", 26, 34},
}

// wayFor is the way for a version of Nix on this machine.
func wayFor(v nix.Version) way {
	for _, w := range ways {
		if v.Vendor == w.vendor && v.Major == 2 && v.Minor >= w.fromMin && v.Minor <= w.fromMax {
			return wayBridge
		}
	}
	return wayRelay
}

// Build builds in the container and keeps what comes out there until the next
// build for the same host.
func (c *container) Build(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	if err := c.Ready(ctx, sink); err != nil {
		return nil, err
	}
	var built *Built
	var err error
	if wayFor(c.tool.Version) == wayBridge {
		built, err = c.buildOverBridge(ctx, req, sink)
	} else {
		built, err = buildAt(ctx, c.tool, c.Name(), c, c.store(), nil, req, sink)
	}
	if err != nil {
		return nil, err
	}
	var words []string
	for _, it := range req.Items {
		if p := built.Outputs[it.Drv].Path; p != "" {
			words = append(words, rootName(it.Host, it.Drv), p)
		}
	}
	if len(words) > 0 {
		_ = c.run(ctx, append([]string{"/bin/sh", "-c", makeRoots, "sh"}, words...), io.Discard, io.Discard)
	}
	return built, ctx.Err()
}

const makeRoots = `d=/nix/var/nix/gcroots/godwit; mkdir -p "$d" && while [ $# -gt 1 ]; do ln -sfn "$2" "$d/$1"; shift 2; done`

func rootName(host, drv string) string {
	if host == "" {
		host = nix.DrvName(drv)
	}
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, "host-"+host)
}

// Bridge gives the socket of the builder, for any Nix program on this machine:
// --store unix://PATH.
func (c *container) Bridge(ctx context.Context) (*Bridge, error) {
	if err := c.Ready(ctx, event.Discard); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bridge == nil {
		b, err := NewBridge(func(ctx context.Context) (*store.Stream, error) {
			return c.dial(ctx, []string{"nix-daemon", "--stdio"})
		})
		if err != nil {
			return nil, err
		}
		c.bridge = b
	}
	return c.bridge, nil
}

// buildOverBridge lets this machine's Nix send the derivations and have them built.
func (c *container) buildOverBridge(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	scope := req.scope(sink)
	drvs := req.drvs()
	if len(drvs) == 0 {
		return newBuilt(), nil
	}
	prepared, err := prepare(ctx, c.tool, req, scope)
	if err != nil {
		return nil, err
	}
	if len(prepared) > 0 {
		if err := copyTo(ctx, localStore(c.tool), c.store(), prepared, scope); err != nil {
			return nil, err
		}
	}
	bridge, err := c.Bridge(ctx)
	if err != nil {
		return nil, err
	}
	config, err := c.tool.Config(ctx)
	if err != nil {
		return nil, err
	}
	evalStore := config.Store
	if evalStore == "" {
		evalStore = "auto"
	}
	args := []string{"--extra-experimental-features", "nix-command", "build", "--store", "unix://" + bridge.Path, "--eval-store", evalStore,
		"--no-link", "--keep-going", "--log-format", "internal-json", "-v"}
	for _, d := range drvs {
		args = append(args, d+"^*")
	}
	cmd := c.tool.Command(ctx, "nix")
	cmd.Args = append(cmd.Args[:1], args...)
	// No settings of this machine: they would go to the builder.
	cmd.Env = append(slices.DeleteFunc(cmd.Env, func(s string) bool {
		return strings.HasPrefix(s, "NIX_CONFIG=") || strings.HasPrefix(s, "NIX_CONF_DIR=") || strings.HasPrefix(s, "NIX_USER_CONF_FILES=") || strings.HasPrefix(s, "NIX_REMOTE_SYSTEMS=")
	}), "NIX_CONF_DIR="+filepath.Dir(bridge.Path), "NIX_USER_CONF_FILES="+os.DevNull)
	log := nixlog.NewBuildLog(scope)
	cmd.Stderr = log
	out, runErr := bounded.Output(cmd, "what nix prints", mostOfEngine)
	log.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	valid := func(paths []string) (map[string]bool, error) { return c.valid(ctx, paths) }
	return sortOut(drvs, string(out), log, runErr, valid, c.Name(), c.store(), c.logHint)
}

// valid asks the store in the container.
func (c *container) valid(ctx context.Context, paths []string) (map[string]bool, error) {
	return validAt(ctx, c, paths)
}
