package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/builder/machines"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/nixlog"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// Builders of Nix's configuration are greeted with the words that Nix would use.
func TestMachinesAreGreeted(t *testing.T) {
	t.Setenv("NIX_SSHOPTS", "-o ProxyJump=bastion")
	ssh.Guards("ssh") // asks for the version once, of whatever ssh there is
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	replay(t, "ssh", `$~ ssh *-i `+key+` -o UserKnownHostsFile=* -p 2222 -o ProxyJump=bastion -l builder -- linux-builder nix-daemon --stdio
>x 6f 69 78 64 00 00 00 00 23 01 00 00 00 00 00 00 06 00 00 00 00 00 00 00 32 2e 32 36 2e 33 00 00 01 00 00 00 00 00 00 00 73 74 6c 61 00 00 00 00
= 0
$~ ssh * -- pi nix-store --serve --write
>x cb ee 52 54 00 00 00 00 07 02 00 00 00 00 00 00
= 0
$~ ssh * -- refuses nix-daemon --stdio
! builder@refuses: Permission denied (publickey).
= 255
$~ ssh * -- talks nix-daemon --stdio
> Welcome to talks, have a nice day
= 0
$~ ssh * -- old nix-store --serve --write
>x cb ee 52 54 00 00 00 00 01 03 00 00 00 00 00 00
= 0
$~ ssh * -- gone nix-daemon --stdio
= 255
`)
	for _, c := range []struct {
		m    machines.Machine
		want string
	}{
		{machines.Machine{URI: "ssh-ng://builder@linux-builder:2222", Key: key, HostKey: "ssh-ed25519 AAAA"}, ""},
		{machines.Machine{URI: "ssh://pi"}, ""},
		{machines.Machine{URI: "local?root=/x"}, ""},
		{machines.Machine{URI: "ssh-ng://refuses"}, "Permission denied (publickey)"},
		{machines.Machine{URI: "ssh-ng://talks"}, `something other than Nix answered: "Welcome to talks, have a nice day"`},
		{machines.Machine{URI: "ssh://old"}, "it speaks protocol 3.1"},
		{machines.Machine{URI: "ssh-ng://gone"}, "it said nothing: EOF"},
		{machines.Machine{URI: "ssh-ng://x", Key: filepath.Join(dir, "none")}, "its key " + filepath.Join(dir, "none") + " cannot be read"},
		{machines.Machine{URI: "ssh-ng://"}, "ssh-ng://"},
	} {
		err := probeMachine(t.Context(), nil, c.m)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.m.URI, err, c.want)
		}
	}
	for text, differs := range map[string]bool{"Host key verification failed.": true, "Permission denied (publickey)": true, "Connection refused": false} {
		if daemonMayDiffer(errors.New(text)) != differs {
			t.Errorf("%s", text)
		}
	}
	if !daemonMayDiffer(os.ErrPermission) {
		t.Error("a key that only root reads")
	}
}

// derivation writes one with an output; without out the output's path is not known.
func derivation(t *testing.T, name, out string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".drv")
	text := `Derive([("out","` + out + `","","")],[],[],"x86_64-linux","/bin/sh",[],[("name","` + name + `"),("out","` + out + `")])`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// closedLog is the log of a Nix that said nothing.
func closedLog() *nixlog.BuildLog {
	l := nixlog.NewBuildLog(event.On(event.Discard, "", event.StepBuild))
	l.Close()
	return l
}

// What came of a build elsewhere: what is there is good, whatever failed beside it.
func TestSortOut(t *testing.T) {
	good, bad := derivation(t, "good", "/nix/store/00000000000000000000000000000000-good"), derivation(t, "bad", "/nix/store/00000000000000000000000000000001-bad")
	late := derivation(t, "late", "")
	in := store.Endpoint{Name: "there"}
	failed := errors.New("exit status 1")
	hint := func(drv string) string { return "log of " + drv }
	there := func(paths []string) (map[string]bool, error) {
		return map[string]bool{"/nix/store/00000000000000000000000000000000-good": true}, nil
	}

	b, err := sortOut([]string{good, bad}, "", closedLog(), nil, nil, "there", in, hint)
	if err != nil || len(b.Outputs) != 2 || len(b.Failed) != 0 || b.Outputs[good].In.Name != "there" {
		t.Errorf("%+v, %v", b, err)
	}
	b, err = sortOut([]string{late}, "/nix/store/x-late\n", closedLog(), nil, nil, "there", in, hint)
	if err != nil || b.Outputs[late].Path != "/nix/store/x-late" {
		t.Errorf("%+v, %v", b, err)
	}
	b, err = sortOut([]string{good, bad}, "", closedLog(), failed, there, "there", in, hint)
	if err != nil || len(b.Outputs) != 1 || len(b.Failed) != 1 || b.Failed[bad] == nil {
		t.Errorf("%+v, %v", b, err)
	}
	_, err = sortOut([]string{good}, "", closedLog(), failed, there, "there", in, hint)
	if err == nil || !strings.Contains(err.Error(), "there: nix-store failed: ") {
		t.Errorf("%v", err)
	}
	_, err = sortOut([]string{good}, "", closedLog(), failed, func([]string) (map[string]bool, error) { return nil, errors.New("no route") }, "there", in, hint)
	if text := fault.Render(err); !strings.Contains(text, "there: the build broke off: ") || !strings.Contains(text, "no route") || !strings.Contains(text, "run it again") {
		t.Errorf("%s", text)
	}
	if _, err := sortOut([]string{"/none.drv"}, "", closedLog(), nil, nil, "there", in, hint); err == nil {
		t.Error("a derivation that is not there")
	}
}

