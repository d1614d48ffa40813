package bounded

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"godwit/internal/crash"
)

// ahead is how much of what a program says is held for a slow reader, in bytes. After
// that the program waits.
const ahead = 1 << 20

// Said runs c and gives read what it says on standard error, to the end. started, which
// may be nil, is called when the program is there. What read leaves is dropped; the error
// is that of Start or Wait. What c.Stderr was is replaced.
//
// Nothing of it is lost, which a pipe alone does not promise: ssh makes the standard error
// that it got from its parent non-blocking (OpenSSH, ssh_session2_open), and so that of its
// parent, for both have one file description. A Nix before 2.34 whose line finds that pipe
// full drops the line (seen with 2.26), and then `nix copy` fails without a word. So the
// pipe is made to block again as soon as anything is heard, and is emptied while read is
// at work.
func Said(c *exec.Cmd, started func(), read func(stderr io.Reader)) error {
	s, err := listen(c)
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		s.ended()
		_, _ = io.Copy(io.Discard, s)
		return err
	}
	waited := make(chan error, 1)
	go func() {
		defer crash.Catch()
		err := c.Wait()
		s.ended()
		waited <- err
	}()
	if started != nil {
		started()
	}
	read(s)
	_, _ = io.Copy(io.Discard, s)
	return <-waited
}

// said is what a program says on standard error, as a reader.
type said struct {
	r, w *os.File
	wait time.Duration // how long others may keep w open; 0: for ever

	last sync.Once // the deadline of r is set
	mu   sync.Mutex
	turn *sync.Cond // something came, or went
	held bytes.Buffer
	over bool // nothing comes any more
}

// listen makes the pipe. The caller calls ended when the program is there no more, and
// reads to the end.
func listen(c *exec.Cmd) (*said, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &said{r: r, w: w, wait: c.WaitDelay}
	s.turn = sync.NewCond(&s.mu)
	c.Stderr = w
	if cancel := c.Cancel; cancel != nil {
		// As in os/exec, the delay counts from here or from the end of the program.
		c.Cancel = func() error { s.closing(); return cancel() }
	}
	go func() {
		defer crash.Catch()
		s.hear()
	}()
	return s, nil
}

// hear empties the pipe to its end.
func (s *said) hear() {
	part := make([]byte, 64<<10)
	for {
		n, err := s.r.Read(part)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n = s.rest(part)
		}
		s.block()
		s.mu.Lock()
		for s.held.Len() >= ahead {
			s.turn.Wait()
		}
		s.held.Write(part[:n])
		s.over = err != nil
		s.turn.Broadcast()
		s.mu.Unlock()
		if err != nil {
			_ = s.r.Close()
			return
		}
	}
}

// rest reads what is in the pipe when the time is over: a reader who came too late for it
// gets what a program said before it ended.
func (s *said) rest(part []byte) (n int) {
	if raw, err := s.r.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = syscall.Read(int(fd), part) }) // non-blocking, as os.Pipe made it
	}
	return max(n, 0)
}

// block makes writes wait where the pipe is full, for everybody who has its end.
func (s *said) block() {
	if raw, err := s.w.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.SetNonblock(int(fd), false) })
	}
}

// Read gives what was said; io.EOF when the program and all that it left behind are gone,
// or the delay is over.
func (s *said) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.held.Len() == 0 && !s.over {
		s.turn.Wait()
	}
	defer s.turn.Broadcast()
	return s.held.Read(p)
}

// closing gives those who have the pipe the rest of their time.
func (s *said) closing() {
	s.last.Do(func() {
		if s.wait > 0 {
			_ = s.r.SetReadDeadline(time.Now().Add(s.wait))
		}
	})
}

// ended says that the program is there no more.
func (s *said) ended() {
	s.closing()
	_ = s.w.Close()
}
