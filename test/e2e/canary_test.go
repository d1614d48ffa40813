package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godwit/test/canary"
	"godwit/test/lab"
)

// mayBe are the places of hosts where tests have secrets in clear, as patterns of find:
// memory, credentials that systemd mounts for a service, destinations of secrets that are pushed, what a boot loader has of them, and what
// services of tests write down.
var mayBe = []string{"/run/godwit/secrets.d", "/run/keys", "/run/k", "/var/k", "/root/k", "/var/keys", "/var/plan-keys", "/var/lib/keys of e2e",
	"/boot/loader/initrd-secrets", "/run/*-saw", "/run/credentials"}

// nothingInClear looks for secrets on hosts, where they must not be.
func nothingInClear(t *testing.T, hosts ...*lab.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, h := range hosts {
		found, err := canary.Host(ctx, h, shared.began, mayBe...)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range found {
			t.Errorf("a secret is in clear on %s", line)
		}
	}
}

// nowhereInClear looks for secrets when all tests have ended: on this machine, on the hosts
// that are still there, and in what the watcher saw of arguments and environments. The
// other hosts were looked at when their tests ended.
func nowhereInClear(w *canary.Watcher) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	seen, processes := w.Stop()
	hosts, err := endHosts(ctx)
	if processes == 0 && hosts > 0 {
		err = errors.Join(err, errors.New("nobody looked at arguments and environments"))
	}
	found, err2 := canary.Files(shared.began, here(), nil)
	err = errors.Join(err, err2)
	for _, line := range append(seen, found...) {
		err = errors.Join(err, errors.New(line))
	}
	fmt.Fprintf(os.Stderr, "e2e: looked for secrets in clear: in what %d processes were given, on %d hosts, and here (%.1f s)\n", processes, hosts, time.Since(began).Seconds())
	return err
}

// here are the places of this machine where a run of godwit may have left something: all
// that is in shared.dir, what is new among temporary files, in the memory of users and in
// the store. What tests wrote themselves is gone by now.
func here() []string {
	roots := []string{shared.dir}
	var homes []string
	if d, err := os.UserCacheDir(); err == nil {
		homes = append(homes, filepath.Join(d, "nix"), filepath.Join(d, "godwit"))
	}
	if d, err := os.UserHomeDir(); err == nil {
		homes = append(homes, filepath.Join(d, ".local"), filepath.Join(d, ".config"))
	}
	for _, dir := range append(homes, "/nix/var", "/var/log/journal") {
		if _, err := os.Stat(dir); err == nil {
			roots = append(roots, dir)
		}
	}
	// Those of the folders that many share are looked at when they are new.
	for _, dir := range []string{os.TempDir(), "/dev/shm", "/run/user", os.Getenv("XDG_RUNTIME_DIR"), "/nix/store"} {
		all, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, e := range all {
			var st unix.Stat_t
			at := filepath.Join(dir, e.Name())
			if strings.HasPrefix(e.Name(), "go-build") || at == shared.dir || unix.Lstat(at, &st) != nil {
				continue
			}
			if sec, nsec := st.Ctim.Unix(); !time.Unix(sec, nsec).Before(shared.began) {
				roots = append(roots, at)
			}
		}
	}
	return roots
}
