package builder

import (
	"context"
	"os/exec"
	"strings"
	"syscall"

	"godwit/internal/event"
	"godwit/internal/nix"
	"godwit/internal/store"
)

// local builds with this machine's Nix, which may have builders of its own.
type local struct {
	tool *nix.Tool
	via  []string // URIs of the configured builders that it counts on
}

// Local is this machine.
func Local(tool *nix.Tool) Builder { return &local{tool: tool} }

// Configured is this machine's Nix, which gives derivations to its own builders (uris).
func Configured(tool *nix.Tool, uris []string) Builder { return &local{tool: tool, via: uris} }

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
func (l *local) Store() store.Endpoint                   { return localStore(l.tool) }

// Build realises here. A derivation that two hosts share is built once and
// linked for both.
func (l *local) Build(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	items := make([]nix.RealiseItem, 0, len(req.Items))
	for _, it := range req.Items {
		items = append(items, nix.RealiseItem{Drv: it.Drv, Link: it.Link})
	}
	r, err := l.tool.Realise(ctx, items, req.scope(sink))
	if err != nil {
		return nil, err
	}
	return &Built{Outputs: r.Outputs, Failed: r.Failed}, nil
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
