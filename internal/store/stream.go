package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/crash"
	"godwit/internal/leash"
)

// Stream is a running `nix-store --serve`.
type Stream struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	// Stderr is the tail of what the process printed. May be nil.
	Stderr func() string
	// Wait waits for the end of the process. May be nil. It is called once, and
	// only after Stdout has ended or Kill was called.
	Wait func() error
	// Kill ends the process and unblocks reads and writes. It may be called more
	// than once and at any time.
	Kill func()
}

// Endpoint is a store that can be reached.
type Endpoint struct {
	// Name is how messages call it.
	Name string
	// Dial runs `nix-store --serve` there, with --write when write is set. The
	// stream lives until it is killed, its stdin is closed, or ctx is cancelled.
	Dial func(ctx context.Context, write bool) (*Stream, error)
	// Root, if not empty, is the folder of this machine under which the paths of
	// the store can be read as files: "/" for the store of this machine. What
	// cannot be read there is asked from nix-store.
	Root string
}

// Serve gives the words of the program that an endpoint runs, for Dial
// functions of others: nix-store --serve [--write].
func Serve(write bool) []string {
	if write {
		return []string{"nix-store", "--serve", "--write"}
	}
	return []string{"nix-store", "--serve"}
}

// Command is an endpoint behind a command of this machine, for instance
// `docker exec -i C nix-store --serve`.
func Command(name string, argv func(write bool) []string) Endpoint {
	return FromCmd(name, func(ctx context.Context, write bool) *exec.Cmd {
		a := argv(write)
		return exec.CommandContext(ctx, a[0], a[1:]...)
	})
}

// Local is this machine's own store, or with an uri another one that its Nix
// can open, such as "local?root=/mnt". command makes the process and may be nil;
// (*nix.Tool).Command fits.
func Local(command func(ctx context.Context, program string, args ...string) *exec.Cmd, uri string) Endpoint {
	if command == nil {
		command = exec.CommandContext
	}
	name := "local store"
	if uri != "" {
		name = "store " + uri
	}
	ep := FromCmd(name, func(ctx context.Context, write bool) *exec.Cmd {
		var args []string
		if uri != "" {
			args = append(args, "--store", uri)
		}
		args = append(args, Serve(write)[1:]...)
		return command(ctx, "nix-store", args...)
	})
	if root, ok := strings.CutPrefix(uri, "local?root="); uri == "" || ok && !strings.Contains(root, "&") {
		ep.Root = cmp.Or(root, "/")
	}
	return ep
}

// FromCmd is an endpoint behind the process that make makes.
func FromCmd(name string, make func(ctx context.Context, write bool) *exec.Cmd) Endpoint {
	return Endpoint{Name: name, Dial: func(ctx context.Context, write bool) (*Stream, error) {
		return start(make(ctx, write))
	}}
}

// start starts cmd with pipes.
func start(cmd *exec.Cmd) (*Stream, error) {
	tail := new(tailBuffer)
	cmd.Stderr = tail
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	// An interrupt typed at the terminal is for us: we end our children.
	cmd.SysProcAttr.Setpgid = true
	if cmd.WaitDelay == 0 {
		// Somebody may hold stderr open after the process is gone.
		cmd.WaitDelay = time.Second
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		stdin.Close()
		stdout.Close()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%s is not installed here or not in PATH", cmd.Args[0])
		}
		return nil, err
	}
	letGo := leash.Group(cmd.Process.Pid) // it ends with us, also when we are killed
	growPipe(stdin)
	growPipe(stdout)
	var (
		mu     sync.Mutex
		reaped bool
		kill   sync.Once
	)
	return &Stream{
		Stdin:  stdin,
		Stdout: stdout,
		Stderr: tail.String,
		Wait: func() error {
			err := cmd.Wait()
			letGo()
			mu.Lock()
			reaped = true
			mu.Unlock()
			return err
		},
		Kill: func() {
			kill.Do(func() {
				mu.Lock()
				if !reaped {
					if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
						_ = cmd.Process.Kill()
					}
				}
				mu.Unlock()
				stdin.Close()
				if f, ok := stdout.(*os.File); ok {
					// Unblocks a read even if a grandchild holds the pipe.
					_ = f.SetReadDeadline(time.Now())
				}
			})
		},
	}, nil
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 8 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	defer crash.Catch()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
