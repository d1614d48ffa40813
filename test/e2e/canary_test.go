package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godwit/test/canary"
	"godwit/test/lab"
)

// mayBe are the places of hosts where tests have secrets in clear, as patterns of find:
// memory, destinations of secrets that are pushed, what a boot loader has of them, and what
// services of tests write down.
var mayBe = []string{"/run/godwit/secrets.d", "/run/keys", "/run/k", "/var/k", "/root/k", "/var/keys", "/var/plan-keys", "/var/lib/keys of e2e",
	"/boot/loader/initrd-secrets", "/run/*-saw"}

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

// nowhereInClear looks for secrets when all tests have ended: on this machine, on every host
// that is still there, and in what the watcher saw of arguments and environments.
func nowhereInClear(w *canary.Watcher) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	var mu sync.Mutex
	var errs []error
	add := func(found []string, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, line := range found {
			errs = append(errs, errors.New(line))
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	seen, processes := w.Stop()
	add(seen, nil)
	if processes == 0 && len(housing.hosts) > 0 {
		add(nil, errors.New("nobody looked at arguments and environments"))
	}
	var wg sync.WaitGroup
	busy := make(chan struct{}, 4)
	for _, h := range housing.hosts {
		wg.Go(func() {
			busy <- struct{}{}
			defer func() { <-busy }()
			add(canary.Host(ctx, h, shared.began, mayBe...))
		})
	}
	add(canary.Files(shared.began, here(), nil))
	wg.Wait()
	fmt.Fprintf(os.Stderr, "e2e: looked for secrets in clear for %.1f s: in what %d processes were given, on %d hosts, and here\n", time.Since(began).Seconds(), processes, len(housing.hosts))
	return errors.Join(errs...)
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
