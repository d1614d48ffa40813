// Command flake measures the evaluation of fleets, side by side in one run: godwit
// cold, godwit again on the unchanged tree, and one process of Nix that evaluates the
// same attributes.
//
//	go run ./bench/flake [-hosts 10] [-many 100] [-runs 3] [-options 2000] [-modules 500]
//
// The metadata is that of -many light hosts (`godwit hosts`), once where it is options of
// the hosts and once where it is the output godwit; and that of as many hosts with -modules
// more modules, which any question about a host has to collect, as it has to with the
// modules of the real NixOS. The systems are those of -hosts hosts
// of about the weight that was measured with the modules of the real NixOS
// (bench/deploy), in a flake, a deployment file of morph's and a hive.nix; `godwit build
// --dry-run` evaluates them and asks what would be built. Of a file the first run only
// notes what it reads, and the second one keeps results, so the third is "again".
//
// The last lines are what it costs to find the configuration: again, where nobody named it,
// against again with its name.
//
// It needs Nix and git, and nothing else. Medians of whole processes' wall times are
// printed, and medians of the ratios of pairs.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	hosts := flag.Int("hosts", 10, "hosts whose systems are evaluated")
	many := flag.Int("many", 100, "hosts whose metadata is")
	runs := flag.Int("runs", 3, "measured runs of each kind")
	options := flag.Int("options", 2000, "submodules that each of -hosts evaluates besides")
	modules := flag.Int("modules", 500, "modules that each of -many hosts has besides, where they have weight")
	flag.Parse()
	if err := run(*hosts, *many, *runs, *options, *modules); err != nil {
		fmt.Fprintln(os.Stderr, "bench/flake:", err)
		os.Exit(1)
	}
}

