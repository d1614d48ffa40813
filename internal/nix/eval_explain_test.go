package nix

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/ui/text/texttest"
)

// What Nix writes, from 2.8.0 (measured here), 2.26 and later (message after the
// trace), and what a person reads of it.
func TestExplain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "network.nix")
	text := "{\n  web1 = {\n    services.openshh.enable = true;\n    deployment.tags = \"a\";\n  };\n" +
		"  web2.deployment.targetHost = \"x\";\n  web3.deployment.targetHost = \"y\";\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, stderr, want string }{
		{"2.8 undefined", "error: undefined variable 'abc'\n\n       at FILE:3:5:\n\n            2| x\n             | ^\n",
			"FILE:3:5: undefined variable 'abc'"},
		{"2.26 undefined", "error:\n       … while evaluating the attribute 'a'\n         at /nix/store/aaa-source/lib/modules.nix:1:3:\n            1| x\n\n       … from call site\n         at FILE:1:1:\n\n       error: undefined variable 'abc'\n       at FILE:3:5:\n            2|\n            3|   abc\n             |     ^\n",
			"FILE:3:5: undefined variable 'abc'"},
		{"2.26 throw in lib", "error:\n       … while calling the 'throw' builtin\n         at FILE:2:3:\n\n       … while evaluating x\n         at /nix/store/aaa/lib/modules.nix:1:3:\n\n       error: boom\n       second\n",
			"FILE:2:3: boom"},
		{"colours", "\x1b[31;1merror:\x1b[0m undefined variable '\x1b[35;1mabc\x1b[0m'\n\n       at \x1b[35;1mFILE:3:5\x1b[0m:\n",
			"FILE:3:5: undefined variable 'abc'"},
		{"missing", "error: attribute 'helo' missing\n\n       at FILE:3:5:\n\n            2| x\n       Did you mean hello?\n",
			"FILE:3:5: attribute 'helo' missing (did you mean hello?)"},
		{"option", "error: The option `services.openshh' does not exist. Definition values:\n       - In `FILE':\n           {\n             enable = true;\n           }\n(use '--show-trace' to show detailed location information)\n",
			"FILE:3:5: the option 'services.openshh' does not exist"},
		{"option with NixOS's suggestion", "error:\n       … while x\n\n       error: The option `services.openshh' does not exist. Definition values:\n       - In `FILE':\n           {\n             enable = true;\n           }\n\n       Did you mean `services.openssh'?\n",
			"FILE:3:5: the option 'services.openshh' does not exist (did you mean services.openssh?)"},
		{"type", "error: A definition for option `deployment.tags' is not of type `list of string'. Definition values:\n       - In `FILE': \"a\"\n",
			"FILE:4:5: the option 'deployment.tags' takes a value of type list of string, not \"a\""},
		{"type, old", "error: The option value `deployment.tags' in `FILE' is not of type `list of string'.\n",
			"FILE:4:5: the option 'deployment.tags' takes a value of type list of string"},
		{"overflow", "error: stack overflow (possible infinite recursion)\n", "stack overflow: a value is needed to work out itself, or is nested without end"},
		{"conflict", "error: The option `deployment.targetHost' has conflicting definition values:\n       - In `FILE': \"x\"\n       - In `FILE': \"y\"\n       Use `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.\n",
			"the option 'deployment.targetHost' is given several values that do not go together"},
		{"undefined option", "error: The option `fileSystems' is used but not defined.\n", "the option 'fileSystems' has no value"},
		{"foreign, old", "error: a 'aarch64-linux' with features {} is required to build '/nix/store/00000000000000000000000000000000-cfg.drv', but I am a 'aarch64-darwin' with features {apple-virt, big-parallel}\n",
			"cfg has to be built on aarch64-linux, and this machine builds aarch64-darwin"},
		{"foreign, new", "error: Cannot build '/nix/store/00000000000000000000000000000000-cfg.drv'.\n       Reason: required system or feature not available\n       Required system: 'aarch64-linux' with features {kvm}\n       Current system: 'aarch64-darwin' with features {apple-virt}\n",
			"cfg has to be built on aarch64-linux, and this machine builds aarch64-darwin"},
		{"isLinux", "error: assertion '(stdenv).isLinux' failed\n\n       at /nix/store/x/pkgs/os-specific/linux/kernel/x.nix:3:1:\n",
			"packages for a Mac cannot make a NixOS system"},
		{"no platform", "error: Neither nixpkgs.hostPlatform nor the legacy option nixpkgs.system has been set.\n       You can set x\n",
			"the configuration does not say which platform the host is"},
		{"search path", "error: file 'nixpkgs' was not found in the Nix search path (add it using $NIX_PATH or -I)\n\n       at FILE:2:10:\n",
			"FILE:2:10: <nixpkgs> is not in Nix's search path"},
		{"no file", "error: getting status of '/x/nofile.nix': No such file or directory\n", "there is no file /x/nofile.nix"},
		{"no file, new", "error:\n       … while x\n         at FILE:1:2:\n\n       error: path '/x/nofile.nix' does not exist\n", "FILE:1:2: there is no file /x/nofile.nix"},
		{"recursion", "error: infinite recursion encountered\n\n       at /nix/store/x/lib/modules.nix:3:1:\n", "infinite recursion: a value is needed to work out itself"},
		{"syntax", "error: syntax error, unexpected ';'\n\n       at FILE:1:7:\n\n            1| { a = ; }\n", "FILE:1:7: syntax error, unexpected ';'"},
		{"assertions", "error: \n       Failed assertions:\n       - The ‘fileSystems’ option does not specify your root file system.\n       - second\n         goes on\n",
			"2 assertions of the configuration failed"},
		{"one assertion", "error:\n       … while x\n\n       error:\n       Failed assertions:\n       - must not be\n", "an assertion of the configuration failed: must not be"},
		{"json", `@nix {"action":"msg","level":0,"msg":"warning: the group 'nixbld' does not exist"}` + "\n" + `@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m boom","raw_msg":"boom"}` + "\n", "boom"},
		{"abort", "error: evaluation aborted with the following error message: 'x y'\n", "evaluation aborted: x y"},
		{"definitions", "error: boom\n\n       … while evaluating definitions from `FILE':\n\n       … while evaluating the option `services.openshh.enable':\n", "FILE:3:5: boom"},
		// Flakes: said by 2.8.0, 2.26.3 or 2.34.8 where nothing else is written.
		{"untracked, 2.34", "error: Path 'web.nix' in the repository \"DIR\" is not tracked by Git.\n\n       To make it visible to Nix, run:\n\n       git -C \"DIR\" add \"web.nix\"\n",
			"web.nix is there, but git does not know it, and a flake sees only what git knows"},
		{"untracked, 2.8", "error: getting status of 'FILE': No such file or directory\n", "FILE is there, but git does not know it, and a flake sees only what git knows"},
		{"untracked, 2.26", "error: path 'FILE' does not exist\n", "FILE is there, but git does not know it, and a flake sees only what git knows"},
		{"no flake.nix, 2.8", "error: getting status of '/nix/store/xrcwjk63499yapa7di7sa9hdlr65lb4j-source/flake.nix': No such file or directory\n",
			"there is no flake.nix in the repository, or git does not know it"},
		{"no flake.nix, 2.26", "error: path '/nix/store/xrcwjk63499yapa7di7sa9hdlr65lb4j-source/flake.nix' does not exist\n",
			"there is no flake.nix in the repository, or git does not know it"},
		{"no flake", "error: path '/x/none' is not part of a flake (neither it nor its parent directories contain a 'flake.nix' file)\n", "there is no flake.nix in /x/none or above it"},
		{"no flake, 2.8", "path '/x' does not contain a 'flake.nix', searching up\nerror: could not find a flake.nix file\n", "there is no flake.nix here"},
		{"no flake, 2.34", "error: unable to find a flake before encountering filesystem boundary at \"/tmp\"\n", "there is no flake.nix here"},
		{"pure system", "error: attribute 'currentSystem' missing\n\n       at FILE:3:5:\n", "FILE:3:5: builtins.currentSystem is not there in pure evaluation, which flakes have"},
		{"pure path, 2.8", "error: access to absolute path '/etc/hostname' is forbidden in pure eval mode (use '--impure' to override)\n", "/etc/hostname is outside of the flake, and evaluation is pure"},
		{"pure path, 2.26", "error:\n       … while x\n         at FILE:2:3:\n\n       error: access to absolute path '/etc' is forbidden in pure evaluation mode (use '--impure' to override)\n", "FILE:2:3: /etc is outside of the flake, and evaluation is pure"},
		{"pure search path", "error: cannot look up '<nixpkgs>' in pure evaluation mode (use '--impure' to override)\n\n       at FILE:3:5:\n", "FILE:3:5: <nixpkgs> is not there in pure evaluation, which flakes have"},
		{"lock", "error: cannot update unlocked flake input 'nixpkgs' in pure mode\n", "the lock file does not have the input 'nixpkgs'"},
		{"private, 2.8 (from its source)", "error: unable to download 'https://api.github.com/repos/acme/private/commits/HEAD': HTTP error 404\n\n       response body:\n\n       {\"message\": \"Not Found\"}\n",
			"api.github.com does not give https://api.github.com/repos/acme/private/commits/HEAD: HTTP error 404"},
		{"rate limit (from its source)", "error:\n       … while fetching the input 'github:a/b'\n\n       error: unable to download 'https://api.github.com/repos/a/b/commits/HEAD': HTTP error 403\n\n       response body:\n\n       {\"message\":\"API rate limit exceeded\"}\n",
			"api.github.com does not give https://api.github.com/repos/a/b/commits/HEAD: HTTP error 403"},
		{"refused", "error:\n       error: Failed to open archive (Source threw exception: error: unable to download 'http://x/x.tar.gz': HTTP error 404\n\n       response body:\n\n       404 page not found)\n", "cannot download http://x/x.tar.gz: HTTP error 404"},
		{"registry", "error: unable to download 'https://channels.nixos.org/flake-registry.json': Could not resolve hostname (6) Could not resolve host: channels.nixos.org\n",
			"cannot download https://channels.nixos.org/flake-registry.json: Could not resolve hostname (6) Could not resolve host: channels.nixos.org"},
		{"git, 2.8", "fatal: Could not read from remote repository.\nerror: program 'git' failed with exit code 128\n", "git cannot fetch an input of the flake"},
		{"git, 2.26", "error:\n       … while x\n\n       error: resolving Git reference 'master': revspec 'master' not found\n", "git cannot fetch an input of the flake"},
		{"git, 2.34", "error:\n       … while x\n\n       error: Failed to fetch git repository 'ssh://git@127.0.0.1:9/private'\n", "git cannot fetch an input of the flake: ssh://git@127.0.0.1:9/private"},
		{"git's owner", "error: opening Git repository \"/x\": repository path '/x' is not owned by current user\n", "the repository /x belongs to another user, and git will not read it"},
		{"hash", "error: NAR hash mismatch in input 'path:/x?narHash=sha256-a' (/nix/store/y), expected 'a', got 'b'\n", "an input of the flake is not what the lock file says: path:/x?narHash=sha256-a"},
		{"daemon", "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused\n", "the Nix daemon does not answer: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused"},
	} {
		f := Explain(strings.NewReplacer("FILE", file, "DIR", dir).Replace(c.stderr))
		if f == nil {
			t.Errorf("%s: nothing", c.name)
			continue
		}
		if got := strings.ReplaceAll(f.Error(), file, "FILE"); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
		if text := fault.Render(f); strings.Count(text, "\n") > 15 || strings.Contains(text, "\x1b") {
			t.Errorf("%s: too much:\n%s", c.name, text)
		}
	}
	for said, want := range map[string]string{ // seen of OpenSSL and curl inside Nix
		"error:0A000086:SSL routines::certificate verify failed":                                                                        "0A000086:SSL routines::certificate verify failed",
		"warning: x\nerror:0A000086:SSL routines::x\nerror: unable to download 'https://x/nar': SSL peer certificate was not OK (60)\n": "unable to download 'https://x/nar': SSL peer certificate was not OK (60)",
		"error:":   "Nix gave no reason",
		"error:\n": "Nix gave no reason", "error: \n\n\n": "Nix gave no reason", "error:\n   \n       boom": "boom",
	} {
		if f := Explain(said); f == nil || f.Error() != want {
			t.Errorf("%q: %v, want %s", said, f, want)
		}
	}
	if f := Explain("warning: something\nbuilding x\n"); f != nil {
		t.Error(f)
	}
	f := Explain("error: a 'aarch64-linux' with features {kvm} is required to build '/nix/store/00000000000000000000000000000000-cfg.drv', but I am a 'x86_64-linux' with features {}\n")
	var foreign *ForeignSystem
	if !errors.As(f, &foreign) || foreign.System != "aarch64-linux" || foreign.Here != "x86_64-linux" || foreign.Features[0] != "kvm" {
		t.Errorf("%+v", foreign)
	}
	conflict := Explain(strings.ReplaceAll("error: The option `deployment.targetHost' has conflicting definition values:\n       - In `FILE': \"x\"\n       - In `FILE': \"y\"\n", "FILE", file))
	if got := strings.ReplaceAll(strings.Join(conflict.Lines, "|"), file, "FILE"); got != `FILE:6:3: "x"|FILE:7:3: "y"` {
		t.Error(got)
	}
	// Modules that are no file: godwit's own, and what a person wrote into the network.
	conflict = Explain("error: The option `networking.hostName' has conflicting definition values:\n       - In `godwit/deployment.nix': \"192\"\n       - In `<unknown-file>': \"b\"\n       - In `machine.nix':\n           {\n             a = 1;\n           }\n")
	if got := strings.Join(conflict.Lines, "|"); got != `godwit itself: "192"|a module that is in no file of its own: "b"|machine.nix: a set` {
		t.Error(got)
	}
}

