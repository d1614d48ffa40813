package e2e

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/test/canary"
	"godwit/test/lab"
	"godwit/test/leftover"
)

// Every kind of bad input gets a message that says what is wrong and what to
// do, its exit code, and leaves the hosts as they were.

// What is wrong before Nix is asked is in cmd/godwit/testdata/script.
func TestBadConfiguration(t *testing.T) {
	turn(t)
	w := newWorld(t)
	one := func(body string) string { return w.fleetOf("", map[string]string{"web": amd64 + body}) }

	t.Run("syntax error", func(t *testing.T) {
		net := w.file("broken.nix", "{\n  web = { ... }: {\n    a = ;\n  };\n}\n")
		r := w.run("build", net).exits(1).says("syntax error", "broken.nix:3:9")
		short(t, r)
	})
	t.Run("not a set", func(t *testing.T) {
		w.run("build", w.file("list.nix", "[ 1 2 ]")).exits(1).says("list.nix", "attribute set")
	})
	t.Run("option that does not exist", func(t *testing.T) {
		r := w.run("build", one(`services.openshh.enable = true;`)).exits(3).says("services.openshh", "does not exist", "did you mean services.openssh?", "web")
		short(t, r)
	})
	t.Run("one broken host does not take the other down", func(t *testing.T) {
		net := w.fleetOf("", map[string]string{"web": amd64 + `services.openshh.enable = true;`, "db": amd64})
		r := w.run("build", net).exits(3).says("services.openshh")
		if !strings.Contains(r.stdout, "/nix/store/") {
			t.Errorf("the other host's result is not on stdout: %q", r.stdout)
		}
	})
	t.Run("path with spaces", func(t *testing.T) {
		net := w.file("my fleet/net work.nix", `{ web = { ... }: { nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "24.05"; }; }`)
		w.run("build", net).exits(0)
	})
	t.Run("hosts called by their whole names", func(t *testing.T) {
		net := w.file("fqdn.nix", `{ "web01.example.com" = { ... }: { nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "24.05"; }; }`)
		w.run("build", net).exits(0).says("0: web01.example.com (")
		if r := w.run("eval", net, `"web01.example.com".config.networking.hostName`).exits(0); r.stdout != "\"web01\"\n" {
			t.Errorf("its host name is %s", r.stdout)
		}
	})
	t.Run("build fails", func(t *testing.T) {
		net := one(`system.extraDependencies = [ (pkgs.runCommand "doomed" { } "echo first words; echo last words; exit 3") ];`)
		// pkgs is the module's argument in fleetOf's outer function only.
		data, err := os.ReadFile(net)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(net, []byte(strings.ReplaceAll(string(data), "({ ... }: { "+amd64, "({ pkgs, ... }: { "+amd64)), 0o644); err != nil {
			t.Fatal(err)
		}
		w.run("build", net).exits(3).says("doomed", "last words", "nix log")
	})
	t.Run("secret source is missing", func(t *testing.T) {
		net := one(`deployment.secrets.k = { source = "keys/missing"; destination = "/root/k"; };`)
		w.run("upload-secrets", net).exits(1).says("keys/missing", "web")
		w.run("deploy", net, "switch", "--upload-secrets").exits(1).says("keys/missing")
	})
}

// short checks that an evaluation error is not Nix's whole trace.
func short(t *testing.T, r result) {
	t.Helper()
	if n := strings.Count(r.stderr, "\n"); n > 20 {
		t.Errorf("%d lines of error:\n%s", n, r.stderr)
	}
}

