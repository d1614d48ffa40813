package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A state directory holds what clients need to reach the hosts:
//
//	id_ed25519, id_ed25519.pub   the client's key
//	known_hosts                  the hosts' keys, as [127.0.0.1]:PORT
//	hosts/NAME.json              what "labctl info" prints
//	lock                         taken while any of these is written

// IdentityFile is the path of the client's private key in a state directory.
func IdentityFile(dir string) string { return filepath.Join(dir, "id_ed25519") }

// KnownHostsFile is the path of the hosts' public keys in a state directory.
func KnownHostsFile(dir string) string { return filepath.Join(dir, "known_hosts") }

// withLock runs f while no other process writes to the state directory.
func withLock(dir string, f func() error) error {
	if err := os.MkdirAll(filepath.Join(dir, "hosts"), 0o700); err != nil {
		return fmt.Errorf("cannot make the lab's state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock the lab's state directory: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("cannot lock the lab's state directory: %w", err)
	}
	return f()
}

// ensureKey makes the client's key once and returns the public key's line.
func ensureKey(dir string) (string, error) {
	var public string
	err := withLock(dir, func() error {
		path := IdentityFile(dir)
		if _, err := os.Stat(path); err != nil {
			out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "godwit-lab", "-f", path).CombinedOutput()
			if err != nil {
				return fmt.Errorf("cannot make an ssh key: %w: %s", err, bytes.TrimSpace(out))
			}
		}
		data, err := os.ReadFile(path + ".pub")
		public = strings.TrimSpace(string(data))
		return err
	})
	return public, err
}

// setKnownHost replaces the entries of a port; key "" removes them.
func setKnownHost(dir string, port int, key string) error {
	return withLock(dir, func() error {
		path := KnownHostsFile(dir)
		old, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		prefix := fmt.Sprintf("[127.0.0.1]:%d ", port)
		var b strings.Builder
		for line := range strings.Lines(string(old)) {
			if !strings.HasPrefix(line, prefix) {
				b.WriteString(line)
			}
		}
		if key != "" {
			b.WriteString(prefix + key + "\n")
		}
		if err := os.WriteFile(path+".new", []byte(b.String()), 0o644); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	})
}

// WriteSSHConfig writes an ssh configuration file with one entry per host,
// named as the host is, so that "ssh -F PATH NAME" reaches it.
func WriteSSHConfig(path string, hosts ...*Host) error {
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&b, "Host %s\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n  UserKnownHostsFile %s\n",
			h.Name, h.Port, quote(h.Identity), quote(h.KnownHosts))
		b.WriteString("  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  IdentitiesOnly yes\n  IdentityAgent none\n  BatchMode yes\n\n")
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("cannot write the ssh configuration: %w", err)
	}
	return nil
}

// quote protects a path with blanks in an ssh configuration.
func quote(path string) string {
	if strings.ContainsAny(path, " \t") {
		return `"` + path + `"`
	}
	return path
}
