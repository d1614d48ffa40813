package ssh_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/ssh/sshtest"
)

// TestOddFile: a key or a known_hosts file that is a pipe is said to be one, at once.
func TestOddFile(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"IdentityFile", "UserKnownHostsFile", "GlobalKnownHostsFile"} {
		o := s.Options()
		o.ExtraArgs = append(o.ExtraArgs, "-o", option+"="+fifo)
		h := s.HostWith(t, "web1", o)
		begin := time.Now()
		err := h.Connect(t.Context())
		text := fault.Render(err)
		if !strings.Contains(text, "web1: ssh would wait for "+fifo+" without end: it is a pipe, not a regular file") ||
			!strings.Contains(strings.ToLower(text), "it is the "+strings.ToLower(option)) || host.KindOf(err) != host.BadConfig {
			t.Errorf("%s: %s", option, text)
		}
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("%s: it took %s", option, took)
		}
	}
}
