package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deployRs writes a flake as people have it who deploy with deploy-rs: a system, and a
// profile of the user deploy that needs what the system brings.
func (w *world) deployRs(word, script string) {
	w.file("fleet/flake.nix", fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  inputs.deploy-rs.url = "path:%s";
  inputs.deploy-rs.inputs.nixpkgs.follows = "nixpkgs";
  outputs = { self, nixpkgs, deploy-rs }:
    let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
      inherit (deploy-rs.lib.x86_64-linux) activate;
    in
    {
      nixosConfigurations.web = nixpkgs.lib.nixosSystem {
        modules = [{
          nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; networking.hostName = "web";
          environment.etc.deploy-rs.text = "%[3]s";
        }];
      };
      deploy = {
        sshUser = "deploy";
        nodes.web = {
          hostname = "nixd";
          profilesOrder = [ "system" ];
          profiles.system = { user = "root"; path = activate.nixos self.nixosConfigurations.web; };
          profiles.app = {
            profilePath = "/var/lib/e2e-deploy-rs/app";
            path = activate.custom (pkgs.writeTextDir "word" "%[3]s") ''
              echo "$(id -un) $(pwd) $(cat word) $(cat $PROFILE/word) after $(cat /etc/deploy-rs)" >>/var/lib/e2e-deploy-rs/log
              %[4]s
            '';
          };
        };
      };
    };
}`, repo(w.t, "test/nixos"), repo(w.t, "test/deploy-rs"), word, script))
}

// TestDeployRs deploys the profiles of two users in order, by one decision.
func TestDeployRs(t *testing.T) {
	web := host(t, "nixd")
	w := newWorld(t, web)
	// Lab hosts have no daemon of Nix, and users need one.
	on(t, web, `rm -rf /var/lib/e2e-deploy-rs /var/lib/e2e-ready; install -d -o deploy /var/lib/e2e-deploy-rs; systemctl reset-failed e2e-nix 2>/dev/null
systemctl is-active -q e2e-nix || systemd-run --quiet --collect --unit=e2e-nix nix-daemon; for i in $(seq 100); do [ -S /nix/var/nix/daemon-socket/socket ] && exit 0; sleep 0.1; done; exit 1`)
	t.Cleanup(func() { on(t, web, "systemctl stop e2e-nix; rm -rf /var/lib/e2e-deploy-rs /var/lib/e2e-ready") })
	accept := "--accept-risk=unknown-profile,wrong-host,ssh-change"
	is := func(word, log string) {
		t.Helper()
		got := on(t, web, "cat /etc/deploy-rs; echo; cat /var/lib/e2e-deploy-rs/app/word; echo; cat /var/lib/e2e-deploy-rs/log; ls /var/lib/e2e-deploy-rs/app")
		// Its program for the host was not built: it cannot be.
		if want := word + "\n" + word + "\n" + log + "\ndeploy-rs-activate\nword"; strings.TrimSpace(got) != want {
			t.Errorf("the host has\n%s\nwant\n%s", got, want)
		}
		isSettled(t, web)
	}
	first := "deploy /var/lib/e2e-deploy-rs/app first first after first"

	w.deployRs("first", "")
	w.run("deploy", "./fleet#web", accept, "--yes").exits(0)
	is("first", first)
	w.knowsProfiles("./fleet")

	w.deployRs("second", "exit 3")
	w.run("deploy", "./fleet#web", accept, "--yes").exits(3).says("went back", "app")
	is("first", first+"\ndeploy /var/lib/e2e-deploy-rs/app second second after second\ndeploy /var/lib/e2e-deploy-rs/app first first after second")

	// One profile alone, with a flag of deploy-rs's.
	w.deployRs("third", "")
	w.run("deploy", "--targets", "./fleet#web.app", "--magic-rollback", "false", accept, "--yes").exits(0)
	if got := on(t, web, "cat /etc/deploy-rs /var/lib/e2e-deploy-rs/app/word"); strings.TrimSpace(got) != "firstthird" {
		t.Errorf("the host has %q", got)
	}

	// Back: all that the last deployment changed, by one decision; then one of them alone.
	w.deployRs("fourth", "")
	w.run("deploy", "./fleet#web", accept, "--yes").exits(0)
	back := func(want string, args ...string) {
		t.Helper()
		w.run(append([]string{"rollback", "./fleet", "web"}, args...)...).exits(0)
		if got := on(t, web, "cat /etc/deploy-rs /var/lib/e2e-deploy-rs/app/word"); strings.TrimSpace(got) != want {
			t.Errorf("rollback %q: the host has %q, want %q", args, got, want)
		}
		isSettled(t, web)
	}
	back("firstthird")
	back("firstfourth", "--profile", "app")
	back("firstfirst", "--profile", "app", "--to", "1")
	w.run("rollback", "./fleet", "web", "--profile", "app", "--to", "99").exits(3).says("profile 'app' has no generation 99", "generation 1 ")
	w.run("rollback", "./fleet", "web", "--profile", "nosuch").exits(3).says("changed profile 'nosuch'")

	// A path that is in the store already, with no derivation of its own.
	script := w.file("ready/deploy-rs-activate", "#!/bin/sh\necho \"ready in $PROFILE\" >>/var/lib/e2e-deploy-rs/log\n")
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	ready := w.nix("nix-store", "--add", filepath.Dir(script))
	w.file("ready-fleet/flake.nix", fmt.Sprintf(`{ outputs = { self }: { deploy.nodes.web = { hostname = "nixd"; sshUser = "deploy";
  profiles.ready = { user = "root"; profilePath = "/var/lib/e2e-ready/ready"; path = "%s"; }; }; }; }`, ready))
	w.run("deploy", "./ready-fleet#web", accept, "--yes").exits(0)
	if got := on(t, web, "tail -n 1 /var/lib/e2e-deploy-rs/log; readlink -f /var/lib/e2e-ready/ready"); strings.TrimSpace(got) != "ready in /var/lib/e2e-ready/ready\n"+ready {
		t.Errorf("the host has %q, want %s", got, ready)
	}
	w.run("deploy", "./ready-fleet#web", accept, "--yes").exits(0).says("already runs")
}

// knowsProfiles looks at what the verbs say of a host with the profiles system and app,
// right after a deploy.
func (w *world) knowsProfiles(where string) {
	w.t.Helper()
	var hosts []struct {
		Profiles []struct{ Name, Kind, User string }
	}
	w.run("hosts", where, "--json").exits(0).json(&hosts)
	if len(hosts) != 1 || len(hosts[0].Profiles) != 2 || hosts[0].Profiles[1].Name != "app" || hosts[0].Profiles[1].User != "deploy" {
		w.t.Errorf("hosts: %+v", hosts)
	}
	var status struct {
		Hosts []struct {
			Profiles []struct {
				Name, Running, Wanted string
				InSync                bool
			}
			Problems []struct{ Text string }
		}
	}
	w.run("status", where, "--json").json(&status)
	if len(status.Hosts) != 1 || len(status.Hosts[0].Profiles) != 2 {
		w.t.Fatalf("status: %+v", status)
	}
	for _, p := range status.Hosts[0].Profiles {
		if !p.InSync || p.Running != p.Wanted || p.Running == "" {
			w.t.Errorf("status of %s: %+v", p.Name, p)
		}
	}
	var plan struct {
		Hosts []struct {
			Status   string
			Profiles []struct {
				Name string
				Same bool
			}
		}
	}
	w.run("plan", where, "--json").exits(0).json(&plan)
	if len(plan.Hosts) != 1 || plan.Hosts[0].Status != "unchanged" || len(plan.Hosts[0].Profiles) != 2 || !plan.Hosts[0].Profiles[1].Same {
		w.t.Errorf("plan: %+v", plan)
	}
	for name, args := range map[string][]string{"here": {}, "there": {where, "web"}} {
		var history []struct {
			Outcome  string
			New      string
			Profiles []struct{ Name, Kind, New string }
		}
		w.run(append([]string{"history", "--json", "--last", "1", "--host", "web"}, args...)...).exits(0).json(&history)
		if len(history) != 1 || history[0].Outcome != "changed" || len(history[0].Profiles) != 2 || history[0].Profiles[0].New != history[0].New || history[0].Profiles[1].Kind != "custom" {
			w.t.Errorf("history %s: %+v", name, history)
		}
	}
	w.run("diff", where, "web", "--profile", "app").exits(0)
}
