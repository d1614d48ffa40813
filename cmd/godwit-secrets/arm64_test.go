//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/onhost"
)

// TestArm64 runs the program for arm64, as qemu-user runs it, with a root of its own in
// memory: it keeps a release, refuses what does not open, delivers, and does it at a boot.
func TestArm64(t *testing.T) {
	if testing.Short() {
		t.Skip("builds for another architecture")
	}
	if os.Geteuid() != 0 {
		t.Skip("chroot needs root")
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatalf("%v: test/setup.sh installs it", err)
	}
	root, err := os.MkdirTemp("/dev/shm", "arm64-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Unmount(root+"/run/godwit/secrets.d", 0)
		_ = os.RemoveAll(root)
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id, err := age.GenerateX25519Identity()
	must(err)
	for _, dir := range []string{"bin", "etc", "run", "tmp", "var/lib/godwit/identity"} {
		must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(os.WriteFile(root+"/etc/passwd", []byte("root:x:0:0::/:/bin/sh\nana:x:1000:100::/:/bin/sh\n"), 0o644))
	must(os.WriteFile(root+"/etc/group", []byte("root:x:0:\nusers:x:100:\n"), 0o644))
	must(os.WriteFile(root+"/var/lib/godwit/identity/age.key", []byte(id.String()+"\n"), 0o600))
	text, err := os.ReadFile(qemu)
	must(err)
	must(os.WriteFile(root+"/bin/qemu", text, 0o755))
	build := exec.Command("go", "build", "-o", root+"/bin/"+onhost.Name, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	do := func(in []byte, args ...string) (string, error) {
		cmd := exec.Command("/bin/qemu", append([]string{"/bin/" + onhost.Name}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Dir, cmd.Env, cmd.Stdin = "/", []string{"PATH=/bin"}, bytes.NewReader(in)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	release := func(to age.Recipient, plain string) []byte {
		var out bytes.Buffer
		w, err := age.Encrypt(&out, to)
		must(err)
		_, _ = w.Write([]byte(plain))
		must(w.Close())
		b, err := json.Marshal(bundle.Bundle{Machine: "m", KeyFile: "/var/lib/godwit/identity/age.key", Entries: []bundle.Entry{
			{Name: "token", User: "ana", Group: "users", Mode: 0o440, Phase: bundle.Services, Age: out.Bytes()}}})
		must(err)
		return b
	}
	at, err := do(release(id.Recipient(), "canary"), "receive")
	if err != nil || filepath.Dir(at) != onhost.State {
		t.Fatalf("%v: %s", err, at)
	}
	if out, err := do(nil, "deliver", at); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	reads := func() {
		t.Helper()
		got, err := os.ReadFile(root + "/run/godwit/secrets/token")
		info, _ := os.Stat(root + "/run/godwit/secrets/token")
		if err != nil || string(got) != "canary" || info.Mode().Perm() != 0o440 || info.Sys().(*syscall.Stat_t).Uid != 1000 || info.Sys().(*syscall.Stat_t).Gid != 100 {
			t.Errorf("%q %v %v", got, info, err)
		}
	}
	reads()
	stranger, err := age.GenerateX25519Identity()
	must(err)
	if out, err := do(release(stranger.Recipient(), "x"), "receive"); err == nil || !strings.Contains(out, "secret 'token' does not open with the key of this machine") {
		t.Errorf("%v: %s", err, out)
	}
	must(os.WriteFile(root+"/system", nil, 0o644))
	if out, err := do(nil, "keep", at, "/system"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := do(nil, "leave"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := do(nil, "boot", "/system"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	reads()
	if out, err := do(nil, "what"); err == nil || !strings.Contains(out, "usage: godwit-secrets VERB") {
		t.Errorf("%v: %s", err, out)
	}
}
