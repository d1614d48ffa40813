package ssh_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/ssh"
)

// countingSSH is the real ssh behind a script that counts the questions to it, but for its version.
func countingSSH(t *testing.T) (program string, count func() int) {
	t.Helper()
	dir := t.TempDir()
	program = filepath.Join(dir, "ssh")
	if err := os.WriteFile(program, []byte(fmt.Sprintf("#!/bin/sh\n[ \"$1\" = -V ] || echo x >>%s/count\nPATH=%q exec ssh \"$@\"\n", dir, os.Getenv("PATH"))), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, func() int {
		b, _ := os.ReadFile(filepath.Join(dir, "count"))
		return len(b) / 2
	}
}

// TestWhere asks the real ssh.
func TestWhere(t *testing.T) {
	pool := func(config string) (*ssh.Pool, func() int) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		program, count := countingSSH(t)
		p, err := ssh.NewPool(ssh.Options{Program: program, ConfigFile: file})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p, count
	}
	p, count := pool(`
Host web1
  HostName 192.0.2.7
Host web1-again
  HostName ::ffff:192.0.2.7
  Port 22
  User somebody
Host behind-a
  HostName 10.0.0.5
  ProxyJump behind-a-bastion
Host behind-b
  HostName 10.0.0.5
  ProxyJump behind-b-bastion
Host behind-a2
  HostName 10.0.0.5
  ProxyJump behind-a-bastion
Host vm*
  HostName 127.0.0.1
  ProxyCommand connect %n
Host c1 c2
  HostName 192.0.2.9
  ProxyCommand connect %h
`)
	names := []string{"web1", "web1-again", "192.0.2.7", "root@192.0.2.7", "behind-a", "behind-b", "behind-a2", "vm1", "vm2", "c1", "c2", "other.", "OTHER", "localhost", "::1"}
	var targets []ssh.Target
	for _, n := range names {
		targets = append(targets, ssh.Target{Name: "the host " + n, Host: n})
	}
	targets = append(targets, ssh.Target{Name: "another port", Host: "localhost", Port: 2222})
	found := p.Where(t.Context(), targets)
	if len(found) != len(targets) {
		t.Fatalf("%d of %d: %v", len(found), len(targets), found)
	}
	if asked := count(); asked != len(targets)+1 {
		t.Errorf("asked ssh %d times about %d hosts", asked, len(targets))
	}
	groups := map[string][]string{}
	for _, x := range targets {
		groups[found[x].Address()] = append(groups[found[x].Address()], x.Host+fmt.Sprint(x.Port))
	}
	got := map[string]bool{}
	for _, g := range groups {
		got[fmt.Sprint(g)] = true
	}
	for _, want := range []string{"[web10 web1-again0 192.0.2.70 root@192.0.2.70]", "[behind-a0 behind-a20]", "[behind-b0]", "[vm10]", "[vm20]", "[c10 c20]", "[other.0 OTHER0]", "[localhost0 ::10]", "[localhost2222]"} {
		if !got[want] {
			t.Errorf("no group %s in %v", want, got)
		}
	}
	if s := found[targets[0]].String(); s != "192.0.2.7 port 22" {
		t.Error(s)
	}
	if w := found[targets[4]]; w.Via == "" || w.Host != "10.0.0.5" {
		t.Errorf("%+v", w)
	}
	// Once is enough.
	if w, err := p.Host(targets[0]).Where(t.Context()); err != nil || w.Host != "192.0.2.7" || count() != len(targets)+1 {
		t.Errorf("%+v %v, asked %d times", w, err, count())
	}

	// One question for all where no file says anything about it, in a comment or not.
	p, count = pool("# HostName x\n  # Port 3\nHost *\n  User me\n  ServerAliveInterval 5\n")
	found = p.Where(t.Context(), targets)
	if len(found) != len(targets) || count() != 1 {
		t.Errorf("%d of %d, asked %d times", len(found), len(targets), count())
	}
	if w := found[targets[len(targets)-1]]; w.Host != "localhost" || w.Port != "2222" || w.Via != "" {
		t.Errorf("%+v", w)
	}
	p, count = pool("Match host nobody\n  Port 3\n")
	if p.Where(t.Context(), targets[:2]); count() != 3 {
		t.Errorf("asked %d times", count())
	}
}
