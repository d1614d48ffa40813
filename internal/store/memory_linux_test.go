package store

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// What this test binary is in a process of its own: a fake store, or what copies
// between such stores.
const (
	roleVar   = "GODWIT_TEST_ROLE"
	roleHost  = "host"
	roleFrom  = "source"
	roleCopy  = "copy"
	manyHosts = 50
	manyPaths = 3000
)

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleVar); role {
	case "":
		os.Exit(m.Run())
	case roleCopy:
		err = copyMany()
	default:
		f := newFake(new(testing.T))
		if role == roleFrom {
			many(f)
		}
		err = f.serve(os.Stdin, os.Stdout, role == roleHost)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// many is a closure with as many paths as a desktop's, and 16 MiB in large ones.
func many(f *fakeStore) (top string) {
	var all []string
	for k := range manyPaths {
		var refs []string
		for r := 1; r <= 8 && k > 0; r++ {
			refs = append(refs, all[k*r*7919%len(all)])
		}
		all = append(all, f.add(fmt.Sprintf("some-package-of-this-name-%d", k), 300, refs...))
	}
	for k := range 4 {
		all = append(all, f.add(fmt.Sprintf("large-%d", k), 4<<20))
	}
	return f.add("top", 100, all...)
}

// role is an endpoint that is this test binary.
func role(name string) Endpoint {
	return FromCmd(name, func(ctx context.Context, _ bool) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), roleVar+"="+name)
		return cmd
	})
}

func copyMany() error {
	top := os.Getenv(roleVar + "_TOP")
	dests := make([]Dest, manyHosts)
	for k := range dests {
		dests[k] = Dest{Endpoint: role(roleHost), Host: fmt.Sprint("h", k), Roots: []string{top}}
	}
	for _, r := range Copy(context.Background(), role(roleFrom), dests, Options{}, nil) {
		if r.Err != nil || r.Paths != manyPaths+5 {
			return fmt.Errorf("%s: %d paths: %w", r.Host, r.Paths, r.Err)
		}
	}
	// Not what getrusage says, which begins with what the parent has.
	status, err := os.ReadFile("/proc/self/status")
	_, _ = os.Stdout.Write(status)
	return err
}

// TestMemory copies a large closure to many hosts. What their stores take is
// theirs.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	limit := 64 << 10
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		limit *= 10 // its detector takes several times as much
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+roleCopy, roleVar+"_TOP="+many(newFake(t)))
	out, err := cmd.CombinedOutput()
	var peak int
	if _, text, ok := strings.Cut(string(out), "VmHWM:"); err != nil || !ok {
		t.Fatalf("%v\n%s", err, out)
	} else if _, err := fmt.Sscan(text, &peak); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%d paths to %d hosts: at most %d MiB", manyPaths, manyHosts, peak>>10)
	if peak > limit {
		t.Errorf("took %d KiB", peak)
	}
}
