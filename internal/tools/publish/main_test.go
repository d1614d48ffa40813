package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHome(t *testing.T) {
	for _, bad := range []string{"", "godwit", "https://forge.example/a/b", "forge.example/a", "forge/a/b", "forge.example/a/b c", "forge.example/a/../b"} {
		if home.MatchString(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	if !home.MatchString("forge.example/team/sub.group/godwit") {
		t.Error("a home is refused")
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module godwit\n\ngo 1.26\n")
	write("a.go", "package a\n\nimport (\n\t\"godwit/internal/b\"\n\t\"zzz.example/c\"\n)\n\nconst m = \"godwit/internal/\" // /var/lib/godwit/internal stays\n\nvar _, _ = b.X, c.X\n")
	write("x.md", "`go list godwit/cmd/godwit`, ~/.local/state/godwit/test\n")
	write("x.svg", "godwit/internal/x")
	for _, to := range []string{"forge.example/one/godwit", "forge.example/two/other"} {
		old := strings.TrimSpace(strings.TrimPrefix(read(t, dir, "go.mod"), "module "))
		old, _, _ = strings.Cut(old, "\n")
		if err := rename(old, to, dir); err != nil {
			t.Fatal(err)
		}
		if got := read(t, dir, "a.go"); !strings.Contains(got, "\""+to+"/internal/b\"") || !strings.Contains(got, "const m = \""+to+"/internal/\" // /var/lib/godwit/internal stays") {
			t.Errorf("%s", got)
		}
		if got := read(t, dir, "x.md"); got != "`go list "+to+"/cmd/godwit`, ~/.local/state/godwit/test\n" {
			t.Errorf("%s", got)
		}
		if read(t, dir, "x.svg") != "godwit/internal/x" || !strings.HasPrefix(read(t, dir, "go.mod"), "module "+to+"\n") {
			t.Error("go.mod or a picture")
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
