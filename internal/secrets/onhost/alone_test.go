//go:build linux

package onhost

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTwoAtOnce: the two units of a boot may start at the same moment.
func TestTwoAtOnce(t *testing.T) {
	m := newMachine(t)
	release := m.receive(entry("a", "1"), entry("b", "2"))
	m.must(swap(filepath.Base(release), m.State+"/secrets-1-link"))
	m.must(swap("secrets-1-link", m.State+"/secrets"))
	for range 50 {
		m.must(os.RemoveAll(m.Run))
		var both sync.WaitGroup
		for _, stage := range []string{early, late} {
			h := *m.Host
			h.Stage = stage
			both.Go(func() {
				if err := h.run([]string{"boot"}, nil, io.Discard); err != nil {
					t.Errorf("%s: %v", stage, err)
				}
			})
		}
		both.Wait()
		m.is("a", "1")
		m.is("b", "2")
		if _, err := os.Lstat(m.link() + "/.boot"); err == nil {
			t.Error("what the early one left to do is left")
		}
		if t.Failed() {
			return
		}
	}

	// One that does not end is not waited for for ever; what only looks does not wait.
	fd, err := unix.Open(m.State, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	m.must(err)
	m.must(unix.Flock(fd, unix.LOCK_EX))
	m.must(m.run([]string{"check", release}, nil, io.Discard))
	m.Wait = 50 * time.Millisecond
	m.refuses(m.run([]string{"settle"}, nil, io.Discard), "another godwit-secrets is at work in")
	m.must(unix.Close(fd))
	m.must(m.run([]string{"settle"}, nil, io.Discard))
}

// TestChangedMeanwhile: a secret that changes again while its unit restarts is not forgotten.
func TestChangedMeanwhile(t *testing.T) {
	m := newMachine(t)
	m.must(os.MkdirAll(m.State, 0o700))
	m.must(os.MkdirAll(m.folder(), 0o700))
	m.must(m.writeDue(map[string]int64{"a.service": 5, "b.service": 6}))
	m.must(m.undue("a.service", 4))
	m.must(m.undue("b.service", 6))
	if due := m.readDue(); len(due) != 1 || due["a.service"] != 5 {
		t.Errorf("due: %v", due)
	}
}

// TestUnitsOrder: the late unit runs after the early one also where nothing makes users
// between the two, as on most hosts.
func TestUnitsOrder(t *testing.T) {
	m := newMachine(t)
	m.must(m.Deliver(m.receive(entry("a", "1"))))
	text, err := os.ReadFile(m.Systemd + "/system.attached/" + unitService)
	m.must(err)
	if !strings.Contains(string(text), "\nAfter="+unitUsers+" ") {
		t.Errorf("%s", text)
	}
	module, err := os.ReadFile("module.nix")
	m.must(err)
	if !strings.Contains(string(module), `after = [ "`+unitUsers+`" `) {
		t.Error("module.nix")
	}
}
