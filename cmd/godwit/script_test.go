package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"godwit/internal/cli"
	"godwit/internal/nix/nixtest"
	"godwit/test/schemas"
)

// The program as its users see it: what it is called with, its words and its exit
// code, in testdata/script. Beneath it are strict stand-ins for Nix and OpenSSH
// (internal/nix/nixtest, fake_test.go), so that no case needs more than Go.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"godwit":          func() { os.Exit(cli.Main(os.Args[1:])) },
		"nix":             nixtest.Program(nixtest.Nix),
		"nix-instantiate": nixtest.Program(nixtest.Instantiate),
		"nix-store":       nixtest.Program(nixtest.Store),
		"ssh":             nixtest.Program(ssh),
		"age-plugin-pin":  pinPlugin,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, ".state"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("XDG_RUNTIME_DIR", "")
			env.Setenv("CI", "1") // nobody is asked
			env.Setenv("LC_ALL", "C.UTF-8")
			env.Setenv(nixtest.FleetEnv, filepath.Join(env.WorkDir, "fleet.json"))
			env.Setenv(nixtest.UnknownEnv, filepath.Join(env.WorkDir, ".unknown"))
			return os.MkdirAll(env.Getenv("HOME"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits CODE ARGUMENT... runs godwit, which must end with that code, and leaves its
// words for stdout and stderr. Nothing beneath it may have been asked what it does
// not know, and no exit may be that of a panic.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits CODE ARGUMENT...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec("godwit", args[1:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("godwit ended with %d, want %d", code, want)
	}
	if b, err := os.ReadFile(ts.Getenv(nixtest.UnknownEnv)); err == nil {
		ts.Fatalf("asked beneath godwit, and not known there:\n%s", b)
	}
	ts.Check(schemas.Check("../../docs/schemas", args[1:], ts.ReadFile("stdout")))
	said := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if m := regexp.MustCompile(`(?m)^(panic:|goroutine \d+ ).*|\x1b\[.*`).FindString(said); m != "" {
		ts.Fatalf("it says %q:\n%s", m, said)
	}
}
