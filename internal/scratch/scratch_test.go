package scratch

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain: with SCRATCH_BASE it is a process that makes a folder and waits to be killed.
func TestMain(m *testing.M) {
	if base := os.Getenv("SCRATCH_BASE"); base != "" {
		d, err := In(base, "child-")
		if err != nil {
			panic(err)
		}
		_ = os.MkdirAll(filepath.Join(d.Path, "a/b"), 0o700)
		_ = os.Symlink("/nix/store/some-path", filepath.Join(d.Path, "a/root"))
		_ = os.Symlink(base, filepath.Join(d.Path, "a/out")) // not to be followed
		fmt.Println(d.Path)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		return
	}
	os.Exit(m.Run())
}

// child is another process with a folder in base.
func child(t *testing.T, base string) (path string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SCRATCH_BASE="+base)
	_, _ = cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	return strings.TrimSpace(line), kill
}

func names(t *testing.T, base string) string {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func TestSweep(t *testing.T) {
	base := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// What is not to be touched: folders of others that only look alike.
	other := t.TempDir()
	must(os.Mkdir(filepath.Join(base, "godwit-mine"), 0o700))
	must(os.WriteFile(filepath.Join(base, "godwit-mine", "x"), nil, 0o600))
	must(os.WriteFile(filepath.Join(base, "godwit-file"), nil, 0o600))
	must(os.Mkdir(filepath.Join(base, "other-folder"), 0o700))
	must(os.WriteFile(filepath.Join(base, "other-folder", lockName), nil, 0o600))
	must(os.WriteFile(filepath.Join(other, lockName), nil, 0o600))
	must(os.Symlink(other, filepath.Join(base, "godwit-link")))
	must(os.Mkdir(filepath.Join(base, "godwit-fifo"), 0o700))
	must(syscall.Mkfifo(filepath.Join(base, "godwit-fifo", lockName), 0o600))
	must(os.Mkdir(filepath.Join(base, "godwit-lockless"), 0o700))
	must(os.Symlink(filepath.Join(other, lockName), filepath.Join(base, "godwit-lockless", lockName)))
	stay := names(t, base)
	// Of processes that were killed while they made a folder.
	must(os.Mkdir(filepath.Join(base, "godwit-just-made"), 0o700))
	must(os.Mkdir(filepath.Join(base, "godwit-not-yet-locked"), 0o700))
	must(os.WriteFile(filepath.Join(base, "godwit-not-yet-locked", newLock), nil, 0o600))

	living, _ := child(t, base)
	_, kill := child(t, base)
	kill()
	mine, err := In(base, "mine-")
	must(err)
	Sweep(base)
	want := strings.Fields(stay)
	want = append(want, filepath.Base(living), filepath.Base(mine.Path))
	sort.Strings(want)
	// In sweeps, too, and may be about it.
	for end := time.Now().Add(10 * time.Second); names(t, base) != strings.Join(want, " ") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if got := names(t, base); got != strings.Join(want, " ") {
		t.Errorf("left\n%s\nwant\n%s", got, strings.Join(want, " "))
	}
	if got := names(t, other); got != lockName {
		t.Errorf("beside it: %s", got)
	}
	if st, err := os.Stat(mine.Path); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
	must(mine.Remove())
	if _, err := os.Stat(mine.Path); err == nil {
		t.Error("the folder is still there")
	}
}

// TestMany: processes that make, sweep and remove at once never take a living one's.
func TestMany(t *testing.T) {
	base := t.TempDir()
	done := make(chan error)
	for range 8 {
		go func() {
			for range 100 {
				d, err := In(base, "x-")
				if err == nil {
					Sweep(base)
					_, err = os.Stat(filepath.Join(d.Path, lockName))
				}
				if err == nil {
					err = d.Remove()
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := names(t, base); got != "" {
		t.Errorf("left: %s", got)
	}
}

// TestStillWritten: what a killed run started may outlive it and write to its folder.
// The folder goes when that has ended, and is never left without the lock that lets a
// sweep know it.
func TestStillWritten(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, prefix+"roots-1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(filepath.Join(dir, "link"+strconv.Itoa(n%7)), nil, 0o600)
			}
		}
	}()
	Sweep(base)
	close(stop)
	<-done
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Lstat(filepath.Join(dir, lockName)); err != nil {
			t.Errorf("it is left with %v and without its lock", entries)
		}
	}
	Sweep(base)
	if _, err := os.Lstat(dir); err == nil {
		t.Error("it is still there when nobody writes to it any more")
	}
}
