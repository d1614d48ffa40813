package nix

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOldest: the version that is refused is the one that the message and the guide name.
func TestOldest(t *testing.T) {
	for version, ok := range map[string]bool{"2.3.16": false, "2.7.0": false, "2.8.0": true, "2.34.8": true} {
		dir := t.TempDir()
		// Knows what Find asks, and nothing else.
		fake := "#!/bin/sh\ncase $* in *--version) echo 'nix (Nix) " + version + "' ;; *'show-config --json'*) echo '{}' ;; *) echo \"unexpected: $*\" >&2; exit 9 ;; esac\n"
		for _, name := range []string{"nix", "nix-store", "nix-instantiate", "nix-build", "nix-shell"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(fake), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir+string(os.PathListSeparator)+"/usr/bin:/bin")
		tool, err := Find(t.Context(), Settings{})
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), "Nix "+version+" is too old: godwit needs Nix 2.8 or later") {
			t.Errorf("%s: %+v, %v", version, tool, err)
		}
	}
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil || !strings.Contains(string(guide), "needs Nix 2.8 or later") {
		t.Error("the guide says something else")
	}
}
