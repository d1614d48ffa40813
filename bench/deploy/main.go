// Command deploy measures a whole deploy of a fleet, side by side in one run:
// godwit against the same steps done by plain Nix and ssh in a shell loop
// (nix-instantiate, nix-build, nix-copy-closure, nix-env --set and
// switch-to-configuration over ssh, one host after another).
//
//	go run ./bench/deploy [-hosts 10] [-runs 3] [-services 60]
//
// It needs root on Debian (test/setup.sh). Hosts are lab containers, reached on
// the loopback address. Times are whole-process wall times, memory is the
// largest process of each side. Medians are printed, and ratios of pairs.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/test/lab"
)

func main() {
	hosts := flag.Int("hosts", 10, "hosts of the fleet")
	runs := flag.Int("runs", 3, "measured runs of each kind")
	services := flag.Int("services", 60, "systemd services in each host's configuration, for an evaluation of some weight")
	flag.Parse()
	if err := run(*hosts, *runs, *services); err != nil {
		fmt.Fprintln(os.Stderr, "bench/deploy:", err)
		os.Exit(1)
	}
}

type bench struct {
	dir      string
	names    []string
	services int
	env      []string
	godwit   string
}

func run(n, runs, services int) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "godwit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, services: services, godwit: filepath.Join(dir, "godwit")}
	build := exec.Command("go", "build", "-o", b.godwit, "godwit/cmd/godwit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build godwit: %w\n%s", err, out)
	}

	fmt.Fprintf(os.Stderr, "starting %d hosts\n", n)
	list := make([]*lab.Host, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	gate := make(chan struct{}, 3)
	for i := range n {
		b.names = append(b.names, fmt.Sprintf("node%02d", i))
		wg.Add(1)
		go func() {
			defer wg.Done()
			gate <- struct{}{}
			defer func() { <-gate }()
			list[i], errs[i] = lab.Start(ctx, lab.Spec{Name: b.names[i], Suite: "trixie", Arch: "amd64", Dir: filepath.Join(dir, "lab")})
		}()
	}
	wg.Wait()
	defer func() {
		for _, h := range list {
			if h != nil {
				_ = h.Remove(ctx)
			}
		}
	}()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	config := filepath.Join(dir, "ssh_config")
	if err := lab.WriteSSHConfig(config, list...); err != nil {
		return err
	}
	small, err := filepath.Abs("test/nixos")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(small, "nixos/lib/eval-config.nix")); err != nil {
		return fmt.Errorf("run it in the repository's root: %w", err)
	}
	b.env = append(os.Environ(),
		"SSH_CONFIG_FILE="+config, "NIX_PATH=nixpkgs="+small, "CI=1",
		"XDG_STATE_HOME="+filepath.Join(dir, "state"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"),
		"NIX_SSHOPTS=-F "+config,
		"NIX_CONFIG=build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command flakes")

	word := 0
	change := func() {
		word++
		b.write(fmt.Sprintf("change %d", word))
	}
	change()
	fmt.Fprintln(os.Stderr, "first deploy")
	if _, err := b.deploy("--progress=plain"); err != nil {
		return err
	}

	var plainEval, ownEval []sample
	rows := map[string][2][]sample{}
	// The two ways make different systems of the same configuration, so each of
	// them goes first once by itself: a no-op is one after its own.
	measure := func(kind string, prepare func(again func() error) error) error {
		loop := func() (sample, error) { return b.timed("sh", "-c", b.loop()) }
		var pair [2][]sample
		for range runs {
			for side, run := range []func() (sample, error){func() (sample, error) { return b.deploy() }, loop} {
				if err := prepare(func() error { _, err := run(); return err }); err != nil {
					return err
				}
				s, err := run()
				if err != nil {
					return err
				}
				pair[side] = append(pair[side], s)
			}
		}
		rows[kind] = pair
		return nil
	}
	fmt.Fprintln(os.Stderr, "evaluation")
	for range runs {
		s, err := b.timed("sh", "-c", b.instantiate()+" >/dev/null")
		if err != nil {
			return err
		}
		plainEval = append(plainEval, s)
		s, err = b.deploy()
		if err != nil {
			return err
		}
		ownEval = append(ownEval, sample{wall: s.evaluation, rss: s.rss})
	}
	fmt.Fprintln(os.Stderr, "no-op")
	if err := measure("no-op", func(again func() error) error { return again() }); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "one line changed")
	if err := measure("one line changed", func(again func() error) error {
		if err := again(); err != nil {
			return err
		}
		change()
		return nil
	}); err != nil {
		return err
	}

	fmt.Printf("%d hosts, %d services each, %d runs, medians\n\n", n, services, runs)
	fmt.Printf("%-34s %10s %10s %8s\n", "", "godwit", "shell loop", "ratio")
	line := func(name string, own, other []sample) {
		fmt.Printf("%-34s %9.2fs %9.2fs %8.2f\n", name, seconds(own), seconds(other), ratio(own, other))
	}
	line("evaluation (nix-instantiate)", ownEval, plainEval)
	for _, kind := range []string{"no-op", "one line changed"} {
		line(kind, rows[kind][0], rows[kind][1])
	}
	var outside []sample
	for _, s := range rows["no-op"][0] {
		outside = append(outside, sample{wall: s.wall - s.evaluation})
	}
	fmt.Printf("%-34s %9.2fs\n", "no-op, outside evaluation", seconds(outside))
	fmt.Printf("%-34s %8dMB %8dMB\n", "largest process, no-op", rss(rows["no-op"][0])>>20, rss(rows["no-op"][1])>>20)
	fmt.Printf("%-34s %8dMB %8dMB\n", "largest process, one line changed", rss(rows["one line changed"][0])>>20, rss(rows["one line changed"][1])>>20)
	return nil
}

