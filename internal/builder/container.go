package builder

import "godwit/internal/nix"

func NewContainer(tool *nix.Tool, e *Engines, s Settings, system string) Builder { return Local(tool) }
