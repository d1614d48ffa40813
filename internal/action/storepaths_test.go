package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/host/hosttest"
	"godwit/internal/store/storetest"
)

// TestStorePaths: what is refused before anything is copied.
func TestStorePaths(t *testing.T) {
	const path = "/nix/store/0c5bfdqsnrmlpxpqpvfhqkwbqmzwxw2v-x"
	// An engine that has no builders, whatever this machine has.
	dir := t.TempDir()
	engine := `#!/bin/sh
case $1 in
version) echo 'amd64 linux 27.0.0' ;;
ps) ;;
*) echo "docker $*: this fake does not know it" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(engine), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for want, o := range map[string]StorePaths{
		"x is not a store path":         {Paths: []string{"x"}, To: []string{"web"}},
		"is not [USER@]HOST[:PORT]":     {Paths: []string{path}, To: []string{"a b"}},
		"--to names web twice":          {Paths: []string{path}, To: []string{"web", "root@web"}},
		"there is no builder elsewhere": {Paths: []string{path}, To: []string{"web"}, From: "elsewhere"},
	} {
		e, _ := tested(t)
		e.fakes = func(s *session) { s.conns = hosttest.Pool{} }
		if _, err := Push(t.Context(), e, PushRequest{Hosts: o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// TestCheckReady: the paths must be there, and what is activated must be a system.
func TestCheckReady(t *testing.T) {
	st := storetest.New()
	file := st.Add("x", "no system")
	src := st.Endpoint("a store")
	if err := checkReady(t.Context(), src, []string{file}, false); err != nil {
		t.Error(err)
	}
	if err := checkReady(t.Context(), src, []string{file}, true); err == nil || !strings.HasSuffix(err.Error(), "is not a NixOS system: it has no bin/switch-to-configuration") {
		t.Error(err)
	}
	if err := checkReady(t.Context(), src, []string{sysA}, false); err == nil || !strings.HasSuffix(err.Error(), "is not in a store") {
		t.Error(err)
	}
}
