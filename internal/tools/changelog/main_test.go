package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRelease(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- before there were files\n")
	write("changelog/unreleased/b.md", "### Fixed\n\n- b\n  goes on\n")
	write("changelog/unreleased/a.md", "### Added\n- a\n\n### Fixed\n- c\n")
	if err := run(dir, []string{"release", "1.0.0"}, now); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "CHANGELOG.md"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := "## 1.0.0 (2026-11-28)\n\n### Added\n\n- a\n\n### Fixed\n\n- c\n- b\n  goes on\n\n- before there were files\n"
	if got := read(); got != "# Changelog\n\n"+first {
		t.Errorf("%s", got)
	}
	if err := run(dir, []string{"release", "1.0.1"}, now); err == nil {
		t.Error("an empty release")
	}
	write("changelog/unreleased/d.md", "### Security\n\n- d\n")
	if err := run(dir, []string{"release", "1.0.0"}, now); err == nil || !strings.Contains(err.Error(), "already") {
		t.Error(err)
	}
	if err := run(dir, []string{"release", "1.1.0"}, now); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "# Changelog\n\n## 1.1.0 (2026-11-28)\n\n### Security\n\n- d\n\n"+first {
		t.Errorf("%s", got)
	}
	for text, says := range map[string]string{"- a\n": "below a heading", "### New\n- a\n": "one of Added", "### Added\na\n": "begins with a dash"} {
		write("changelog/unreleased/bad.md", text)
		if err := run(dir, []string{"check"}, now); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, args := range [][]string{nil, {"release"}, {"release", "v1"}, {"x"}} {
		if err := run(dir, args, now); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// TestOwn reads the files of this repository.
func TestOwn(t *testing.T) {
	if err := run("../../..", []string{"check"}, time.Now()); err != nil {
		t.Error(err)
	}
}
