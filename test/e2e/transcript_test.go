package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/test/same"
)

var rewriteTranscript = flag.Bool("transcript", false, "write README's transcript anew from a real run")

// transcriptLines are the lines of a run that README shows, as they begin.
var transcriptLines = []string{
	"flake: ", "web1 | copied ", "web1 | activating: switch", "web1 | restarting the following units: ssh.service", "web1 | no confirmation yet: ",
	"web1 | warning: the new system accepts no login", "web1 | ↺ ", "1 host: ",
}

// TestTranscript is README's: a change that cuts the network, and a host that comes back
// by itself. `go test ./test/e2e -run TestTranscript -transcript` writes it.
func TestTranscript(t *testing.T) {
	calm := host(t, "calm")
	w := newWorld(t, calm)
	w.ownState("readme")
	w.env = append(w.env, emulated) // patience, for a busy machine
	config := filepath.Join(w.dir, "ssh_config")
	known, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	w.file("ssh_config", strings.Replace(string(known), "Host calm\n", "Host calm web1\n", 1))
	flake := func(more string) {
		w.file("flake.nix", `{
  inputs.nixpkgs.url = "path:`+repo(t, "test/nixos")+`";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web1 = nixpkgs.lib.nixosSystem {
      modules = [ { nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; networking.hostName = "calm"; services.openssh.enable = true; deployment.targetHost = "root@web1"; `+more+` } ];
    };
  };
}
`)
	}
	flake("")
	w.file(".gitignore", "*\n!flake.nix\n!flake.lock\n")
	w.git("init", "-q")
	w.nix("nix", "flake", "lock", "path:"+w.dir)
	w.commit("one")
	w.run("deploy", "--accept-risk=kernel-change,unknown-profile,ssh-change,wrong-host").exits(0)
	before := on(t, calm, "readlink -f /run/current-system")
	flake("services.openssh.ports = [ 2222 ];")
	w.commit("two")

	_, words, _ := strings.Cut(readmeTranscript(t)[0], "$ godwit ")
	words, _, _ = strings.Cut(words, " #")
	r := w.run(strings.Fields(words)...).exits(3)
	if now := on(t, calm, "readlink -f /run/current-system"); now != before {
		t.Errorf("the host runs %s, and %s before", now, before)
	}
	isSettled(t, calm)
	got := readmeTranscript(t)[:1]
	for _, begin := range transcriptLines {
		i := slices.IndexFunc(strings.Split(r.stderr, "\n"), func(l string) bool { return strings.HasPrefix(l, begin) })
		if i < 0 {
			t.Fatalf("no line %q in\n%s", begin, r.stderr)
		}
		got = append(got, strings.Split(r.stderr, "\n")[i])
	}
	if *rewriteTranscript {
		writeTranscript(t, got)
	}
	for i, l := range readmeTranscript(t) {
		if i >= len(got) || same.Line(l) != same.Line(got[i]) {
			t.Errorf("README says %q; this run:\n%s", l, strings.Join(got, "\n"))
		}
	}
}

const transcriptBegin = "    $ godwit deploy"

// readmeTranscript are the lines of README's transcript, the command first.
func readmeTranscript(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(repo(t, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "\n"+transcriptBegin)
	block, _, end := strings.Cut(transcriptBegin+rest, "\n\n")
	if !ok || !end {
		t.Fatal("README has no transcript")
	}
	lines := strings.Split(block, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "    ")
	}
	return lines
}

func writeTranscript(t *testing.T, lines []string) {
	t.Helper()
	file := repo(t, "README.md")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "    "+strings.Join(readmeTranscript(t), "\n    "), "    "+strings.Join(lines, "\n    "), 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