// Files that are not what they seem, with what Nix 2.8 and 2.34 say of them.
func TestExplainFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("crypt.nix", "\x00GITCRYPT\x00abcdefgh")
	write("secret.age", "age-encryption.org/v1\n-> X25519 abc\n")
	write("lfs.nix", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
	write("plain.nix", "{ a = 1;\n")
	write(".gitignore", "private.nix\n")
	if out, err := exec.Command("git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("git init: %s: %v", out, err)
	}
	for _, c := range []struct{ name, stderr, want, hint string }{
		{"git-crypt, 2.8", "error: syntax error, unexpected end of file\n\n       at DIR/crypt.nix:1:1:\n", "DIR/crypt.nix is encrypted (git-crypt)", "unlock the repository first: git-crypt unlock"},
		{"git-crypt, 2.34", "error:\n       … while calling the 'readFile' builtin\n         at «string»:1:1:\n            1| x\n\n       error: the contents of the file 'DIR/crypt.nix' cannot be represented as a Nix string\n",
			"DIR/crypt.nix is encrypted (git-crypt)", "unlock the repository first: git-crypt unlock"},
		{"age", "error: undefined variable 'X25519'\n       at DIR/secret.age:2:4:\n            1| age\n", "DIR/secret.age is encrypted (age)",
			"an encrypted file cannot be evaluated: its secret goes to the host, and is read there"},
		{"git-lfs", "error: undefined variable 'version'\n       at DIR/lfs.nix:1:1:\n", "DIR/lfs.nix is a pointer of Git LFS's, not the file itself", "fetch what it stands for first: git lfs pull"},
		{"neither", "error: syntax error, unexpected end of file\n\n       at DIR/plain.nix:2:1:\n", "DIR/plain.nix:2:1: syntax error, unexpected end of file", ""},
		{"ignored by git", "error: getting status of 'DIR/private.nix': No such file or directory\n", "there is no file DIR/private.nix",
			"git ignores it: it is not in the repository, and must be brought to this machine or generated first"},
		{"not ignored", "error: getting status of 'DIR/other.nix': No such file or directory\n", "there is no file DIR/other.nix", ""},
	} {
		f := Explain(strings.ReplaceAll(c.stderr, "DIR", dir))
		hint := strings.Join(f.Hints, "|")
		if got := strings.ReplaceAll(f.Msg, dir, "DIR"); got != c.want || hint != c.hint {
			t.Errorf("%s: %q, %q", c.name, got, hint)
		}
	}
}

