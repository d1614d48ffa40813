package nix

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"godwit/internal/bounded"
)

var features = regexp.MustCompile(`(?m)^experimental-features = (.*)$`)

// Flakes tells whether this Nix has flakes on by its own settings: without the features that
// godwit turns on for itself. A Nix that does not let itself be asked has them off.
func (t *Tool) Flakes(ctx context.Context) bool {
	for _, words := range [][]string{{"config", "show"}, {"show-config"}} { // the name of later versions, and of earlier ones
		cmd := t.Command(ctx, "nix")
		cmd.Args = append(cmd.Args[:1:1], words...)
		out, err := bounded.Output(cmd, "Nix's settings", 1<<20)
		if m := features.FindSubmatch(out); err == nil && m != nil {
			return slices.Contains(strings.Fields(string(m[1])), "flakes")
		}
	}
	return false
}
