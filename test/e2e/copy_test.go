package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/test/images"
	"godwit/test/lab"
)

// nix runs one of Nix's programs on this machine and gives its output.
func (w *world) nix(argv ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), w.env...)
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if ee, ok := err.(*exec.ExitError); ok {
			stderr = ee.Stderr
		}
		w.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr)
	}
	return strings.TrimSpace(string(out))
}

// blobs builds a path that refers to n others of mib MiB each, none of which any
// store has yet. Text compresses, the rest does not.
func (w *world) blobs(n, mib int, text bool) (top string, all []string) {
	w.t.Helper()
	source := "head -c $bytes /dev/urandom"
	if text { // as well as programs do: 6 bits of each byte are random
		source = "head -c $bytes /dev/urandom | base64 -w 0 | head -c $bytes"
	}
	file := w.file("blobs.nix", fmt.Sprintf(`let
  system = "x86_64-linux";
  seed = "%d";
  blob = i: derivation { inherit system seed; name = "blob-${toString i}"; builder = "/bin/sh"; bytes = %d;
    args = [ "-c" "PATH=/usr/bin:/bin; %s > $out" ]; };
in derivation { inherit system; name = "blobs"; builder = "/bin/sh"; blobs = builtins.genList blob %d;
  args = [ "-c" "PATH=/usr/bin:/bin; mkdir $out; for b in $blobs; do ln -s $b $out/; done" ]; }
`, time.Now().UnixNano(), mib<<20, source, n))
	top = w.nix("nix-build", file, "--out-link", filepath.Join(w.dir, "result"))
	return top, strings.Fields(w.nix("nix-store", "-qR", top))
}

// valid tells which of paths the host has, whole.
func valid(t *testing.T, h *lab.Host, paths []string) (list []string) {
	t.Helper()
	out := on(t, h, `for p in `+strings.Join(paths, " ")+`; do nix-store --check-validity "$p" 2>/dev/null && nix-store --verify-path "$p" && echo "$p"; done; true`)
	return strings.Fields(out)
}

// sent is how many paths a run says that it has copied to a host.
func sent(t *testing.T, r result, host string) (paths int) {
	t.Helper()
	for line := range strings.Lines(r.stderr) {
		if _, rest, ok := strings.Cut(line, host+" | copied "); ok {
			if _, err := fmt.Sscanf(rest, "%d", &paths); err != nil {
				t.Fatal(line)
			}
		}
	}
	return paths
}

