// Command deploy measures a whole deploy of a fleet, side by side in one run:
// godwit against the same steps done by plain Nix and ssh in a shell loop
// (nix-instantiate, nix-build, nix-copy-closure, nix-env --set and
// switch-to-configuration over ssh, one host after another).
//
//	go run ./bench/deploy [-hosts 10] [-runs 3] [-services 60] [-options 2000]
//	go run ./bench/deploy -than FILE
//
// With -than, godwit is measured against another godwit, such as one of another commit.
//
// It does so with two fleets that have the same systems: a light one, whose hosts
// take less than 0.1 s each to evaluate, and one of the weight that was measured
// with the modules of the real NixOS (0.7 to 1 s and 134 MB a host): its hosts have
// -options submodules to evaluate besides, of which the systems show nothing.
//
// It needs root on Debian (test/setup.sh). Hosts are lab containers, reached on
// the loopback address. Evaluation is measured with --no-eval-cache; a no-op takes the
// hosts as they were evaluated before. Times are whole-process wall times, memory is the
// largest process of each side. Medians are printed, and ratios of pairs.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"godwit/test/lab"
)

func main() {
	hosts := flag.Int("hosts", 10, "hosts of the fleet")
	runs := flag.Int("runs", 3, "measured runs of each kind")
	services := flag.Int("services", 60, "systemd services in each host's configuration, for an evaluation of some weight")
	options := flag.Int("options", 2000, "submodules that each host of the weight of the real NixOS evaluates besides; 0 leaves that fleet out")
	ssh := flag.String("ssh", "", "a further `LINE` of ssh's configuration, for both sides")
	than := flag.String("than", "", "measure against the godwit that this `FILE` is, in place of the tools")
	flag.Parse()
	if err := run(*hosts, *runs, *services, *options, *ssh, *than); err != nil {
		fmt.Fprintln(os.Stderr, "bench/deploy:", err)
		os.Exit(1)
	}
}

type bench struct {
	dir      string
	fleet    string // the person's folder: nothing else is written there, so it stays unchanged
	names    []string
	services int
	options  int
	env      []string
	godwit   string
}

