// Command labctl starts and removes lasting lab hosts, for the demo and for
// trying things by hand.
//
//	labctl up NAME [--suite SUITE] [--arch ARCH] [--state DIR]
//	labctl down [NAME...] [--state DIR]      (all hosts of the directory without NAME)
//	labctl info NAME [--state DIR]           (JSON)
//	labctl exec NAME SCRIPT [--state DIR]    (as root, from outside)
//	labctl ssh-config FILE [--state DIR]     (all hosts of the directory)
//	labctl image SUITE ARCH
//	labctl builder-archive ARCH
//	labctl sweep                             (everything of every run)
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"godwit/test/images"
	"godwit/test/lab"
)

const usage = "usage: labctl up NAME [--suite S] [--arch A] [--state DIR] | down [NAME...] [--state DIR] | info NAME [--state DIR] | exec NAME SCRIPT [--state DIR] | ssh-config FILE [--state DIR] | image SUITE ARCH | builder-archive ARCH | sweep"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "labctl:", err)
	}
	os.Exit(code)
}

// run carries out a command line and returns the exit status.
func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New(usage)
	}
	flags := flag.NewFlagSet("labctl", flag.ContinueOnError)
	suite := flags.String("suite", "", "Debian suite: bookworm, trixie or forky")
	arch := flags.String("arch", "", "architecture: amd64 or arm64")
	state := flags.String("state", defaultState(), "directory of the hosts' keys and names")
	nixSize := flags.String("nix-size", "", "put /nix on a tmpfs of this size")
	words, err := parse(flags, args[1:])
	if err != nil {
		return 2, err
	}
	need := func(n int) error {
		if len(words) != n {
			return errors.New(usage)
		}
		return nil
	}
	switch args[0] {
	case "up":
		if err := need(1); err != nil {
			return 2, err
		}
		h, err := lab.Start(ctx, lab.Spec{Name: words[0], Suite: *suite, Arch: *arch, Dir: *state,
			Run: "kept", Keep: true, NixSize: *nixSize, Log: os.Stderr})
		if err != nil {
			return 1, err
		}
		return print(h)
	case "down":
		if len(words) == 0 {
			if words, err = lab.Names(*state); err != nil {
				return 1, err
			}
		}
		for _, name := range words {
			h, err := lab.Load(*state, name)
			if err != nil {
				fmt.Fprintln(os.Stderr, "labctl:", err)
				continue
			}
			if err := h.Remove(ctx); err != nil {
				return 1, err
			}
			fmt.Fprintf(os.Stderr, "lab: removed %s\n", name)
		}
		return 0, nil
	case "info":
		if err := need(1); err != nil {
			return 2, err
		}
		h, err := lab.Load(*state, words[0])
		if err != nil {
			return 1, err
		}
		return print(h)
	case "exec":
		if err := need(2); err != nil {
			return 2, err
		}
		h, err := lab.Load(*state, words[0])
		if err != nil {
			return 1, err
		}
		r := h.Exec(ctx, words[1])
		fmt.Fprint(os.Stdout, r.Stdout)
		fmt.Fprint(os.Stderr, r.Stderr)
		return max(r.Exit, 0), r.Err
	case "ssh-config":
		if err := need(1); err != nil {
			return 2, err
		}
		names, err := lab.Names(*state)
		if err != nil {
			return 1, err
		}
		var hosts []*lab.Host
		for _, name := range names {
			h, err := lab.Load(*state, name)
			if err != nil {
				return 1, err
			}
			hosts = append(hosts, h)
		}
		if err := lab.WriteSSHConfig(words[0], hosts...); err != nil {
			return 1, err
		}
		return 0, nil
	case "image":
		if err := need(2); err != nil {
			return 2, err
		}
		name, err := images.Make(ctx, words[0], words[1], os.Stderr)
		if err != nil {
			return 1, err
		}
		fmt.Println(name)
		return 0, nil
	case "builder-archive":
		if err := need(1); err != nil {
			return 2, err
		}
		path, err := images.BuilderArchive(ctx, words[0], os.Stderr)
		if err != nil {
			return 1, err
		}
		fmt.Println(path)
		return 0, nil
	case "sweep":
		if err := lab.Sweep(ctx, ""); err != nil {
			return 1, err
		}
		return 0, nil
	case "help", "-h", "--help":
		fmt.Println(usage)
		return 0, nil
	}
	return 2, fmt.Errorf("unknown command %q: %s", args[0], usage)
}

// parse takes options before and after the words.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var words []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		args = flags.Args()
		if len(args) == 0 {
			return words, nil
		}
		words = append(words, args[0])
		args = args[1:]
	}
}

func print(h *lab.Host) (int, error) {
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(h); err != nil {
		return 1, err
	}
	return 0, nil
}

// defaultState is where hosts are remembered when nothing else is said.
func defaultState() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "godwit-lab")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "godwit-lab-state")
	}
	return filepath.Join(home, ".local", "state", "godwit-lab")
}
