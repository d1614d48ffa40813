package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFlake deploys a plain flake that knows nothing of godwit, as people do with
// nixos-rebuild, and then one that says of its host where it is.
func TestFlake(t *testing.T) {
	web := hosts(t, "web")[0]
	w := newWorld(t, web)
	flake := func(word, deployment string) {
		w.file("fleet/flake.nix", `{
	inputs.nixpkgs.url = "path:`+repo(t, "test/nixos")+`";
	outputs = { self, nixpkgs }: {
		nixosConfigurations = {
			machine = nixpkgs.lib.nixosSystem { modules = [ { `+amd64+service(word)+` system.stateVersion = "24.05"; networking.hostName = "web"; `+deployment+` } ]; };
			other = throw "nobody asked for it";
		};
		homeConfigurations."deploy@machine" = rec {
			pkgs = nixpkgs.legacyPackages.x86_64-linux;
			activationPackage = pkgs.runCommand "home-manager-generation" { } ''
				mkdir -p $out/home-files
				echo 1 > $out/gen-version
				printf '#!/bin/sh\nmkdir -p $HOME/.config; echo "home `+word+` of $(id -un)" > $HOME/.config/it\n' > $out/activate
				chmod +x $out/activate
			'';
		};
	};
}`)
	}
	git := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("git", append([]string{"-C", filepath.Join(w.dir, "fleet")}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	flake("flakes-one", "")
	git("init", "-q", ".")
	w.run("deploy", "./fleet#machine", "--target", "root@web", "switch").exits(1).says("flake.nix is there, but git does not know it", "git -C "+filepath.Join(w.dir, "fleet")+" add flake.nix")
	git("add", ".")
	w.run("deploy", "./fleet", "--target", "root@web", "switch").exits(1).says("--target root@web is for a single host, and this run has 2")

	r := w.run("deploy", "./fleet#machine", "--target", "root@web", "switch").exits(0)
	r.saysNot("nobody asked for it")
	if got := on(t, web, "cat /run/e2e ~deploy/.config/it; systemctl is-active e2e"); got != "flakes-one\nhome flakes-one of deploy\nactive" {
		t.Errorf("it runs %q:\n%s", got, r.stderr)
	}
	// What runs is what Nix itself makes of the flake.
	cmd := exec.Command("nix", "eval", "--raw", "--no-write-lock-file", filepath.Join(w.dir, "fleet")+"#nixosConfigurations.machine.config.system.build.toplevel.outPath")
	cmd.Env = append(cmd.Environ(), w.env...)
	want, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := on(t, web, "readlink /run/current-system"); got != string(want) {
		t.Errorf("it runs %s, not %s", got, want)
	}

	r = w.run("deploy", "./fleet#machine", "--target", "machine=root@web", "switch").exits(0).says("1 host as evaluated before: the flake has not changed")
	if strings.Contains(r.stderr, "evaluating") {
		t.Errorf("it was evaluated again:\n%s", r.stderr)
	}
	w.run("plan", "./fleet#machine", "--target", "root@web", "--no-eval-cache").says("evaluating 1 host")

	flake("flakes-two", `deployment.targetHost = "deploy@web"; deployment.tags = [ "it" ];`)
	w.run("deploy", "./fleet", "--on", "machine", "switch").exits(0)
	if got := on(t, web, "cat /run/e2e"); got != "flakes-two" {
		t.Errorf("it runs %q", got)
	}
}
