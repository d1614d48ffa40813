// Package sourcetest has what the tests of dialects share: a real Nix with the small
// NixOS of test/nixos as <nixpkgs>, and the suite that every dialect runs.
package sourcetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/reader"
)

// Nixpkgs is the directory of the small NixOS that stands for nixpkgs.
func Nixpkgs(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "test", "nixos")
		}
	}
	t.Fatal("the test does not run below a go.mod")
	return ""
}

// Tool is this machine's Nix with the small NixOS as <nixpkgs>. system is what
// Nix is to believe of this machine; empty: the truth.
func Tool(t testing.TB, system string) *nix.Tool {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Nix")
	}
	config := "build-users-group =\nsubstituters =\nsandbox = false\n"
	if system != "" {
		config += "system = " + system + "\nextra-platforms =\n"
	}
	t.Setenv("NIX_CONFIG", config)
	t.Setenv("NIX_PATH", "nixpkgs="+Nixpkgs(t))
	t.Setenv("MORPH_NIX_EVAL_MACHINES", "")
	tool, err := nix.Find(context.Background(), nix.Settings{})
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return tool
}

// Write makes the files of a repository and gives its directory.
func Write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	WriteIn(t, dir, files)
	return dir
}

// WriteIn makes files in a directory.
func WriteIn(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Open opens a configuration that must open.
func Open(t testing.TB, tool *nix.Tool, d *source.Dialect, at source.Location, opts source.Options) *reader.Reader {
	t.Helper()
	r, err := reader.Open(context.Background(), tool, d, at, opts)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return r
}

// Load loads what must load; a selection that says nothing is of all hosts.
func Load(t testing.TB, s source.Source, r source.Request) *source.Result {
	t.Helper()
	if r.Selection.Every == 0 {
		r.Selection.Every = 1
	}
	res, err := s.Load(context.Background(), r)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return res
}

// Failures joins the errors of the hosts that failed.
func Failures(r *source.Result) error {
	var errs []error
	for _, f := range r.Failed {
		errs = append(errs, f.Err)
	}
	return errors.Join(errs...)
}

// Good are the hosts of a result in which none failed.
func Good(t testing.TB, res *source.Result) []fleet.Host {
	t.Helper()
	if err := Failures(res); err != nil {
		t.Fatal(fault.Render(err))
	}
	return res.Fleet.Hosts
}

// Names are those of hosts, in their order.
func Names(hosts []fleet.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}
