package hostile_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/health"
	"godwit/internal/hoststate"
	"godwit/internal/plan"
	"godwit/internal/reboot"
	"godwit/internal/secrets"
	"godwit/internal/ssh"
	"godwit/test/hostile"
)

// TestReaders feeds everything that reads a host an endless line and an endless stream:
// lines that mean nothing, and lines that it keeps. Each ends with an error, soon, and
// without the memory of this machine.
func TestReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("endless answers take all that a processor has")
	}
	source := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(source, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	hostname := fleet.Host{Name: "web1", Secrets: []fleet.Secret{{Name: "s", From: fleet.Content{File: source}, Destination: "/run/s", User: "root", Group: "root", Permissions: "0400"}}}
	const system = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-nixos"
	scope := event.On(event.Discard, "web1", event.StepSecrets)
	readers := map[string]func(ctx context.Context, h *ssh.Host) error{
		"status": func(ctx context.Context, h *ssh.Host) error { _, _, err := activate.Status(ctx, h, "web1"); return err },
		"history": func(ctx context.Context, h *ssh.Host) error {
			_, err := activate.History(ctx, h, "web1", 10)
			return err
		},
		"preflight": func(ctx context.Context, h *ssh.Host) error {
			_, err := activate.Preflight(ctx, h, activate.Request{Host: "web1", NewSystem: system, Action: activate.Switch})
			return err
		},
		"look": func(ctx context.Context, h *ssh.Host) error { _, err := hoststate.Look(ctx, h, hostname); return err },
		"plan": func(ctx context.Context, h *ssh.Host) error {
			_, err := plan.Look(ctx, h, plan.Ask{Host: "web1", System: system})
			return err
		},
		"failed units": func(ctx context.Context, h *ssh.Host) error { _, err := health.FailedUnits(ctx, h); return err },
		"boot loader":  func(ctx context.Context, h *ssh.Host) error { _, err := reboot.Probe(ctx, h, "web1"); return err },
		"compare":      func(ctx context.Context, h *ssh.Host) error { _, err := secrets.Compare(ctx, h, hostname); return err },
		"upload": func(ctx context.Context, h *ssh.Host) error {
			_, err := secrets.Upload(ctx, h, hostname, secrets.Options{}, scope)
			return err
		},
	}
	for what, text := range map[string]string{
		"an endless line": "x", "endless lines": "nothing of note\n", "endless facts": "::godwit fact failed x\n::godwit refused no\n", "endless generations": "generation system-1-link 1.0 /nix/store/x\nfailed x\n",
		"endless units": "a.service loaded failed failed\n", "endless log": "::godwit data 0 9223372036854775807\n",
	} {
		if testing.Short() && what != "an endless line" && what != "endless facts" {
			continue
		}
		s := hostile.Start(t, hostile.Host{Command: func(c *hostile.Command) {
			switch {
			case c.IsLogin():
				c.Good()
			case c.Is("( 'true' )"): // becoming root
				c.Begin()
			default:
				c.Begin()
				c.Endless(c.Stdout(), text)
			}
		}})
		pool, err := ssh.NewPool(ssh.Options{ConfigFile: s.ConfigFile})
		if err != nil {
			t.Fatal(err)
		}
		h := pool.Host(ssh.Target{Name: "web1", Host: "127.0.0.1", Port: s.Port})
		for name, read := range readers {
			peak, stop := heap()
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			err := read(ctx, h)
			cancel()
			stop()
			if err == nil || !strings.Contains(err.Error(), "web1") && !strings.Contains(err.Error(), "longer than") {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if took := time.Since(begun); took > 30*time.Second || *peak > 48<<20 {
				t.Errorf("%s, %s: %.1f s, %d MiB: %v", name, what, took.Seconds(), *peak>>20, err)
			}
			t.Logf("%s, %s: %.2f s, %d MiB: %v", name, what, time.Since(begun).Seconds(), *peak>>20, err)
		}
		pool.Close()
	}
}

// heap measures how much the heap grows at most until stop. Garbage is collected early
// meanwhile: a busy machine would leave as much of it again.
func heap() (peak *int64, stop func()) {
	percent := debug.SetGCPercent(20)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := int64(m.HeapInuse)
	peak = new(int64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			*peak = max(*peak, int64(m.HeapInuse)-before)
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return peak, func() { close(quit); <-done; debug.SetGCPercent(percent) }
}