// TestPushPaths copies ready-made paths to two hosts at once.
func TestPushPaths(t *testing.T) {
	own := hosts(t, "web", "spare")
	web, spare := own[0], own[1]
	w := newWorld(t, web, spare)
	top, all := w.blobs(3, 1, false)
	other := w.nix("nix-store", "--add", w.file("other", time.Now().String()))
	all = append(all, other)

	// The link that nix-build leaves, and words that follow as a shell makes them.
	r := w.run("push", "--store-path", "./result", other, "--to", "root@web", "deploy@spare").exits(0)
	for _, h := range []*lab.Host{web, spare} {
		if got := valid(t, h, all); len(got) != len(all) {
			t.Errorf("%s has %d of %d paths", h.Name, len(got), len(all))
		}
		if n := sent(t, r, h.Name); n != len(all) {
			t.Errorf("%s: %d paths copied, want %d:\n%s", h.Name, n, len(all), r.stderr)
		}
		if got := on(t, h, "readlink /nix/var/nix/gcroots/godwit-pushed /nix/var/nix/gcroots/godwit-pushed-2"); got != top+"\n"+other {
			t.Errorf("%s: the roots are %q", h.Name, got)
		}
		on(t, h, "nix-store --gc >/dev/null 2>&1; nix-store --check-validity "+strings.Join(all, " "))
	}

	// Again: nothing to copy. One path: the second root goes.
	w.run("push", "--store-path", other, "--to", "root@web", "--to", "deploy@spare", "--from", "local").exits(0).says("everything is there")
	if got := on(t, web, "readlink /nix/var/nix/gcroots/godwit-pushed; ls -d /nix/var/nix/gcroots/godwit-pushed-* 2>/dev/null; true"); got != other {
		t.Errorf("the roots are %q", got)
	}

	// The port of the command line, and events.
	r = w.run("push", "--json", "--store-path", other, "--to", fmt.Sprintf("root@web:%d", web.Port)).exits(0)
	if !strings.Contains(r.stdout, fmt.Sprintf(`"host":"web:%d"`, web.Port)) || !strings.Contains(r.stdout, `"outcome":"pushed"`) {
		t.Errorf("events:\n%s", r.stdout)
	}
	// A dry run copies nothing.
	fresh, _ := w.blobs(1, 1, false)
	w.run("push", "--dry-run", "--store-path", fresh, "--to", "root@web").exits(0).says("dry run: would copy " + fresh)
	if got := valid(t, web, []string{fresh}); len(got) > 0 {
		t.Error("a dry run copied")
	}
	for _, h := range []*lab.Host{web, spare} {
		on(t, h, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
	}
}

// TestPushFrom copies out of the store of a container builder, and of
// an ssh store.
func TestPushFrom(t *testing.T) {
	own := hosts(t, "web", "db")
	web, db := own[0], own[1]
	image, err := images.BuilderArchive(context.Background(), "amd64", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	shared.images.Store(image, true)
	w := newWorld(t, web, db)
	w.run("builder", "start", "x86_64-linux", "--image-file", image).exits(0)
	var list []struct{ Name, System, Image string }
	r := w.run("builder", "list", "--json").exits(0)
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	name := ""
	for _, b := range list {
		if b.Image == image && b.System == "x86_64-linux" {
			name = b.Name
		}
	}
	if name == "" {
		t.Fatalf("no builder of %s:\n%s", image, r.stdout)
	}
	w.run("builder", "rm", name, "--dry-run").exits(0).says("dry run: would remove " + name)
	w.run("builder", "stop", name, "--dry-run").exits(0).says("dry run: would stop " + name).outs("running")
	w.run("builder", "start", "aarch64-linux", "--dry-run").exits(0).says("dry run: would start a builder aarch64-linux").saysNot("starting")
	if r := w.run("builder", "shell", name, "--dry-run", "--", "echo", "x").exits(0).says("dry run: would run echo x in a builder " + name); r.stdout != "" {
		t.Errorf("a dry run wrote %q", r.stdout)
	}
	r = w.run("builder", "shell", name, "--", "/bin/sh", "-c", "mkdir -p /tmp/t/made; head -c 3000000 /dev/urandom > /tmp/t/made/a; nix-store --add /tmp/t/made").exits(0)
	path := strings.TrimSpace(r.stdout)
	if !storePath.MatchString(path) {
		t.Fatalf("the builder made %q", path)
	}

	w.run("push", "--store-path", path, "--to", "web").exits(1).says("is not in this machine's store", "hint:", "--from")
	w.run("push", "--store-path", path, "--to", "deploy@web", "--from", name).exits(0)
	if got := valid(t, web, []string{path}); len(got) != 1 {
		t.Errorf("web does not have %s", path)
	}
	// A stopped one is started.
	w.run("builder", "stop", name).exits(0)
	w.run("push", "--store-path", path, "--to", "root@db", "--from", name).exits(0)
	if got := valid(t, db, []string{path}); len(got) != 1 {
		t.Errorf("db does not have %s", path)
	}
	w.run("push", "--store-path", path, "--to", "root@db", "--from", name, "--copy-with", "nix").exits(3).
		says("nix copy cannot read builder "+name, "leave out --copy-with nix")
	w.run("push", "--store-path", path, "--to", "root@db", "--from", "riscv64-linux").exits(1).says("there is no builder riscv64-linux", "hint:")

	// From one host to another: nothing of it is on this machine, which needs no Nix.
	forget(t, web, path)
	for _, scheme := range []string{"ssh", "ssh-ng"} {
		env := []string{"PATH=" + withoutNix(t)}
		p := w.start(t.Context(), env, "push", "--store-path", path, "--to", "deploy@web", "--from", scheme+"://nobodyuser@db")
		p.wait().exits(0).says("copying from " + scheme + "://nobodyuser@db")
		if got := valid(t, web, []string{path}); len(got) != 1 {
			t.Errorf("web does not have %s", path)
		}
		forget(t, web, path)
	}
	on(t, db, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
}

// withoutNix is a PATH with ssh and without Nix.
func withoutNix(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(ssh, filepath.Join(dir, "ssh")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// system builds the system of a host and gives its path.
func (w *world) system(body string) string {
	w.t.Helper()
	net := w.fleetOf(body, map[string]string{"spare": amd64})
	r := w.run("build", net, "--keep-result").exits(0)
	path, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(r.stdout), "spare"))
	if err != nil {
		w.t.Fatal(err)
	}
	return path
}

// TestDeployPath activates systems that were built elsewhere: the same guard,
// exit codes and summary as with a deployment file.
func TestDeployPath(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	good := w.system(service("path-good"))
	w.run("deploy", "--store-path", good, "--to", "deploy@spare", "switch").exits(0).says("switched, confirmed")
	if now := on(t, spare, "readlink -f /run/current-system; cat /run/e2e"); now != good+"\npath-good" {
		t.Errorf("the host runs %q", now)
	}
	isSettled(t, spare)
	w.run("deploy", "--store-path", good, "--to", "deploy@spare", "switch").exits(0).says("already runs this system")

	dry := w.system(service("path-dry"))
	w.run("deploy", "--store-path", dry, "--to", "deploy@spare", "dry-activate").exits(0).says("e2e.service")
	if now := on(t, spare, "readlink -f /run/current-system"); now != good {
		t.Errorf("dry-activate: the host runs %q", now)
	}
	w.run("deploy", "--dry-run", "--store-path", dry, "--to", "deploy@spare", "switch").exits(0).says("would run " + dry)

	bad := w.system(service("path-bad") + `system.activationScripts.broken = "exit 7";`)
	r := w.run("deploy", "--store-path", bad, "--to", "deploy@spare", "switch").exits(3).says("rolled back", "activation")
	if now := on(t, spare, "readlink -f /run/current-system; cat /run/e2e"); now != good+"\npath-good" {
		t.Errorf("after the rollback the host runs %q\n%s", now, r.stderr)
	}
	isSettled(t, spare)

	w.run("deploy", "--store-path", dry, "--to", "root@spare", "boot", "--copy-with", "nix").exits(0).says("with nix copy")
	if boot := on(t, spare, "cat /boot/loader/default"); boot != dry {
		t.Errorf("the host boots %q", boot)
	}
	w.run("deploy", "--store-path", good, "--to", "root@spare", "switch").exits(0)
	isSettled(t, spare)
}

// TestPathErrors are the ways to get it wrong.
func TestPathErrors(t *testing.T) {
	web := host(t, "web")
	w := newWorld(t, web)
	top, _ := w.blobs(1, 1, false)
	file := w.nix("nix-store", "--add", w.file("file", "x"))
	drv := w.nix("nix-instantiate", filepath.Join(w.dir, "blobs.nix"))
	nowhere := "/nix/store/00000000000000000000000000000000-nowhere"
	for _, c := range []struct {
		name string
		args string
		code int
		says []string
	}{
		{"not a store path", "push --store-path /etc/passwd --to web", 1, []string{"/etc/passwd is not a store path", "hint:"}},
		{"inside a store path", "push --store-path " + top + "/x --to web", 1, []string{"is not a store path", "--store-path " + top}},
		{"not there", "push --store-path " + nowhere + " --to web", 1, []string{nowhere + " is not in this machine's store", "--from"}},
		{"no host", "push --store-path " + top, 1, []string{"--store-path needs hosts", "--to"}},
		{"no path", "push --to web", 1, []string{"need a --store-path"}},
		{"the same host twice", "push --store-path " + top + " --to web root@web", 1, []string{"--to names web twice"}},
		{"bad host", "push --store-path " + top + " --to -oProxyCommand=x", 1, []string{"is not [USER@]HOST[:PORT]", "[2001:db8::1]"}},
		{"bad port", "push --store-path " + top + " --to web:99999", 1, []string{"is not [USER@]HOST[:PORT]"}},
		{"selection", "push --store-path " + top + " --to web --on web", 1, []string{"--on needs a deployment file"}},
		{"builder", "push --store-path " + top + " --to web --builder container", 1, []string{"--builder needs a deployment file", "--from container"}},
		{"source down", "push --store-path " + top + " --to web --from ssh://root@127.0.0.1:1", 1, []string{"127.0.0.1", "hint:"}},
		{"unknown builder", "push --store-path " + top + " --to web --from frob", 1, []string{"there is no builder frob", "hint:"}},
		{"user instead of a store", "push --store-path " + top + " --to web --from me@big", 1, []string{"--from ssh-ng://me@big"}},
		{"copy with something else", "push --store-path " + top + " --to web --copy-with rsync", 1, []string{"there is godwit and nix"}},
		{"bad compression", "push --store-path " + top + " --to web --compress yes", 1, []string{"there is auto, on, off and ssh"}},
		{"no action", "deploy --store-path " + top + " --to web", 1, []string{"say what to do"}},
		{"bad action", "deploy --store-path " + top + " --to web swich", 1, []string{"did you mean switch?"}},
		{"not a system", "deploy --store-path " + top + " --to web switch", 1, []string{top + " is not a NixOS system", "config.system.build.toplevel"}},
		{"a file", "deploy --store-path " + file + " --to web switch", 1, []string{file + " is not a NixOS system"}},
		{"a derivation", "deploy --store-path " + drv + " --to web switch", 1, []string{"it is a derivation", "nix-store --realise"}},
		{"two systems", "deploy --store-path " + top + " " + file + " --to web switch", 1, []string{"one --store-path"}},
		{"secrets", "deploy --store-path " + top + " --to web switch --upload-secrets", 1, []string{"--upload-secrets needs a deployment file"}},
		{"host down", "push --store-path " + top + " --to 127.0.0.1:1 root@web", 3, []string{"127.0.0.1:1 refuses connections", "web | ✓ pushed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.as(t)
			w.run(strings.Fields(c.args)...).exits(c.code).says(c.says...)
		})
	}
	on(t, web, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
}

// TestCopyWithNix is the fallback.
func TestCopyWithNix(t *testing.T) {
	own := hosts(t, "web", "spare", "db")
	web, spare, db := own[0], own[1], own[2]
	w := newWorld(t, web, spare, db)
	_, all := w.blobs(3, 1, false)
	push := func(args ...string) result {
		return w.run(append([]string{"push", "--store-path", "./result", "--copy-with", "nix"}, args...)...)
	}
	// Who may not: a user who is not trusted, whether with sudo or without.
	for _, user := range []string{lab.Deploy, lab.Nobody} {
		push("--to", user+"@spare").exits(3).says("nix copy failed", "lacks a signature by a trusted key", "leave out --copy-with nix", "add "+user+" to trusted-users")
	}
	if got := valid(t, spare, all); len(got) > 0 {
		t.Errorf("spare has %v", got)
	}
	r := push("--to", "root@spare", "--to", "root@db", "--substitute-on-destination").exits(0)
	for _, h := range []*lab.Host{spare, db} {
		if got := valid(t, h, all); len(got) != len(all) {
			t.Errorf("%s has %d of %d paths", h.Name, len(got), len(all))
		}
		if n := sent(t, r, h.Name); n != len(all) {
			t.Errorf("%s: %d paths copied, want %d:\n%s", h.Name, n, len(all), r.stderr)
		}
		on(t, h, "test -L /nix/var/nix/gcroots/godwit-pushed")
	}
	push("--to", "root@spare").exits(0).says("everything is there")

	// From an ssh store to a host, with users of their own and through this machine.
	push("--to", "root@web", "--from", "ssh-ng://nobodyuser@spare").exits(0).says("copying from ssh-ng://nobodyuser@spare with nix copy")
	if got := valid(t, web, all); len(got) != len(all) {
		t.Errorf("web has %d of %d paths", len(got), len(all))
	}
	push("--to", fmt.Sprintf("root@web:%d", web.Port)).exits(0)
	push("--to", fmt.Sprintf("root@web:%d", web.Port), "--from", "ssh-ng://spare").exits(3).says("one set of ssh options", "~/.ssh/config")

	// Bytes are known although Nix does not tell them.
	w.blobs(2, 1, false)
	r = push("--to", "root@spare", "--json").exits(0)
	if !strings.Contains(r.stdout, `"unit":"bytes"`) || !strings.Contains(r.stdout, "copied 3 paths, 2.0 MiB with nix copy") {
		t.Errorf("events:\n%s", r.stdout)
	}

	// As a setting, and with a deployment file.
	config := filepath.Join(w.dir, "config")
	w.file("config/godwit/config.toml", "[copy]\nwith = \"nix\"\n")
	w.env = append(w.env, "XDG_CONFIG_HOME="+config)
	net := w.fleetOf(service("nix-copied"), map[string]string{"spare": amd64 + `deployment.targetUser = lib.mkForce "root"; deployment.substituteOnDestination = true;`})
	w.run("push", net).exits(0).says("with nix copy")
	w.run("push", net, "--copy-with", "godwit").exits(0).saysNot("with nix copy")
	w.file("config/godwit/config.toml", "[copy]\nwiht = \"nix\"\n")
	w.run("push", net).exits(1).says("unknown setting copy.wiht", "known: with, compress, direct")
	for _, h := range []*lab.Host{web, spare, db} {
		on(t, h, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
	}
}

// TestCopyWithEveryNix runs the fallback with every Nix that Debian has.
func TestCopyWithEveryNix(t *testing.T) {
	spare := host(t, "spare")
	for _, suite := range lab.Suites {
		t.Run(suite, func(t *testing.T) {
			w := newWorld(t, spare)
			w.in = lab.NewDeployer(t, suite, w.dir, shared.dir, repo(t, "test/nixos"))
			for _, c := range []struct {
				user string
				code int
				says []string
			}{
				{lab.Deploy, 3, []string{"lacks a signature by a trusted key", "leave out --copy-with nix"}},
				{lab.Root, 0, []string{"copied ", " with nix copy in "}},
			} {
				net := w.fleetOf(service("nix-of-"+suite), map[string]string{"spare": amd64 + fmt.Sprintf(`deployment.targetUser = "%s";`, c.user)})
				w.run("push", net, "--copy-with", "nix").exits(c.code).says(c.says...)
			}
			on(t, spare, "nix-store --verify-path $(nix-store -qR /nix/var/nix/gcroots/godwit-pushed) && rm -f /nix/var/nix/gcroots/godwit-pushed*")
		})
	}
}

// wire is a TCP way to a host that carries a bounded rate.
type wire struct {
	port int
	up   atomic.Int64 // bytes to the host
	once atomic.Bool  // one connection is taken at a time, and no more
}

// through puts a wire of so many Mbit/s before h, under the name that w's ssh
// configuration then has for it.
func (w *world) through(h *lab.Host, name string, mbit float64) *wire {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	x := &wire{port: l.Addr().(*net.TCPAddr).Port}
	var mu sync.Mutex
	var free time.Time
	book := func(n int) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(float64(n) * 8 / mbit * 1000))
		return time.Until(free)
	}
	var open atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if x.once.Load() && open.Load() > 0 {
				c.Close()
				continue
			}
			s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", h.Port))
			if err != nil {
				c.Close()
				continue
			}
			open.Add(1)
			// Small buffers: what is under way is little, as on a real wire.
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
			go func() {
				b := make([]byte, 16<<10)
				for {
					n, err := c.Read(b)
					x.up.Add(int64(n))
					time.Sleep(book(n))
					if _, werr := s.Write(b[:n]); werr != nil || err != nil {
						break
					}
				}
				s.Close()
				c.Close()
				open.Add(-1)
			}()
			go func() { _, _ = io.Copy(c, s); c.Close(); s.Close() }()
		}
	}()
	known := w.file("known-"+name, fmt.Sprintf("[127.0.0.1]:%d %s\n", x.port, h.HostKey))
	entry := fmt.Sprintf("\nHost %s\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n  UserKnownHostsFile %s\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  IdentitiesOnly yes\n  IdentityAgent none\n  BatchMode yes\n",
		name, x.port, h.Identity, known)
	config := filepath.Join(w.dir, "ssh_config")
	old, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(old, entry...), 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// TestPushResumed kills godwit in the middle of 64 MiB; the next run sends the rest.
func TestPushResumed(t *testing.T) {
	web := host(t, "web")
	w := newWorld(t, web)
	wire := w.through(web, "far", 80)
	_, all := w.blobs(16, 4, false)
	p := w.start(t.Context(), nil, "push", "--json", "--store-path", "./result", "--to", "deploy@far")
	deadline := time.Now().Add(2 * time.Minute)
	for wire.up.Load() < 28<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("nothing moves:\n%s%s", p.stdout.String(), p.stderr.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait().exits(-1)
	on(t, web, "for i in $(seq 100); do pgrep -f '[n]ix-store --serve' >/dev/null || exit 0; sleep 0.1; done; echo still there >&2; exit 1")
	there := valid(t, web, all)
	if len(there) < 3 || len(there) > 12 {
		t.Errorf("%d of %d paths have arrived in 28 of 64 MiB", len(there), len(all))
	}
	before := wire.up.Load()
	r := w.run("push", "--store-path", "./result", "--to", "deploy@far").exits(0)
	if n := sent(t, r, "far"); n != len(all)-len(there) {
		t.Errorf("%d paths copied; %d of %d were there:\n%s", n, len(there), len(all), r.stderr)
	}
	rest := int64(len(all)-len(there)) * 4 << 20
	if now := wire.up.Load() - before; now > rest+rest/10 {
		t.Errorf("%d bytes went to the host, where %d were missing", now, rest)
	}
	if got := valid(t, web, all); len(got) != len(all) {
		t.Errorf("web has %d of %d paths", len(got), len(all))
	}
	forget(t, web, all...)
}

// TestCompress measures what goes over wires of two rates.
func TestCompress(t *testing.T) {
	web := host(t, "web")
	w := newWorld(t, web)
	far, near := w.through(web, "far", 40), w.through(web, "near", 1e6)
	const decides = "the link carries"
	for _, c := range []struct {
		name    string
		wire    *wire
		flags   []string
		least   int64 // bytes on the wire for 24 MiB
		most    int64
		says    string
		saysNot string
	}{
		{"off", far, []string{"--compress", "off"}, 24 << 20, 26 << 20, "", decides},
		{"on", far, []string{"--compress", "on"}, 17 << 20, 20 << 20, "", decides},
		{"as ssh is configured", far, []string{"--compress", "ssh"}, 24 << 20, 26 << 20, "", decides},
		{"auto", far, []string{"-v"}, 17 << 20, 21 << 20, "ssh compresses", "second login"},
		{"auto and a fast link", near, []string{"-v"}, 24 << 20, 27 << 20, "ssh does not compress", "ssh compresses"},
		{"auto and one login", far, nil, 24 << 20, 27 << 20, "a second login, for a connection that compresses, failed", "ssh compresses"},
		{"auto and ssh compresses by itself", far, nil, 17 << 20, 20 << 20, "", decides},
	} {
		name := "far"
		if c.wire == near {
			name = "near"
		}
		c.wire.once.Store(strings.Contains(c.name, "one login"))
		if strings.Contains(c.name, "by itself") {
			config := filepath.Join(w.dir, "ssh_config")
			old, err := os.ReadFile(config)
			if err == nil {
				err = os.WriteFile(config, append([]byte("Compression yes\n"), old...), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var all []string
		var before int64
		var r result
		for range 3 {
			_, all = w.blobs(6, 4, true)
			before = c.wire.up.Load()
			r = w.run(append([]string{"push", "--store-path", "./result", "--to", "deploy@" + name}, c.flags...)...).exits(0)
			// In its time, on this machine at this moment. A moment in which it is busy makes a fast link a slow one, and a
			// login longer than the copy.
			late := c.wire.once.Load() && !strings.Contains(r.stderr, c.says)
			if !late && !strings.Contains(r.stderr, "cannot measure the link") && (c.wire != near || !strings.Contains(r.stderr, c.saysNot)) {
				break
			}
		}
		n := c.wire.up.Load() - before
		if c.wire == near && strings.Contains(r.stderr, c.saysNot) {
			// It was slow, unless as much goes as it is in the time that a link of that rate takes.
			_, all = w.blobs(6, 4, true)
			if now := w.run("push", "--store-path", "./result", "--to", "deploy@near", "--compress", "off").exits(0); now.took > 24<<20*8*time.Second/100e6 {
				t.Logf("%s: this machine is busy, and %s is what 24 MiB take", c.name, now.took.Round(10*time.Millisecond))
				continue
			}
		}
		r.says(c.says).saysNot(c.saysNot)
		t.Logf("%s: %.1f MiB on the wire, %s", c.name, float64(n)/(1<<20), r.took.Round(10*time.Millisecond))
		if n < c.least || n > c.most {
			t.Errorf("%s: %d bytes on the wire, want %d to %d:\n%s", c.name, n, c.least, c.most, r.stderr)
		}
		if got := valid(t, web, all); len(got) != len(all) {
			t.Errorf("%s: the host has %d of %d paths", c.name, len(got), len(all))
		}
	}
	// Little to copy: nothing is measured.
	w.blobs(1, 1, true)
	w.run("push", "--store-path", "./result", "--to", "deploy@near", "-v").exits(0).saysNot(decides)
	on(t, web, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
}