// FuzzExplain: no output of a Nix program makes it panic, or gives an error that says
// nothing or has no end.
func FuzzExplain(f *testing.F) {
	for _, s := range []string{
		"error:0A000086:SSL routines::certificate verify failed", "error:", "error:\n\n       error:",
		"error: boom\n\n       at /a/b.nix:3:5:\n\n            2| x\n       Did you mean hello?\n",
		"error:\n       … while evaluating the option `a.b':\n         at /x.nix:1:3:\n\n       … while evaluating definitions from `/x.nix':\n\n       error: The option `a.\"b.c\"' is used but not defined.\n",
		"error: The option `a.b' has conflicting definition values:\n       - In `/x': \"x\"\n       - In `<unknown-file>': {\n",
		"error: Cannot build '/nix/store/00000000000000000000000000000000-cfg.drv'.\n       Reason: required system or feature not available\n       Required system: 'aarch64-linux' with features {kvm}\n       Current system: 'aarch64-darwin' with features {apple-virt}\n",
		"error: \n       Failed assertions:\n       - one\n         goes on\n", "error: file 'nixpkgs' was not found in the Nix search path",
		`@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m boom"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := Explain(s)
		if e == nil {
			return
		}
		if strings.TrimSpace(e.Error()) == "" {
			t.Errorf("says nothing: %q", e.Error())
		}
		r := fault.Render(e)
		if len(r) > 1<<20 || strings.Count(r, "\n") > 400 {
			t.Errorf("%d bytes, %d lines", len(r), strings.Count(r, "\n"))
		}
		if err := texttest.Harmless(r); err != nil {
			t.Error(err)
		}
	})
}
