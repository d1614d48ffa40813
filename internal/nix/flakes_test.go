package nix

import "testing"

// By its own settings, not by what godwit turns on.
func TestFlakes(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Nix")
	}
	t.Setenv("NIX_USER_CONF_FILES", "/dev/null")
	t.Setenv("NIX_CONF_DIR", t.TempDir())
	for config, want := range map[string]bool{"experimental-features =": false, "experimental-features = nix-command flakes": true, "experimental-features = nix-command": false} {
		t.Setenv("NIX_CONFIG", config)
		tool, err := Find(t.Context(), Settings{})
		if err != nil {
			t.Fatal(err)
		}
		if got := tool.Flakes(t.Context()); got != want {
			t.Errorf("%s: %v", config, got)
		}
	}
}
