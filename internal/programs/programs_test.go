package programs_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"godwit/internal/programs"
)

func TestSaid(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	link, script := filepath.Join(dir, "link"), filepath.Join(dir, "script")
	point := func(name string) {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(link)
		if err := os.Symlink(program, link); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	says := func(path, about, says string, times int) {
		t.Helper()
		asked = 0
		for range 3 {
			got, err := programs.Said(path, about, func() (string, error) { asked++; return says, nil })
			if got != says || err != nil {
				t.Errorf("%q, %v; want %q", got, err, says)
			}
		}
		if asked != times {
			t.Errorf("%s of %s: asked %d times of 3, want %d", about, filepath.Base(path), asked, times)
		}
	}
	point("sh")
	says(link, "version", "1", 1)
	says(link, "other", "2", 1)
	says(link, "version", "1", 0)
	point("env") // another program in its place, as when a profile moves on
	says(link, "version", "3", 1)
	says(link, "empty", "", 3)

	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec nix \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	says(script, "version", "4", 3)
	says(filepath.Join(dir, "nowhere"), "version", "5", 3)

	failed := errors.New("failed")
	if _, err := programs.Said(link, "failure", func() (string, error) { return "half", failed }); err != failed {
		t.Errorf("%v", err)
	}
	says(link, "failure", "whole", 1)

	t.Setenv("XDG_STATE_HOME", "/proc/nowhere") // which cannot be written
	says(link, "version", "6", 3)
}

// TestChangedInPlace has a program change under the same name and of the same size.
func TestChangedInPlace(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	file := filepath.Join(dir, "program")
	for _, text := range []string{"\x7fELF one", "\x7fELF two"} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		got, err := programs.Said(file, "version", func() (string, error) { return text, nil })
		if got != text || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}