func TestBadHosts(t *testing.T) {
	own := hosts(t, "web", "spare")
	web, spare := own[0], own[1]
	w := newWorld(t, web, spare)
	good := w.fleetOf("", map[string]string{"web": amd64, "spare": amd64})
	w.run("deploy", good, "switch").exits(0)

	// config writes an ssh configuration in which spare is somewhere else.
	config := func(lines string) []string {
		c := filepath.Join(w.dir, "ssh_other")
		if err := lab.WriteSSHConfig(c, web); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(c, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "Host spare\n  HostName 127.0.0.1\n  IdentitiesOnly yes\n  IdentityAgent none\n  GlobalKnownHostsFile /dev/null\n%s\n", lines); err != nil {
			t.Fatal(err)
		}
		return []string{"SSH_CONFIG_FILE=" + c}
	}
	changed := func(word string) string {
		return w.fleetOf(service(word), map[string]string{"web": amd64, "spare": amd64})
	}

	t.Run("host is down", func(t *testing.T) {
		r := w.runEnv(config("  Port 1\n"), "deploy", changed("down"), "switch").exits(3)
		r.says("spare", "refuses connections", "hint:")
		if got := on(t, web, "cat /run/e2e"); got != "down" {
			t.Errorf("the host that is up was not deployed: %q", got)
		}
	})
	// Found out with the login: nothing is copied to a machine that cannot be switched.
	t.Run("no NixOS", func(t *testing.T) {
		was := on(t, spare, "ls /nix/store; mv /etc/NIXOS /etc/was-NIXOS; mv /run/current-system /run/was-current")
		defer on(t, spare, "mv /etc/was-NIXOS /etc/NIXOS; mv /run/was-current /run/current-system")
		for _, action := range []string{"switch", "boot", "dry-activate"} {
			w.run("deploy", changed("foreign"), action).exits(3).says("spare", "the machine runs Debian GNU/Linux", "targetHost").saysNot("spare | copying")
		}
		if now := on(t, spare, "ls /nix/store"); now != was {
			t.Errorf("the store was written to:\n%s\nbefore:\n%s", now, was)
		}
		w.run("plan", good, "switch", "--on", "spare").outs("runs Debian GNU/Linux")
	})
	t.Run("unknown host key", func(t *testing.T) {
		w.runEnv(config(fmt.Sprintf("  Port %d\n  IdentityFile %s\n  UserKnownHostsFile /dev/null\n", spare.Port, spare.Identity)),
			"deploy", changed("unknown-key"), "switch").exits(3).says("spare", "host key", "ssh-keyscan")
	})
	t.Run("wrong host key", func(t *testing.T) {
		known := w.file("known", fmt.Sprintf("[127.0.0.1]:%d %s\n", spare.Port, web.HostKey))
		w.runEnv(config(fmt.Sprintf("  Port %d\n  IdentityFile %s\n  UserKnownHostsFile %s\n", spare.Port, spare.Identity, known)),
			"deploy", changed("wrong-key"), "switch").exits(3).says("spare", "host key", "ssh-keygen", "-R")
	})
	t.Run("no access", func(t *testing.T) {
		w.runEnv(config(fmt.Sprintf("  Port %d\n  IdentityFile /dev/null\n  UserKnownHostsFile %s\n", spare.Port, spare.KnownHosts)),
			"deploy", changed("no-access"), "switch").exits(3).says("spare", "did not accept any of our keys", "ssh -v")
	})
	if got := on(t, spare, "test -e /run/e2e && echo changed || echo untouched"); got != "untouched" {
		t.Errorf("spare was changed although nobody could reach it properly")
	}
}

func TestFullDisk(t *testing.T) {
	turn(t)
	small := lab.New(t, lab.Spec{Name: "small", Suite: "trixie", NixSize: "96m"})
	w := newWorld(t, small)
	w.env = append(w.env, emulated) // it begins when all hosts do, and answers late
	// A system with more in it than the host has room for, in a file that does not compress to nothing.
	blob := w.file("blob", "")
	data := make([]byte, 128<<20)
	if err := os.WriteFile(blob, data, 0o644); err != nil {
		t.Fatal(err)
	}
	before := on(t, small, "readlink /run/current-system")
	net := w.fleetOf("", map[string]string{"small": amd64 + `environment.etc.blob.source = "${./blob}";`})
	w.run("deploy", net, "switch").exits(3).says("small", "MiB", "free")
	if now := on(t, small, "readlink /run/current-system"); now != before {
		t.Errorf("the host changed to %s", now)
	}
}

// TestNoInodes: a store with room for bytes and none for files.
func TestNoInodes(t *testing.T) {
	turn(t)
	few := lab.New(t, lab.Spec{Name: "few", Suite: "trixie", NixSize: "400m,nr_inodes=40000"})
	w := newWorld(t, few)
	w.env = append(w.env, emulated) // it begins when all hosts do, and answers late
	net := w.fleetOf("", map[string]string{"few": amd64 + `environment.etc.few.text = "few";`})
	before := on(t, few, "readlink /run/current-system")
	// All inodes but one are taken: too few for Nix itself.
	on(t, few, `mkdir /nix/fill && cd /nix/fill && free=$(stat -f -c %d /nix) && seq "$((free - 1))" | xargs touch`)
	w.run("deploy", net, "switch").exits(3).says("few: Nix there cannot open its store, which has ", " inode", "nix-collect-garbage")
	// Enough for Nix, and not for the copy.
	on(t, few, `cd /nix/fill && ls | head -n 14 | xargs rm -f`)
	w.run("deploy", net, "switch").exits(3).says("few: needs an inode or more for each of", "MiB and ", " inodes free")
	w.run("plan", net, "switch").outs("low-space", "inodes (room for files) are free in /nix")
	w.run("status", net).exits(2).outs("inodes (room for files) free on /nix")
	if now := on(t, few, "readlink /run/current-system"); now != before {
		t.Errorf("the host changed to %s", now)
	}
	// There is room for the copy, and not for what arming writes.
	on(t, few, `cd /nix/fill && ls | head -n 2000 | xargs rm -f`)
	w.run("push", net).exits(0)
	on(t, few, `cd /nix/fill && free=$(stat -f -c %d /nix) && seq 100000 "$((100000 + free - 33))" | xargs touch`)
	w.run("deploy", net, "switch", "--accept-risk", "low-space").exits(3).says("inodes are free in /nix/var/nix/gcroots/auto")
	if now := on(t, few, "readlink /run/current-system"); now != before {
		t.Errorf("the host changed to %s", now)
	}
	on(t, few, "rm -rf /nix/fill")
	w.run("deploy", net, "switch").exits(0)
	isSettled(t, few)
}

