package builder

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/scratch"
	"godwit/internal/store"
)

// maxSocketPath is how long the path of a unix socket may be (macOS: 104 bytes
// with the final NUL; Linux: 108).
const maxSocketPath = 103

// Bridge is a private unix socket that is a builder's Nix daemon: every
// connection gets a `nix-daemon --stdio` of its own. A Nix on this machine uses
// it as --store unix://PATH. There is no sshd, no port and no key.
type Bridge struct {
	Path string

	dir    *scratch.Dir
	l      *net.UnixListener
	cancel context.CancelFunc
	busy   sync.WaitGroup
}

// NewBridge listens; dial starts the daemon for one connection.
func NewBridge(dial func(context.Context) (*store.Stream, error)) (*Bridge, error) {
	dir, err := socketDir()
	if err != nil {
		return nil, err
	}
	b := &Bridge{Path: filepath.Join(dir.Path, "nix"), dir: dir}
	if len(b.Path) > maxSocketPath {
		_ = dir.Remove()
		return nil, fault.New("cannot make a socket: %s is too long for one", b.Path).Hint("set XDG_RUNTIME_DIR or TMPDIR to a shorter path")
	}
	// The directory is private already; the socket comes to be private too.
	b.l, err = net.ListenUnix("unix", &net.UnixAddr{Name: b.Path, Net: "unix"})
	if err == nil {
		err = os.Chmod(b.Path, 0o600)
	}
	if err != nil {
		if b.l != nil {
			b.l.Close()
		}
		_ = dir.Remove()
		return nil, fault.New("cannot make a socket: %s", err).Because(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.busy.Add(1)
	go func() {
		defer crash.Catch()
		defer b.busy.Done()
		for {
			c, err := b.l.AcceptUnix()
			if err != nil {
				return
			}
			b.busy.Add(1)
			go func() {
				defer crash.Catch()
				defer b.busy.Done()
				b.serve(ctx, c, dial)
			}()
		}
	}()
	return b, nil
}

// socketDir makes a private directory with a short name.
func socketDir() (*scratch.Dir, error) {
	var last error
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		if base == "" || len(base) > maxSocketPath-30 {
			continue
		}
		dir, err := scratch.In(base, "")
		if err == nil {
			return dir, nil
		}
		last = err
	}
	if last == nil {
		last = errors.New("no directory with a short enough name")
	}
	return nil, fault.New("cannot make a directory for a socket: %s", last).Because(last)
}

func (b *Bridge) serve(ctx context.Context, c *net.UnixConn, dial func(context.Context) (*store.Stream, error)) {
	defer c.Close()
	s, err := dial(ctx)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { defer crash.Catch(); c.Close(); s.Kill() })
	defer stop()
	go func() {
		defer crash.Catch()
		// The end of the client is the end of the daemon's input: it gives up a
		// build that still runs, and ends.
		_, _ = io.Copy(s.Stdin, c)
		s.Stdin.Close()
	}()
	_, _ = io.Copy(c, s.Stdout)
	c.Close()
	if s.Wait != nil {
		_ = s.Wait()
	}
	s.Kill()
}

// Close ends all connections and removes the socket.
func (b *Bridge) Close() error {
	b.l.Close()
	b.cancel()
	b.busy.Wait()
	return b.dir.Remove()
}