func run(hosts, many, runs, options, modules int) error {
	dir, err := os.MkdirTemp("", "bench-flake-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	repo, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	b := &bench{dir: dir, runs: runs, godwit: filepath.Join(dir, "godwit"), nixpkgs: filepath.Join(repo, "test", "nixos")}
	if out, err := exec.Command("go", "build", "-o", b.godwit, "./cmd/godwit").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	b.env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "NIX_PATH=nixpkgs="+b.nixpkgs,
		"NIX_CONFIG=build-users-group =\nsubstituters =\nsandbox = false\nextra-experimental-features = nix-command flakes\n")
	fmt.Printf("%-38s %8s %8s %8s %10s %10s %8s\n", "median of wall times", "nix", "cold", "again", "cold/nix", "again/nix", "peak MB")
	nix := func(fun string) []string {
		return []string{"nix", "eval", "--json", ".#nixosConfigurations", "--apply", "c: builtins.mapAttrs (_: n: " + fun + ") c"}
	}
	platform := nix("[ n.config.nixpkgs.hostPlatform.system n.config.networking.hostName ]")
	system := nix("n.config.system.build.toplevel.drvPath")
	plain := []string{"nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "plain.nix"}
	hostsVerb, buildVerb := []string{"hosts"}, []string{"build", "--dry-run"}
	for _, c := range []kind{
		{fmt.Sprintf("metadata of %d hosts, deployment.*", many), b.flake(many, weight(0), false), platform, hostsVerb, nil},
		{fmt.Sprintf("metadata of %d hosts, godwit", many), b.flake(many, weight(0), true), platform, hostsVerb, []string{"hosts", "--flake", ".#godwit"}},
		{fmt.Sprintf("the same, %d modules more", modules), b.flake(many, bulk(modules), false), platform, hostsVerb, nil},
		{fmt.Sprintf("systems of %d hosts, flake", hosts), b.flake(hosts, weight(options), false), system, buildVerb, nil},
		{fmt.Sprintf("systems of %d hosts, morph", hosts), b.file("network.nix", hosts, options), plain, buildVerb, []string{"build", "--dry-run", "network.nix"}},
		{fmt.Sprintf("systems of %d hosts, hive.nix", hosts), b.file("hive.nix", hosts, options), plain, buildVerb, []string{"build", "--dry-run", "hive.nix"}},
	} {
		if err := b.measure(c); err != nil {
			return err
		}
	}
	for _, l := range b.found {
		fmt.Println(l)
	}
	return nil
}

// kind is one way to write a fleet down.
type kind struct {
	name  string
	files map[string]string
	plain []string // what Nix itself does
	verb  []string
	named []string // the verb with the configuration's name; nil: its finding is not measured
}

type bench struct {
	dir, godwit, nixpkgs string
	env                  []string
	runs, made           int
	found                []string
}

// weight is a module with submodules that show nothing in the system.
func weight(n int) string {
	return fmt.Sprintf(`({ lib, config, ... }: {
      options.weight = lib.mkOption { default = { }; type = lib.types.attrsOf (lib.types.submodule ({ name, ... }: {
        options = { number = lib.mkOption { type = lib.types.int; }; words = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; }; label = lib.mkOption { type = lib.types.str; default = name; }; };
      })); };
      config.weight = lib.listToAttrs (map (i: lib.nameValuePair "item-${toString i}" { number = i; words = [ "a" "b" ]; }) (lib.range 1 %d));
      config.assertions = [ { assertion = lib.all (w: w.number > 0 && w.label != "" && w.words != [ ]) (lib.attrValues config.weight); message = "weight"; } ];
    })`, n)
}

// bulk is a module of n others, each with an option and what sets it.
func bulk(n int) string {
	return fmt.Sprintf(`({ lib, ... }: { imports = map (i: { lib, config, ... }: {
      options.bulk."n${toString i}" = { enable = lib.mkEnableOption "it"; words = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; }; };
      config = lib.mkIf config.bulk."n${toString i}".enable { networking.hostName = "never"; };
    }) (lib.range 1 %d); })`, n)
}

// file is a fleet in a file, and the same systems for Nix alone.
func (b *bench) file(name string, n, options int) map[string]string {
	fleet, plain := "let common = { imports = [ ./common.nix ]; }; in {\n", "let system = name: (import <nixpkgs/nixos/lib/eval-config.nix> { system = null; modules = [ ./common.nix { networking.hostName = name; } ]; }).config.system.build.toplevel.drvPath; in {\n"
	if name == "hive.nix" {
		fleet += "  meta.nixpkgs = import <nixpkgs> { system = \"x86_64-linux\"; };\n"
	}
	for i := range n {
		fleet += fmt.Sprintf("  h%d = common;\n", i)
		plain += fmt.Sprintf("  h%d = system \"h%d\";\n", i, i)
	}
	return map[string]string{name: fleet + "}\n", "plain.nix": plain + "}\n", "common.nix": `{ imports = [ ` + weight(options) + ` ];
  nixpkgs.hostPlatform = "x86_64-linux"; boot.isContainer = true; system.stateVersion = "24.05";
}
`}
}

// flake is a flake of n hosts.
func (b *bench) flake(n int, module string, own bool) map[string]string {
	godwit := ""
	if own {
		godwit = `godwit.hosts = nixpkgs.lib.genAttrs names (name: { address = "10.0.0.1"; tags = [ "a" ]; platform = "x86_64-linux"; });`
	}
	return map[string]string{"flake.nix": fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  outputs = { self, nixpkgs }: let
    names = map (i: "h${toString i}") (nixpkgs.lib.range 1 %d);
    weight = %s;
  in {
    nixosConfigurations = nixpkgs.lib.genAttrs names (name: nixpkgs.lib.nixosSystem { modules = [ weight {
      nixpkgs.hostPlatform = "x86_64-linux"; networking.hostName = name; boot.isContainer = true; system.stateVersion = "24.05";
    } ]; });
    %s
  };
}
`, b.nixpkgs, n, module, godwit)}
}

// repository writes a tree that was never seen.
func (b *bench) repository(files map[string]string) (string, error) {
	b.made++
	repo := filepath.Join(b.dir, fmt.Sprintf("repo-%d", b.made))
	if err := os.Mkdir(repo, 0o755); err != nil {
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text+strings.Repeat("#", b.made)+"\n"), 0o644); err != nil {
			return "", err
		}
	}
	git := func(args ...string) error {
		if out, err := exec.Command("git", append([]string{"-C", repo, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("git: %w\n%s", err, out)
		}
		return nil
	}
	if err := git("init", "-q", "."); err != nil {
		return "", err
	}
	if err := git("add", "."); err != nil {
		return "", err
	}
	if files["flake.nix"] != "" {
		if _, _, err := b.timed(repo, "nix", "flake", "lock"); err != nil {
			return "", err
		}
		if err := git("add", "."); err != nil {
			return "", err
		}
	}
	return repo, git("commit", "-qm", "x")
}

// measure runs all ways in turns; each cold run is of a tree that was never seen.
func (b *bench) measure(k kind) error {
	var plain, cold, warm, named []float64
	peak := int64(0)
	for range b.runs {
		repo, err := b.repository(k.files)
		if err != nil {
			return err
		}
		run := func(times *[]float64, args ...string) error {
			s, kb, err := b.timed(repo, args[0], args[1:]...)
			if err == nil && times != nil {
				*times = append(*times, s)
			}
			if times == &cold {
				peak = max(peak, kb)
			}
			return err
		}
		own := append([]string{b.godwit}, k.verb...)
		steps := []struct {
			times *[]float64
			args  []string
		}{{&plain, k.plain}, {&cold, own}}
		if k.files["flake.nix"] == "" {
			steps = append(steps, struct {
				times *[]float64
				args  []string
			}{nil, own})
		}
		steps = append(steps, struct {
			times *[]float64
			args  []string
		}{&warm, own})
		for _, s := range steps {
			if err := run(s.times, s.args...); err != nil {
				return err
			}
		}
		if k.named != nil {
			// A name may be another way to ask, with results of its own.
			for _, times := range []*[]float64{nil, nil, &named} {
				if err := run(times, append([]string{b.godwit}, k.named...)...); err != nil {
					return err
				}
			}
		}
	}
	cp, wp := ratio(cold, plain), ratio(warm, plain)
	p, c, w := median(plain), median(cold), median(warm)
	if k.named != nil {
		b.found = append(b.found, fmt.Sprintf("finding %-30s %+7.0f ms of %.0f ms", strings.Fields(k.name)[len(strings.Fields(k.name))-1], 1000*(w-median(named)), 1000*w))
	}
	fmt.Printf("%-38s %7.2fs %7.2fs %7.2fs %10.2f %10.2f %8d\n", k.name, p, c, w, cp, wp, peak>>10)
	return nil
}

// ratio is the median of the ratios of pairs.
func ratio(a, b []float64) float64 {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = a[i] / b[i]
	}
	return median(v)
}

// timed is the wall time of a process in seconds, and the memory of the largest of it and
// its children in KiB.
func (b *bench) timed(dir, program string, args ...string) (float64, int64, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, b.env
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return time.Since(began).Seconds(), usage.Maxrss, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