func run(n, runs, services, options int, ssh, than string) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, fleet: filepath.Join(dir, "fleet"), services: services, godwit: filepath.Join(dir, "godwit")}
	if err := os.Mkdir(b.fleet, 0o755); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", b.godwit, "godwit/cmd/godwit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build godwit: %w\n%s", err, out)
	}

	fmt.Fprintf(os.Stderr, "starting %d hosts\n", n)
	for i := range n {
		b.names = append(b.names, fmt.Sprintf("node%02d", i))
	}
	list, remove, err := lab.StartFleet(ctx, filepath.Join(dir, "lab"), b.names)
	if err != nil {
		return err
	}
	defer remove()
	config := filepath.Join(dir, "ssh_config")
	if err := lab.WriteSSHConfig(config, list...); err != nil {
		return err
	}
	if ssh != "" {
		f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "\nHost *\n  %s\n", ssh)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
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

	// The two ways may make different systems of the same configuration, so each of
	// them goes first once by itself: a no-op is one after its own.
	loop := func() (sample, error) { return b.timed("sh", "-c", b.loop()) }
	evaluate := func() (sample, error) { return b.timed("sh", "-c", b.instantiate()+" >/dev/null") }
	if than != "" {
		before := *b
		// What a godwit remembers is its own.
		before.godwit, before.env = than, append(slices.Clone(b.env), "XDG_STATE_HOME="+filepath.Join(dir, "state-of-other"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache-of-other"))
		loop = func() (sample, error) { return before.deploy() }
		evaluate = func() (sample, error) {
			s, err := before.deploy()
			s.wall = s.evaluation
			return s, err
		}
		if _, err := loop(); err != nil {
			return err
		}
	}
	measure := func(prepare func(again func() error) error) (own, other []sample, err error) {
		var pair [2][]sample
		for range runs {
			for side, run := range []func() (sample, error){func() (sample, error) { return b.deploy() }, loop} {
				if err := prepare(func() error { _, err := run(); return err }); err != nil {
					return nil, nil, err
				}
				s, err := run()
				if err != nil {
					return nil, nil, err
				}
				pair[side] = append(pair[side], s)
			}
		}
		return pair[0], pair[1], nil
	}
	type row struct {
		name       string
		own, other []sample
	}
	var rows []row
	fleet := func(what string) error {
		fmt.Fprintln(os.Stderr, what+": evaluation")
		var plain, own, outside []sample
		for range runs {
			s, err := evaluate()
			if err != nil {
				return err
			}
			plain = append(plain, s)
			if s, err = b.deploy("--no-eval-cache"); err != nil {
				return err
			}
			own = append(own, sample{wall: s.evaluation, rss: s.rss})
		}
		fmt.Fprintln(os.Stderr, what+": no-op")
		// The fleet has not changed, so hosts are taken as they were evaluated before: of a file
		// the first evaluation tells what it reads, and the second one keeps what came out.
		for range 2 {
			if _, err := b.deploy(); err != nil {
				return err
			}
		}
		noop, other, err := measure(func(again func() error) error { return again() })
		if err != nil {
			return err
		}
		var beside []sample
		for i, s := range noop {
			outside = append(outside, sample{wall: s.wall - s.evaluation})
			if than != "" {
				beside = append(beside, sample{wall: other[i].wall - other[i].evaluation})
			}
		}
		rows = append(rows, row{what + ": evaluation", own, plain}, row{what + ": no-op", noop, other}, row{"  of it outside evaluation", outside, beside})
		return nil
	}
	if err := fleet("light hosts"); err != nil {
		return err
	}
	if options > 0 {
		b.options = options
		b.write(fmt.Sprintf("change %d", word))
		if err := fleet("hosts of real weight"); err != nil {
			return err
		}
		b.options = 0
		change()
	}
	fmt.Fprintln(os.Stderr, "light hosts: one line changed")
	own, other, err := measure(func(again func() error) error {
		if err := again(); err != nil {
			return err
		}
		change()
		return nil
	})
	if err != nil {
		return err
	}
	rows = append(rows, row{"light hosts: one line changed", own, other})

	against := "evaluation against one nix-instantiate, the rest against a shell loop"
	if than != "" {
		against = "against " + than
	}
	fmt.Printf("%d hosts, %d runs, medians; %s\n\n", n, runs, against)
	fmt.Printf("%-34s %10s %10s %8s %18s\n", "", "godwit", "other", "ratio", "largest process")
	for _, r := range rows {
		if r.other == nil {
			fmt.Printf("%-34s %9.2fs\n", r.name, seconds(r.own))
			continue
		}
		fmt.Printf("%-34s %9.2fs %9.2fs %8.2f %6dMB %7dMB\n", r.name, seconds(r.own), seconds(r.other), ratio(r.own, r.other), rss(r.own)>>20, rss(r.other)>>20)
	}
	return nil
}

// write writes the fleet, as a morph network and as a plain set of toplevels.
func (b *bench) write(word string) {
	var hosts strings.Builder
	for _, name := range b.names {
		fmt.Fprintf(&hosts, "  %s = common;\n", name)
	}
	modules := fmt.Sprintf(`({ lib, name, ... }: {
    nixpkgs.hostPlatform = "x86_64-linux";
    system.stateVersion = "24.05";
    environment.etc."bench".text = "%s";
    systemd.services = lib.listToAttrs (map (i: lib.nameValuePair "bench-${toString i}" {
      description = "service ${toString i} of ${name}";
      after = [ "network.target" ];
      environment.NUMBER = toString i;
      script = "exec sleep ${toString i}";
    }) (lib.range 1 %d));
  }) `, word, b.services) + b.weight()
	must(os.WriteFile(filepath.Join(b.fleet, "network.nix"), []byte("let common = { ... }: { imports = [ "+modules+"]; deployment.targetUser = \"root\"; }; in {\n"+hosts.String()+"}\n"), 0o644))
	plain := `let
  evalConfig = import <nixpkgs/nixos/lib/eval-config.nix>;
  system = name: (evalConfig { system = null; specialArgs = { inherit name; }; modules = [ ` + modules + `{ networking.hostName = name; } ]; }).config.system.build.toplevel;
in {
` + strings.ReplaceAll(hosts.String(), "= common;", "= null;") + "}\n"
	for _, name := range b.names {
		plain = strings.Replace(plain, name+" = null;", fmt.Sprintf("%s = system %q;", name, name), 1)
	}
	must(os.WriteFile(filepath.Join(b.fleet, "plain.nix"), []byte(plain), 0o644))
}

// weight is a module that takes long to evaluate and changes nothing.
func (b *bench) weight() string {
	if b.options == 0 {
		return ""
	}
	return fmt.Sprintf(`({ config, lib, ... }: {
    options.weight = lib.mkOption {
      type = lib.types.attrsOf (lib.types.submodule ({ name, ... }: { options = {
        number = lib.mkOption { type = lib.types.int; default = 1; };
        words = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; };
        label = lib.mkOption { type = lib.types.str; default = name; };
      }; }));
    };
    config.weight = lib.listToAttrs (map (i: lib.nameValuePair "item-${toString i}" { number = i; words = [ "a" "b" ]; }) (lib.range 1 %d));
    config.assertions = [ { assertion = lib.all (w: w.number > 0 && w.label != "" && w.words != [ ]) (lib.attrValues config.weight); message = "weight"; } ];
  }) `, b.options)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (b *bench) instantiate() string {
	return fmt.Sprintf("nix-instantiate %s/plain.nix", b.fleet)
}

// loop is a deploy as people write it.
func (b *bench) loop() string {
	return fmt.Sprintf(`set -e
cd %[3]s
nix-instantiate plain.nix >/dev/null 2>&1
for host in %[2]s; do
	system=$(nix-build plain.nix -A "$host" --no-out-link 2>/dev/null)
	nix-copy-closure --to "root@$host" "$system" >/dev/null 2>&1
	ssh -F %[1]s/ssh_config "root@$host" "nix-env -p /nix/var/nix/profiles/system --set $system && $system/bin/switch-to-configuration switch" >/dev/null 2>&1
done
`, b.dir, strings.Join(b.names, " "), b.fleet)
}

type sample struct {
	wall       time.Duration
	evaluation time.Duration
	rss        int64 // bytes, of the largest process
}

func (b *bench) deploy(extra ...string) (sample, error) {
	args := append([]string{"deploy", filepath.Join(b.fleet, "network.nix"), "switch", "--json"}, extra...)
	if slices.Contains(extra, "--progress=plain") {
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
