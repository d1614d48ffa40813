package regular

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/bounded"
)

func TestKinds(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(in("file"), []byte("content"), 0o600))
	must(os.Symlink("file", in("link")))
	must(syscall.Mkfifo(in("fifo"), 0o600))
	must(os.Symlink("fifo", in("fifo-link")))
	l, err := net.Listen("unix", in("socket"))
	must(err)
	defer l.Close()
	r, w, err := os.Pipe() // as <(command) gives it
	must(err)
	defer r.Close()
	defer w.Close()
	for name, want := range map[string]string{
		in("file"): "", in("link"): "",
		in("fifo"): "it is a pipe, not a regular file", in("fifo-link"): "it is a pipe,", in("socket"): "it is a socket,",
		dir: "it is a directory,", "/dev/zero": "it is a device,", in("none"): "no such file",
		fmt.Sprint("/dev/fd/", r.Fd()): "it is a pipe,",
	} {
		done := make(chan error, 2)
		go func() {
			b, err := Read(name, 100)
			if err == nil && string(b) != "content" {
				err = errors.New("read " + string(b))
			}
			done <- err
			done <- Check(name)
		}()
		for range 2 {
			select {
			case err := <-done:
				var pe *fs.PathError
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v", name, err)
				case want == "":
				case err == nil || !errors.As(err, &pe) || !strings.Contains(pe.Err.Error(), want):
					t.Errorf("%s: %v", name, err)
				case strings.HasPrefix(want, "it is") != errors.Is(err, ErrNot):
					t.Errorf("%s: errors.Is ErrNot is wrong for %v", name, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s is waited for", name)
			}
		}
	}
}

func TestLimit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := Read(file, 1<<20); !bounded.Is(err) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(file, 1<<20); err != nil || len(b) != 1<<20 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
