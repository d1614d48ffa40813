package approve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/paths"
	"godwit/internal/plan"
)

// Roots keep what a saved plan needs from being collected on this machine.
type Roots struct{ dir string }

// NewRoots is the folder of a plan's roots. Those of plans that are no more
// are removed.
func NewRoots(file string) (*Roots, error) {
	state, err := paths.State()
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fault.New("cannot save the plan as %s: %w", file, err)
	}
	all := filepath.Join(state, "plans")
	entries, _ := os.ReadDir(all)
	for _, e := range entries {
		of, err := os.Readlink(filepath.Join(all, e.Name(), "of"))
		if _, serr := os.Stat(of); err == nil && errors.Is(serr, fs.ErrNotExist) {
			_ = os.RemoveAll(filepath.Join(all, e.Name()))
		}
	}
	sum := sha256.Sum256([]byte(abs))
	r := &Roots{filepath.Join(all, hex.EncodeToString(sum[:8]))}
	_ = os.RemoveAll(r.dir)
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fault.New("cannot keep what the plan needs: %w", err)
	}
	if err := os.Symlink(abs, filepath.Join(r.dir, "of")); err != nil {
		return nil, fault.New("cannot keep what the plan needs: %w", err)
	}
	return r, nil
}

// Link is where the root of a host is to be.
func (r *Roots) Link(host string) string { return filepath.Join(r.dir, host) }

// Keep roots the derivations too, from which what a builder has lost is built
// again, and notes the roots in the plan.
func (r *Roots) Keep(ctx context.Context, tool NixTool, p *plan.Plan) error {
	for _, h := range p.Hosts {
		if h.Status != plan.Change && h.Status != plan.Unchanged {
			continue
		}
		r.keepOne(ctx, tool, p, r.Link(h.Name), h.Drv)
		for _, of := range h.Profiles {
			if of.Drv != h.Drv {
				r.keepOne(ctx, tool, p, deploy.LinkOf(r.Link(h.Name), of.Name), of.Drv)
			}
		}
	}
	return nil
}

func (r *Roots) keepOne(ctx context.Context, tool NixTool, p *plan.Plan, link, drv string) {
	if _, err := os.Lstat(link); err == nil {
		p.Roots = append(p.Roots, link)
	}
	// A Nix that cannot do it keeps derivations of rooted outputs anyway
	// (keep-derivations); deploy says so when one is gone.
	if _, err := tool.Output(ctx, "nix-instantiate", "--add-root", link+".drv", "--indirect", "--expr", "import "+drv); err == nil {
		p.Roots = append(p.Roots, link+".drv")
	}
}

// NixTool runs programs of Nix.
type NixTool interface {
	Output(ctx context.Context, program string, args ...string) ([]byte, error)
}
