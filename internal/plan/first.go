package plan

import (
	"godwit/internal/fault"
	"godwit/internal/nix"
)

// SameSystems refuses a plan whose derivations do not make its systems.
func SameSystems(p *Plan, file string) error {
	for _, h := range p.Hosts {
		if h.Status != Change && h.Status != Unchanged {
			continue
		}
		d, err := nix.ReadDerivation(h.Drv)
		if err != nil {
			return err
		}
		if d.OutPath() != h.System {
			return fault.New("%s was changed after it was made: its derivation makes another system than it says", file).On(h.Name).
				Hint("godwit plan -o %s makes it again", file)
		}
	}
	return nil
}
