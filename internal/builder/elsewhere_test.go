package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/ssh"
	"godwit/test/lab"
)

// TestContainerOfOtherNix runs TestContainerInside with the Nix of Debian's
// other suites as the deployer's.
func TestContainerOfOtherNix(t *testing.T) {
	file := archive(t, native(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"trixie", "forky"} {
		t.Run(suite, func(t *testing.T) {
			d := lab.NewDeployer(t, suite, filepath.Dir(exe), filepath.Dir(file))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			env := []string{"GODWIT_TEST_INSIDE=" + space, "GODWIT_TEST_ARCHIVE=" + file}
			out, err := d.Command(ctx, "", env, exe, "-test.run", "^TestContainerInside$", "-test.v").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestContainerInside") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// TestContainerInside builds the way that is chosen for the Nix at hand, and
// the other one as well.
func TestContainerInside(t *testing.T) {
	file := os.Getenv("GODWIT_TEST_ARCHIVE")
	if file == "" {
		file = archive(t, native(t))
	}
	private(t)
	tool := macTool(t)
	ctx := context.Background()
	system := native(t)
	c := newContainer(t, tool, Settings{ImageFile: file, Network: "none"}, system)
	if err := c.Ready(ctx, event.Discard); err != nil {
		t.Fatal(fault.Render(err))
	}
	t.Logf("%s builds with way %d", tool.Version, wayFor(tool.Version))
	x := programs(system)
	chosen := func(r Request, s event.Sink) (*Built, error) { return c.Build(ctx, r, s) }
	relay := func(r Request, s event.Sink) (*Built, error) {
		return buildAt(ctx, tool, c.Name(), c, c.store(), nil, r, s)
	}
	for name, build := range map[string]func(Request, event.Sink) (*Built, error){"chosen": chosen, "relay": relay} {
		top, bad, host := instantiate(t, tool, x, "top"), instantiate(t, tool, x, "bad"), instantiate(t, tool, x, "host")
		sink, events := record()
		mixed := instantiate(t, tool, x, "mixed")
		built, err := build(Request{Prepare: prepareOf(t, tool, mixed), Items: []Item{{Host: "a", Drv: top}, {Host: "b", Drv: bad}, {Host: "c", Drv: host}, {Host: "d", Drv: mixed}}}, sink)
		if err != nil {
			t.Fatalf("%s: %s\n%s", name, fault.Render(err), events())
		}
		if len(built.Outputs) != 2 || len(built.Failed) != 2 {
			t.Fatalf("%s: %v %v\n%s", name, built.Outputs, built.Failed, events())
		}
		if got := readOut(t, c, built.Outputs[top].Path); got != "hello" {
			t.Errorf("%s: top: %q", name, got)
		}
		if got := readOut(t, c, built.Outputs[mixed].Path); got != "made here" {
			t.Errorf("%s: mixed: %q", name, got)
		}
		if text := fault.Render(built.Failed[host]); !strings.Contains(text, "building inner-bad failed: builder failed with exit code 4") || !strings.Contains(text, "| inner words") {
			t.Errorf("%s: %s", name, text)
		}
		if _, err := os.Stat(built.Outputs[top].Path); err == nil {
			t.Errorf("%s: the output came back to this machine", name)
		}
	}
	// Ended half-way, by the way that is chosen.
	slow := instantiate(t, tool, x, "slow")
	cctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := c.Build(cctx, Request{Items: []Item{{Drv: slow}}}, event.SinkFunc(func(e event.Event) {
		if e.Text == "begun" {
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	c.Close()
	nothingRuns(t, c)
}

// TestSSHAndTarget builds on a real host over ssh, as a Mac would.
func TestSSHAndTarget(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a host of the lab")
	}
	private(t)
	h := lab.New(t, lab.Spec{Name: "big"})
	config := filepath.Join(t.TempDir(), "ssh_config")
	if err := lab.WriteSSHConfig(config, h); err != nil {
		t.Fatal(err)
	}
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: config})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	tool := macTool(t)
	ctx := context.Background()
	host := fleet.Host{Name: "big", At: fleet.Address{Host: "big", User: lab.Deploy}, Platform: fleet.Platform{Name: "x86_64-linux"}}
	for _, c := range []struct {
		name, wanted string
		kind         Kind
	}{
		{"root over ssh-ng", "ssh-ng://root@big", KindSSH},
		{"a user who is not trusted", "ssh://" + lab.Nobody + "@big", KindSSH},
		{"the target, with sudo", "target", KindTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := programs("x86_64-linux")
			var hosts []fleet.Host
			for _, attr := range []string{"top", "host"} {
				hh := host
				hh.Profiles = []fleet.Profile{fleet.System(instantiate(t, tool, x, attr), "")}
				hosts = append(hosts, hh)
			}
			sink, events := record()
			chooser, err := NewChooser(ctx, Inputs{Tool: tool, Wanted: c.wanted, SSH: pool, Sink: sink})
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			defer chooser.Close()
			plan, err := chooser.Choose(ctx, hosts[:1], nil)
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			a := plan.Of("big")
			if a == nil || a.Kind != c.kind {
				t.Fatalf("%+v %v", a, plan.Failed)
			}
			built, err := a.Builder.Build(ctx, Request{Items: []Item{{Host: "big", Drv: hosts[0].Main().Drv}, {Host: "two", Drv: hosts[1].Main().Drv}}}, sink)
			if err != nil {
				t.Fatalf("%s\n%s", fault.Render(err), events())
			}
			out := built.Outputs[hosts[0].Main().Drv].Path
			if r := h.Run(ctx, lab.Root, "cat "+out); strings.TrimSpace(r.Stdout) != "hello" {
				t.Errorf("%s: %v\n%s", out, r, events())
			}
			text := fault.Render(built.Failed[hosts[1].Main().Drv])
			if !strings.Contains(text, "building inner-bad failed: builder failed with exit code 4") || !strings.Contains(text, "nix-store --read-log /nix/store/") {
				t.Errorf("%s", text)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		b, err := NewSSH(tool, pool, "ssh-ng://root@127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Ready(ctx, event.Discard); err == nil {
			t.Error("no error")
		} else {
			t.Log(fault.Render(err))
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		b, err := NewTarget(tool, pool, host)
		if err != nil {
			t.Fatal(err)
		}
		cctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_, err = b.Build(cctx, Request{Items: []Item{{Drv: instantiate(t, tool, programs("x86_64-linux"), "slow")}}}, event.SinkFunc(func(e event.Event) {
			if e.Text == "begun" {
				cancel()
			}
		}))
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		for i := 0; ; i++ {
			r := h.Run(ctx, lab.Root, "pgrep -f 'while \\[ \\$n' || true")
			if strings.TrimSpace(r.Stdout) == "" {
				break
			}
			if i == 50 {
				t.Fatalf("the build goes on: %s", r.Stdout)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}