// write writes the fleet, as a morph network and as a plain set of toplevels.
func (b *bench) write(word string) {
	var hosts strings.Builder
	for _, name := range b.names {
		fmt.Fprintf(&hosts, "  %s = common;\n", name)
	}
	common := fmt.Sprintf(`{ lib, name, ... }: {
    nixpkgs.hostPlatform = "x86_64-linux";
    system.stateVersion = "24.05";
    environment.etc."bench".text = "%s";
    systemd.services = lib.listToAttrs (map (i: lib.nameValuePair "bench-${toString i}" {
      description = "service ${toString i} of ${name}";
      after = [ "network.target" ];
      environment.NUMBER = toString i;
      script = "exec sleep ${toString i}";
    }) (lib.range 1 %d));
  }`, word, b.services)
	must(os.WriteFile(filepath.Join(b.dir, "network.nix"), []byte("let common = { ... }: { imports = [ ("+common+") ]; deployment.targetUser = \"root\"; }; in {\n"+hosts.String()+"}\n"), 0o644))
	plain := `let
  evalConfig = import <nixpkgs/nixos/lib/eval-config.nix>;
  system = name: (evalConfig { system = null; specialArgs = { inherit name; }; modules = [ (` + common + `) { networking.hostName = name; } ]; }).config.system.build.toplevel;
in {
` + strings.ReplaceAll(hosts.String(), "= common;", "= null;") + "}\n"
	for _, name := range b.names {
		plain = strings.Replace(plain, name+" = null;", fmt.Sprintf("%s = system %q;", name, name), 1)
	}
	must(os.WriteFile(filepath.Join(b.dir, "plain.nix"), []byte(plain), 0o644))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (b *bench) instantiate() string {
	return fmt.Sprintf("nix-instantiate %s/plain.nix", b.dir)
}

// loop is a deploy as people write it.
func (b *bench) loop() string {
	return fmt.Sprintf(`set -e
cd %[1]s
nix-instantiate plain.nix >/dev/null 2>&1
for host in %[2]s; do
	system=$(nix-build plain.nix -A "$host" --no-out-link 2>/dev/null)
	nix-copy-closure --to "root@$host" "$system" >/dev/null 2>&1
	ssh -F %[1]s/ssh_config "root@$host" "nix-env -p /nix/var/nix/profiles/system --set $system && $system/bin/switch-to-configuration switch" >/dev/null 2>&1
done
`, b.dir, strings.Join(b.names, " "))
}

type sample struct {
	wall       time.Duration
	evaluation time.Duration
	rss        int64 // bytes, of the largest process
}

func (b *bench) deploy(extra ...string) (sample, error) {
	args := append([]string{"deploy", filepath.Join(b.dir, "network.nix"), "switch", "--json"}, extra...)
	if len(extra) > 0 {
		args = slices.DeleteFunc(args, func(s string) bool { return s == "--json" })
	}
	return b.timed(b.godwit, args...)
}

// timed runs a program and reads how long it evaluated from its events, when it has any.
func (b *bench) timed(program string, args ...string) (sample, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = b.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	s := sample{wall: time.Since(start)}
	if err != nil {
		return s, fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = u.Maxrss << 10
	}
	var first, last time.Time
	lines := bufio.NewScanner(&stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Time time.Time
			Host string
			Step string
			Kind string
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Step != "evaluate" {
			continue
		}
		if first.IsZero() {
			first = e.Time
		}
		last = e.Time
	}
	s.evaluation = last.Sub(first)
	return s, nil
}

func seconds(list []sample) float64 {
	v := make([]float64, len(list))
	for i, s := range list {
		v[i] = s.wall.Seconds()
	}
	return median(v)
}

func ratio(own, other []sample) float64 {
	v := make([]float64, len(own))
	for i := range own {
		v[i] = own[i].wall.Seconds() / other[i].wall.Seconds()
	}
	return median(v)
}

func rss(list []sample) int64 {
	var most int64
	for _, s := range list {
		most = max(most, s.rss)
	}
	return most
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
