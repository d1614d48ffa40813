package nixtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/nix"
)

// Main is for TestMain: where the binary of the test is called by the name of one of Nix's
// programs, it is that program.
func Main() {
	switch filepath.Base(os.Args[0]) {
	case "nix":
		Program(Nix)()
	case "nix-instantiate":
		Program(Instantiate)()
	case "nix-store":
		Program(Store)()
	}
}

// Tool is a Nix that knows a fleet and nothing else. The test's TestMain calls Main.
func Tool(t testing.TB, fl Fleet) *nix.Tool {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nix", "nix-instantiate", "nix-store"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(fl)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "fleet.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(dir, "unknown")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(FleetEnv, filepath.Join(dir, "fleet.json"))
	t.Setenv(UnknownEnv, unknown)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Cleanup(func() {
		if b, err := os.ReadFile(unknown); err == nil {
			t.Errorf("Nix was asked what it does not know:\n%s", b)
		}
	})
	tool, err := nix.Find(t.Context(), nix.Settings{})
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return tool
}