func TestBadEngine(t *testing.T) {
	turn(t)
	w := newWorld(t)
	net := w.fleetOf("", map[string]string{"pi": arm64})
	// A PATH with all that there is but engines.
	bin := filepath.Join(w.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			switch e.Name() {
			case "docker", "podman", "nerdctl":
			default:
				_ = os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(bin, e.Name()))
			}
		}
	}
	t.Run("not installed", func(t *testing.T) {
		w.runEnv([]string{"PATH=" + bin}, "build", net).exits(5).
			says("needs aarch64-linux", "nothing here can build it", "hint: ", "Docker").saysNot("is required to build")
	})
	t.Run("no permission", func(t *testing.T) {
		// The tests run as root, who may open every socket: somebody else asks the engine.
		docker, err := exec.LookPath("docker")
		if err != nil {
			t.Fatal(err)
		}
		nobody := "#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/ " + docker + ` "$@"` + "\n"
		if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(nobody), 0o755); err != nil {
			t.Fatal(err)
		}
		w.runEnv([]string{"PATH=" + bin}, "build", net).exits(5).
			says("needs aarch64-linux", "nothing here can build it", "Docker         no permission to use it", "hint: sudo usermod -aG docker").saysNot("is required to build")
	})
	t.Run("not running", func(t *testing.T) {
		w.runEnv([]string{"DOCKER_HOST=unix://" + filepath.Join(w.dir, "no.sock")}, "build", net).exits(5).
			says("needs aarch64-linux", "hint: ")
	})
	t.Run("no image", func(t *testing.T) {
		w.run("build", net, "--image-file", filepath.Join(w.dir, "no-image.tar")).exits(1).says("no-image.tar")
	})
}

// TestInterrupt presses Ctrl-C in each step.
func TestInterrupt(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	only := func(body string) string { return w.fleetOf(body, map[string]string{"spare": amd64}) }
	w.file("k", canary.Value("interrupted")+"\n")
	blob := make([]byte, 192<<20) // long enough to be interrupted on the way
	rand.New(rand.NewSource(1)).Read(blob)
	w.file("blob", string(blob))
	net := only(service("before"))
	w.run("deploy", net, "switch").exits(0)
	before := on(t, spare, "readlink /run/current-system")
	nap := fmt.Sprintf("sleep 77%d", os.Getpid()) // not that of another run of these tests

	for _, c := range []struct {
		name, body string
		when       string // text that says that the step is under way
		args       []string
	}{
		{"evaluation", `system.nixos.label = builtins.seq (builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 30000000)) "slow";`, "evaluat", []string{"deploy", "NET", "switch"}},
		{"build", `system.activationScripts.slow = "${derivation { name = "slow"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo sleeping; /bin/` + nap + `; echo > $out" ]; }}";`, "build", []string{"deploy", "NET", "switch"}},
		{"copying", `environment.etc.blob.source = "${./blob}";`, "copying from", []string{"deploy", "NET", "switch"}},
		{"secrets", `deployment.secrets.k = { source = "k"; destination = "/run/k"; action = [ "` + strings.Replace(nap, " ", `" "`, 1) + `" ]; };`, "post-upload command: " + nap, []string{"deploy", "NET", "switch", "--upload-secrets"}},
		{"activation", `system.activationScripts.slow = "echo now sleeping; ` + nap + `";`, "now sleeping", []string{"deploy", "NET", "switch"}},
		{"checks", `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`, "never", []string{"deploy", "NET", "switch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.as(t)
			net := only(service("during") + c.body)
			args := append([]string{}, c.args...)
			args[1] = net
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			p := w.start(ctx, nil, args...)
			p.until(c.when, 3*time.Minute)
			time.Sleep(300 * time.Millisecond)
			if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			r := p.wait().exits(130)
			if r.took > 100*time.Second {
				t.Errorf("it took %s to stop", r.took)
			}
			// The host goes back by itself where it had begun to change.
			deadline := time.Now().Add(2 * time.Minute)
			for time.Now().Before(deadline) {
				if on(t, spare, "readlink /run/current-system") == before && on(t, spare, "systemctl list-units --all --plain --no-legend 'godwit-*' | wc -l") == "0" {
					break
				}
				time.Sleep(time.Second)
			}
			if now := on(t, spare, "readlink /run/current-system"); now != before {
				t.Errorf("the host runs %s, before %s", now, before)
			}
			isSettled(t, spare)
			leftover.None(t, nap)
		})
	}
}
