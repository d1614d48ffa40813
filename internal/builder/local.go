package builder

import (
	"context"
	"maps"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"godwit/internal/event"
	"godwit/internal/nix"
	"godwit/internal/store"
)

// local builds with this machine's Nix, which may have builders of its own.
type local struct {
	tool *nix.Tool
	// roots is a directory for GC roots that keep what was built as long as it is
	// there; empty: what no link keeps may be collected.
	roots string
	via   []string // URIs of the configured builders that it counts on
	// held are derivations whose outputs are there, with GC roots in roots.
	held *sync.Map
}

func (l *local) Name() string {
	if len(l.via) > 0 {
		return "Nix builder " + strings.Join(l.via, ", ")
	}
	return "local"
}

func (l *local) Kind() Kind {
	if len(l.via) > 0 {
		return KindConfigured
	}
	return KindLocal
}

func (l *local) Ready(context.Context, event.Sink) error { return nil }
func (l *local) Close() error                            { return nil }
func (l *local) Stores() []store.Endpoint                { return []store.Endpoint{localStore(l.tool)} }

// Build realises here. A derivation that two hosts share is built once and
// linked for both.
func (l *local) Build(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	done, here := newBuilt(), localStore(l.tool)
	items := make([]nix.RealiseItem, 0, len(req.Items))
	for _, it := range req.Items {
		if l.held != nil && it.Link == "" {
			if out, ok := l.held.Load(it.Drv); ok {
				done.Outputs[it.Drv] = Output{out.(string), here}
				continue
			}
		}
		items = append(items, nix.RealiseItem{Drv: it.Drv, Link: it.Link})
	}
	r, err := l.tool.Realise(ctx, items, l.roots, req.scope(sink))
	if err != nil {
		return nil, err
	}
	for drv, out := range r.Outputs {
		done.Outputs[drv] = Output{out, here}
	}
	maps.Copy(done.Failed, r.Failed)
	return done, nil
}

// localStore is the store that this machine's Nix uses.
func localStore(tool *nix.Tool) store.Endpoint {
	e := store.Local(func(ctx context.Context, program string, args ...string) *exec.Cmd {
		cmd := tool.Command(ctx, program, args...)
		// store makes a process group; a process cannot have both a session and that.
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return cmd
	}, "")
	e.Name = "this machine's store"
	return e
}