// Where to copy from, and what each builder says of itself.
func TestBuildersByName(t *testing.T) {
	pool, err := ssh.NewPool(ssh.Options{Program: "/bin/sh", ConfigFile: "/dev/null"}) // never started
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	b, err := NewSSH(nil, pool, "ssh-ng://builder@big:2222")
	if err != nil || b.Kind() != KindSSH || b.Name() != "ssh-ng://builder@big:2222" || len(b.Stores()) != 1 || b.Close() != nil {
		t.Errorf("%+v, %v", b, err)
	}
	place := b.(*sshStore).place
	if got := place.logHint("/x.drv"); !strings.Contains(got, "-p 2222") || !strings.HasSuffix(got, "builder@big nix-store --read-log /x.drv") {
		t.Error(got)
	}
	place.remote = "/chroot"
	if got := strings.Join(place.words([]string{"nix-store", "--version"}), " "); !strings.HasSuffix(got, " sh nix-store --store /chroot --version") {
		t.Error(got)
	}
	for uri, want := range map[string]string{"ssh-ng://": "ssh-ng://", "http://x": "http://x"} {
		if _, err := NewSSH(nil, pool, uri); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if _, err := NewSSH(nil, nil, "ssh://x"); err == nil || !strings.Contains(err.Error(), "no ssh here") {
		t.Error(err)
	}
	// The host itself is reached as everything else reaches it.
	h := fleet.Host{Name: "web", At: fleet.Address{Host: "10.0.0.1", User: "deploy", Options: []string{"-o", "ProxyJump=b"}, Also: []string{"x"}}}
	b, err = NewTarget(nil, pool, h)
	if err != nil || b.Kind() != KindTarget || b.(*sshStore).place.host != pool.Host(ssh.TargetOf(h)) {
		t.Errorf("%+v, %v", b, err)
	}
	for _, h := range []fleet.Host{{Name: "web"}, {Name: "web", BuildOnly: true, At: fleet.Address{Host: "x"}}} {
		if _, err := NewTarget(nil, pool, h); err == nil || !strings.Contains(err.Error(), "web: cannot be built on itself: it has no address") {
			t.Error(err)
		}
	}

	l := &local{}
	via := &local{via: []string{"ssh://a", "ssh://b"}}
	if l.Name() != "local" || l.Kind() != KindLocal || via.Name() != "Nix builder ssh://a, ssh://b" || via.Kind() != KindConfigured || l.Ready(t.Context(), nil) != nil || l.Close() != nil || l.Stores()[0].Name != Here(nil).Name {
		t.Errorf("%s %s", l.Name(), via.Name())
	}
	p := &Plan{Assignments: []Assignment{{Host: "a", Builder: l}, {Host: "b", Builder: l}, {Host: "c"}}}
	if p.Of("b") != &p.Assignments[1] || p.Of("d") != nil {
		t.Error("assignments by name")
	}

	noNix := func() (*nix.Tool, error) { return nil, errors.New("no Nix") }
	for word, want := range map[string]string{"": "no Nix", "local": "no Nix", "root@big": "there is no such builder", "nope://x": "nope"} {
		if _, _, err := From(context.Background(), word, noNix, pool, Settings{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", word, err)
		}
	}
	e, end, err := From(context.Background(), "ssh://big", noNix, pool, Settings{})
	if err != nil || e.Name != "ssh://big" || end() != nil {
		t.Errorf("%+v, %v", e, err)
	}
	for name, want := range map[string]string{Here(nil).Name: "true", "ssh://big": "ssh://big false", "builder x": " false"} {
		uri, local := NixURI(store.Endpoint{Name: name})
		if got := strings.TrimSpace(uri + map[bool]string{true: " true", false: " false"}[local]); got != strings.TrimSpace(want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
