package ship

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/onhost"
)

func TestProgramFor(t *testing.T) {
	for uname, words := range map[string]string{
		"Darwin arm64":   "need Linux on x86_64 or aarch64 there, and it is Darwin arm64",
		"Linux riscv64":  "and it is Linux riscv64",
		"":               "need Linux",
		"FreeBSD x86_64": "and it is FreeBSD x86_64",
	} {
		if _, err := programFor(uname); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", uname, err)
		}
	}
	// Beside the program that runs, which is the test's own here.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(self), onhost.Name+"-linux-arm64")
	if err := os.WriteFile(beside, []byte("for arm"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(beside)
	for _, uname := range []string{"Linux aarch64", "Linux arm64"} {
		if p, err := programFor(uname); err != nil || string(p.text) != "for arm" || len(p.sum) != 64 {
			t.Errorf("%s: %v %v", uname, p, err)
		}
	}
}

// TestScripts: what they do on a host, under real shells.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("these scripts are root's: run the test as root (in a container)")
	}
	for _, shell := range []string{"dash", "bash"} {
		state := t.TempDir() + "/godwit/secrets"
		p := named([]byte("#!/bin/sh\necho hello\n"))
		run := func(script string, in []byte, args ...string) (string, error) {
			cmd := exec.Command(shell, append([]string{"-c", script, "sh"}, args...)...)
			cmd.Stdin = bytes.NewReader(in)
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		if out, err := run(lookScript, nil, state); err != nil || !strings.HasPrefix(out, "uname Linux ") || strings.Contains(out, "program") {
			t.Errorf("%s: %q %v", shell, out, err)
		}
		if out, err := run(programScript, p.text[:9], state, p.sum, onhost.Name); err == nil || !strings.Contains(out, "only a part") {
			t.Errorf("%s: %q %v", shell, out, err)
		}
		for range 2 {
			if out, err := run(programScript, p.text, state, p.sum, onhost.Name); err != nil {
				t.Errorf("%s: %q %v", shell, out, err)
			}
		}
		if out, err := run(lookScript, nil, state); err != nil || !strings.Contains(out, "\nprogram "+p.sum+"-"+onhost.Name+"\n") || strings.Contains(out, "release") {
			t.Errorf("%s: %q %v", shell, out, err)
		}
		if out, err := exec.Command(state + "/programs/" + p.sum + "-" + onhost.Name).Output(); err != nil || string(out) != "hello\n" {
			t.Errorf("%s: %q %v", shell, out, err)
		}
		if all, _ := os.ReadDir(state + "/programs"); len(all) != 1 {
			t.Errorf("%s: %v", shell, all)
		}
		if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v", shell, info.Mode())
		}
		if err := os.Symlink("x", state+"/secrets"); err != nil {
			t.Fatal(err)
		}
		if out, _ := run(lookScript, nil, state); !strings.Contains(out, "\nrelease\n") {
			t.Errorf("%s: %q", shell, out)
		}
		// Somebody else's folder is not ours.
		if err := os.Chown(state+"/programs", 4711, 4711); err != nil {
			t.Fatal(err)
		}
		if out, err := run(programScript, p.text, state, p.sum, onhost.Name); err == nil || !strings.Contains(out, "is not a folder of root's alone") {
			t.Errorf("%s: %q %v", shell, out, err)
		}
	}
}

func TestShip(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(self), onhost.Name+"-linux-amd64")
	if err := os.WriteFile(beside, []byte("for intel"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(beside)
	sum := named([]byte("for intel")).sum
	b := &bundle.Bundle{Machine: "web", Recipient: "age1x", KeyFile: "/k", Entries: []bundle.Entry{{Name: "a", Mode: 0o400, Phase: bundle.Users, Age: []byte("cipher")}}}
	at := onhost.State + "/" + b.ID()
	fed := ""
	look := hosttest.Call{Want: `uname`, Root: true, Out: "uname Linux x86_64\n"}
	program := hosttest.Call{Want: `sha256sum[^$]*\$new(.|\n)*-- /var/lib/godwit/secrets ` + sum + ` godwit-secrets$`, Root: true, Fed: true, Then: func(c host.Cmd) {
		text, _ := io.ReadAll(c.Stdin)
		if string(text) != "for intel" {
			t.Errorf("the program is %q", text)
		}
	}}
	receive := hosttest.Call{Want: `receive(.|\n)*-- /var/lib/godwit/secrets/programs/` + sum + `-godwit-secrets$`, Root: true, Fed: true, Out: at + "\n", Then: func(c host.Cmd) {
		text, _ := io.ReadAll(c.Stdin)
		fed = string(text)
	}}
	got, err := Ship(t.Context(), hosttest.New(t, "web", look, program, receive), "web", b)
	if err != nil || got != at || !strings.Contains(fed, `"name":"a"`) {
		t.Errorf("%s %v %s", got, err, fed)
	}
	// The host has the program, and cannot open what it gets.
	has := look
	has.Out += "program " + sum + "-godwit-secrets\n"
	refuses := receive
	refuses.Out, refuses.Stderr = "", "godwit-secrets: secret 'a' does not open with the key of this machine, /k: no identity matched\n"
	refuses.Err = &host.ExitError{Code: 1, Stderr: refuses.Stderr}
	_, err = Ship(t.Context(), hosttest.New(t, "web", has, refuses), "web", b)
	var f *fault.Error
	if !errors.As(err, &f) || !strings.Contains(fault.Render(err), "secret 'a' does not open with the key of this machine") || f.Host != "web" {
		t.Errorf("%v", err)
	}
	// Another answer than the path is no path.
	refuses.Err, refuses.Out = nil, "/etc\n"
	if _, err := Ship(t.Context(), hosttest.New(t, "web", has, refuses), "web", b); err == nil {
		t.Error("it takes any path")
	}
	// No secrets (any more): only where there were some.
	b.Entries = nil
	if got, err := Ship(t.Context(), hosttest.New(t, "web", look), "web", b); err != nil || got != "" {
		t.Errorf("%q %v", got, err)
	}
	b.Entries = []bundle.Entry{{Name: "../x"}}
	if _, err := Ship(context.Background(), hosttest.New(t, "web"), "web", b); err == nil {
		t.Error("a bundle that makes no sense is shipped")
	}
	if _, err := hex.DecodeString(sum); err != nil {
		t.Error(err)
	}
}
