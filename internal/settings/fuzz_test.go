package settings

import (
	"testing"

	"godwit/internal/fault"
	"godwit/internal/ui/text/texttest"
)

// FuzzFile reads the user's file of settings.
func FuzzFile(f *testing.F) {
	f.Add("[builder]\ndefault = \"auto\"\n[[builder.ssh]]\nuri = \"ssh-ng://a\"\nsystems = [\"x86_64-linux\"]\n[copy]\nwith = \"nix\"\n")
	f.Add("[nothing]\n\"a\\u001b\" = 1\n[builder]\nx.y.z = { a = [ 1, \"b\" ] }\n")
	f.Fuzz(func(t *testing.T, s string) {
		var into Settings
		if err := Decode("config.toml", s, &into); err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
		}
	})
}
