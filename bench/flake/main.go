// Command flake measures the evaluation of a flake, side by side in one run: godwit
// cold, godwit again on the unchanged tree, and one `nix eval` of the same attributes.
//
//	go run ./bench/flake [-hosts 10] [-many 100] [-runs 3] [-options 2000]
//
// The metadata is that of -many light hosts (`godwit hosts`), once where it is options of
// the hosts and once where it is the output godwit. The systems are those of -hosts hosts
// of about the weight that was measured with the modules of the real NixOS
// (bench/deploy); `godwit build --dry-run` evaluates them and asks what would be built.
//
// It needs Nix and git, and nothing else. Medians of whole processes' wall times are
// printed, and their ratios.
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
	flag.Parse()
	if err := run(*hosts, *many, *runs, *options); err != nil {
		fmt.Fprintln(os.Stderr, "bench/flake:", err)
		os.Exit(1)
	}
}

func run(hosts, many, runs, options int) error {
	dir, err := os.MkdirTemp("", "godwit-bench-flake-")
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
	b.env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"),
		"NIX_CONFIG=build-users-group =\nsubstituters =\nsandbox = false\nextra-experimental-features = nix-command flakes\n")
	fmt.Printf("%-34s %8s %8s %8s %10s %10s %8s\n", "median of wall times", "nix eval", "cold", "warm", "cold/eval", "warm/eval", "peak MB")
	platform := "c: builtins.mapAttrs (_: n: [ n.config.nixpkgs.hostPlatform.system n.config.networking.hostName ]) c"
	system := "c: builtins.mapAttrs (_: n: n.config.system.build.toplevel.drvPath) c"
	for _, c := range []struct {
		name           string
		n, weight      int
		own            bool
		verb           []string
		attribute, fun string
	}{
		{fmt.Sprintf("metadata of %d hosts, deployment.*", many), many, 0, false, []string{"hosts"}, "nixosConfigurations", platform},
		{fmt.Sprintf("metadata of %d hosts, godwit", many), many, 0, true, []string{"hosts"}, "nixosConfigurations", platform},
		{fmt.Sprintf("systems of %d hosts", hosts), hosts, options, false, []string{"build", "--dry-run"}, "nixosConfigurations", system},
	} {
		if err := b.measure(c.name, b.flake(c.n, c.weight, c.own), c.verb, c.attribute, c.fun); err != nil {
			return err
		}
	}
	return nil
}

type bench struct {
	dir, godwit, nixpkgs string
	env                  []string
	runs, made           int
}

// flake is the text of a flake of n hosts.
func (b *bench) flake(n, weight int, own bool) string {
	godwit := ""
	if own {
		godwit = `godwit.hosts = nixpkgs.lib.genAttrs names (name: { address = "10.0.0.1"; tags = [ "a" ]; platform = "x86_64-linux"; });`
	}
	return fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  outputs = { self, nixpkgs }: let
    names = map (i: "h${toString i}") (nixpkgs.lib.range 1 %d);
    weight = { lib, config, ... }: {
      options.weight = lib.mkOption { default = { }; type = lib.types.attrsOf (lib.types.submodule ({ name, ... }: {
        options = { number = lib.mkOption { type = lib.types.int; }; words = lib.mkOption { type = lib.types.listOf lib.types.str; default = [ ]; }; label = lib.mkOption { type = lib.types.str; default = name; }; };
      })); };
      config.weight = lib.listToAttrs (map (i: lib.nameValuePair "item-${toString i}" { number = i; words = [ "a" "b" ]; }) (lib.range 1 %d));
      config.assertions = [ { assertion = lib.all (w: w.number > 0 && w.label != "" && w.words != [ ]) (lib.attrValues config.weight); message = "weight"; } ];
    };
  in {
    nixosConfigurations = nixpkgs.lib.genAttrs names (name: nixpkgs.lib.nixosSystem { modules = [ weight {
      nixpkgs.hostPlatform = "x86_64-linux"; networking.hostName = name; boot.isContainer = true; system.stateVersion = "24.05";
    } ]; });
    %s
  };
}
`, b.nixpkgs, n, weight, godwit)
}

// measure runs the three in turns; each cold run is of a tree that was never seen.
func (b *bench) measure(name, text string, verb []string, attribute, fun string) error {
	var eval, cold, warm []float64
	peak := int64(0)
	for range b.runs {
		b.made++
		repo := filepath.Join(b.dir, fmt.Sprintf("repo-%d", b.made))
		if err := os.Mkdir(repo, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(repo, "flake.nix"), []byte(text+strings.Repeat("#", b.made)+"\n"), 0o644); err != nil {
			return err
		}
		for _, args := range [][]string{{"init", "-q", "."}, {"add", "."}} {
			if out, err := exec.Command("git", append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
				return fmt.Errorf("git: %w\n%s", err, out)
			}
		}
		if _, _, err := b.timed(repo, "nix", "flake", "lock"); err != nil {
			return err
		}
		if out, err := exec.Command("git", "-C", repo, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qam", "x").CombinedOutput(); err != nil {
			return fmt.Errorf("git: %w\n%s", err, out)
		}
		if out, err := exec.Command("git", "-C", repo, "add", ".").CombinedOutput(); err != nil {
			return fmt.Errorf("git: %w\n%s", err, out)
		}
		for _, way := range []struct {
			times *[]float64
			args  []string
		}{
			{&eval, []string{"nix", "eval", "--json", ".#" + attribute, "--apply", fun}},
			{&cold, append([]string{b.godwit}, verb...)},
			{&warm, append([]string{b.godwit}, verb...)},
		} {
			s, kb, err := b.timed(repo, way.args[0], way.args[1:]...)
			if err != nil {
				return err
			}
			*way.times = append(*way.times, s)
			if way.times == &cold {
				peak = max(peak, kb)
			}
		}
	}
	e, c, w := median(eval), median(cold), median(warm)
	fmt.Printf("%-34s %7.2fs %7.2fs %7.2fs %10.2f %10.2f %8d\n", name, e, c, w, c/e, w/e, peak>>10)
	return nil
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
	slices.Sort(v)
	return v[len(v)/2]
}
