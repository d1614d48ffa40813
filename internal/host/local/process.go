package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/awake"
	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/leash"
)

const (
	killDelay = 2 * time.Second // from SIGTERM to SIGKILL
	tailSize  = 8 << 10         // bytes kept of stderr
	// rootSays is how much sudo may say before the command runs, in bytes.
	rootSays = 64 << 10
)

// process is a command that runs here.
type process struct {
	conn *conn
	cmd  host.Cmd
	ctx  context.Context
	way  *way
	sh   *exec.Cmd
	in   *os.File
	out  *os.File
	err  *stderr
	read int64 // bytes of stdout

	ended chan struct{} // the process has ended, and its stderr is read
	left  chan struct{} // we wait for it no more
	clock *awake.Timer
	done  func()

	mu     sync.Mutex
	reason error // why we ended it; nil: we did not
	code   error // of exec
	once   sync.Once
	result error
}

// start starts cmd, which has its limits.
func (c *conn) start(ctx context.Context, cmd host.Cmd, blocks bool, w *way) (*process, error) {
	if c.pool.ctx.Err() != nil {
		return nil, fault.New("%w", errClosed).On(c.name)
	}
	if err := ctx.Err(); err != nil {
		return nil, &host.Interrupted{Host: c.name, Cmd: cmd.String(), Err: context.Cause(ctx)}
	}
	mark := "godwit-" + rand.Text()
	words := append([]string{}, w.words...)
	words = append(words, c.pool.opts.Sh, "-c", bootstrap(mark, w))
	p := &process{conn: c, cmd: cmd, ctx: ctx, way: w, ended: make(chan struct{}), left: make(chan struct{})}
	p.err = &stderr{p: p, mark: []byte("\n" + mark + "\n")}
	p.sh = exec.Command(words[0], words[1:]...)
	p.sh.Dir = home()
	// No terminal, as over ssh: nothing of it can ask there, or be stopped by it.
	p.sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var files []*os.File
	fail := func(err error) (*process, error) {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, fault.New("cannot start %s: %w", words[0], err).On(c.name)
	}
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w, err
	}
	inR, inW, err := pipe()
	if err != nil {
		return fail(err)
	}
	outR, outW, err := pipe()
	if err != nil {
		return fail(err)
	}
	errR, errW, err := pipe()
	if err != nil {
		return fail(err)
	}
	p.in, p.out = inW, outR
	p.sh.Stdin, p.sh.Stdout, p.sh.Stderr = inR, outW, errW
	if err := p.sh.Start(); err != nil {
		return fail(err)
	}
	_, _, _ = inR.Close(), outW.Close(), errW.Close()
	c.pool.procs.Add(1)
	letGo := func() {}
	if cmd.KillOnCancel { // others may outlive us, as on any host
		letGo = leash.Group(p.sh.Process.Pid)
	}
	p.watch(errR, letGo)
	// A failure to write is seen as the end of the process.
	if w.password != nil {
		_, _ = io.WriteString(inW, *w.password+"\n")
		if w.trial {
			return p, nil
		}
		_, _ = io.WriteString(inW, mark+"\n")
	}
	_, _ = io.WriteString(inW, host.Sent(cmd.Line(), blocks))
	return p, nil
}

// bootstrap is what the shell runs: a mark on stderr, behind what sudo says, then the line
// that comes. mark tells the password, which sudo may or may not have taken, from the line.
func bootstrap(mark string, w *way) string {
	var b strings.Builder
	if w.password != nil && !w.trial {
		b.WriteString(`IFS= read -r _g; [ "$_g" = ` + mark + ` ] || { IFS= read -r _g; [ "$_g" = ` + mark + ` ] || exit 99; }; `)
	}
	b.WriteString(`{ echo; echo ` + mark + `; } >&2; IFS= read -r _g || exit 98; eval "$_g"`)
	return b.String()
}

// watch follows the process to its end, or to where it is left.
func (p *process) watch(errR *os.File, letGo func()) {
	errDone := make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(errDone)
		_, _ = io.Copy(p.err, errR)
	}()
	go func() {
		defer crash.Catch()
		code := p.sh.Wait()
		p.mu.Lock()
		p.code = code
		p.mu.Unlock()
		letGo()
		select {
		case <-errDone:
		case <-time.After(time.Second): // somebody else holds it
			_ = errR.SetReadDeadline(time.Now())
			<-errDone
		}
		_ = errR.Close()
		close(p.ended)
		p.conn.pool.procs.Done()
	}()
	stop := make(chan struct{})
	p.done = sync.OnceFunc(func() { close(stop) })
	if limit := p.cmd.Limit; limit > 0 {
		p.clock = awake.AfterFunc(limit, func() {
			defer crash.Catch()
			p.end(&host.DroppedError{Host: p.conn.name, Command: p.cmd.String(), Limit: limit, Stderr: p.err.tail()})
		})
	}
	go func() {
		defer crash.Catch()
		select {
		case <-p.ctx.Done():
			p.end(&host.Interrupted{Host: p.conn.name, Cmd: p.cmd.String(), Err: context.Cause(p.ctx)})
		case <-p.conn.pool.ctx.Done():
			p.end(&host.DroppedError{Host: p.conn.name, Command: p.cmd.String(), Killed: true, Stderr: p.err.tail(), Err: errClosed})
		case <-stop:
		case <-p.ended:
		}
	}()
}

// end gives up the command for a reason, which Wait then gives. What runs is ended only
// where it is to be (Cmd.KillOnCancel); anything else loses its streams, as it would with
// a connection.
func (p *process) end(reason error) {
	select {
	case <-p.ended:
		return
	default:
	}
	p.mu.Lock()
	first := p.reason == nil
	if first {
		p.reason = reason
	}
	p.mu.Unlock()
	if !first {
		return
	}
	go func() {
		defer crash.Catch()
		if p.cmd.KillOnCancel {
			p.kill()
		}
		_ = p.in.Close()
		_ = p.out.SetReadDeadline(time.Now())
		close(p.left)
	}()
}

// kill ends the command and what it started. What its SIGTERM did not end is killed with
// all below it, in whatever session: a Nix that is killed leaves its builders behind.
func (p *process) kill() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if len(p.way.words) == 0 && sig == syscall.SIGTERM {
			_ = syscall.Kill(-p.sh.Process.Pid, sig)
		} else {
			p.killBelow(sig)
		}
		for end := time.Now().Add(killDelay); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if errors.Is(syscall.Kill(-p.sh.Process.Pid, 0), syscall.ESRCH) { // its shell may be gone before what it has started
				return
			}
		}
	}
}

// killBelow: a process of root's takes no signal of ours. sudo may have given the command
// a process group, or a session, of its own: its children are asked for.
func (p *process) killBelow(sig syscall.Signal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), killDelay)
	defer cancel()
	q, err := p.conn.start(ctx, host.Cmd{Script: killScript, Args: []string{strconv.Itoa(p.sh.Process.Pid), strconv.Itoa(int(sig))}, Elevate: len(p.way.words) > 0,
		Limit: killDelay, MaxOutput: host.NoMaxOutput}, false, p.way)
	if err != nil {
		return
	}
	_ = q.in.Close()
	go func() { defer crash.Catch(); _, _ = io.Copy(io.Discard, q.out) }()
	_ = q.wait()
}

// killScript sends signal $2 to group $1, to all below it, and to their groups.
var killScript = hostscript.Below + `
below "$1"
for group in $1 $below_groups; do kill -s "$2" -- "-$group"; done
for pid in $below_pids; do kill -s "$2" "$pid"; done
exit 0
`

// wait waits for the end and says how it was.
func (p *process) wait() error {
	select {
	case <-p.ended:
	case <-p.left:
	}
	p.once.Do(func() {
		p.done()
		if p.clock != nil {
			p.clock.Stop()
		}
		_ = p.in.Close()
		p.result = p.verdict()
		_ = p.out.Close()
	})
	return p.result
}

func (p *process) verdict() error {
	p.mu.Lock()
	reason, code := p.reason, p.code
	p.mu.Unlock()
	if reason != nil {
		return reason
	}
	if code != nil && !p.err.started() && len(p.way.words) > 0 {
		said := p.err.before()
		name := p.way.words[0]
		return fault.New("cannot become root with %s", name[strings.LastIndexByte(name, '/')+1:]).On(p.conn.name).
			Detail(host.LastLines(said, 4)...).Because(&host.ElevateError{Stderr: said})
	}
	var ee *exec.ExitError
	switch {
	case code == nil:
		return nil
	case !errors.As(code, &ee):
		return fault.New("%s: %w", p.cmd, code).On(p.conn.name)
	case ee.ExitCode() < 0: // a signal, in a shell's words
		status := 128
		if s, ok := ee.Sys().(syscall.WaitStatus); ok {
			status += int(s.Signal())
		}
		return &host.ExitError{Host: p.conn.name, Command: p.cmd.String(), Code: status, Stderr: p.err.tail()}
	}
	return &host.ExitError{Host: p.conn.name, Command: p.cmd.String(), Code: ee.ExitCode(), Stderr: p.err.tail()}
}

// Read gives the output, up to the command's MaxOutput.
func (p *process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	if over := p.counts(&p.read, n, "what "+p.cmd.String()+" prints"); over != nil {
		return max(0, n-int(p.read-p.cmd.MaxOutput)), over
	}
	return n, err
}

// counts adds n bytes to an output, and ends the command when that is too much.
func (p *process) counts(sum *int64, n int, what string) error {
	*sum += int64(n)
	limit := p.cmd.MaxOutput
	if limit <= 0 || *sum <= limit {
		return nil
	}
	err := fault.New("%w", &bounded.Error{What: what, Limit: limit}).On(p.conn.name)
	p.end(err)
	return err
}

// stderr passes on what comes behind the mark, and keeps the tail of it.
type stderr struct {
	p    *process
	mark []byte
	read int64

	mu   sync.Mutex
	up   bool
	pre  []byte // before the mark
	last []byte
}

func (s *stderr) Write(b []byte) (int, error) {
	defer crash.Catch()
	n := len(b)
	s.mu.Lock()
	if !s.up {
		s.pre = append(s.pre, b...)
		b = nil
		if i := bytes.Index(s.pre, s.mark); i >= 0 {
			s.up = true
			b = bytes.Clone(s.pre[i+len(s.mark):])
			s.pre = s.pre[:i]
		} else if over := len(s.pre) - rootSays; over > 0 {
			s.pre = s.pre[over:]
		}
	}
	s.last = append(s.last, b...)
	s.last = s.last[max(0, len(s.last)-tailSize):]
	s.mu.Unlock()
	if len(b) > 0 {
		if w := s.p.cmd.Stderr; w != nil {
			_, _ = w.Write(b)
		}
		_ = s.p.counts(&s.read, len(b), "what "+s.p.cmd.String()+" prints on stderr")
	}
	return n, nil
}

func (s *stderr) started() bool  { s.mu.Lock(); defer s.mu.Unlock(); return s.up }
func (s *stderr) before() string { s.mu.Lock(); defer s.mu.Unlock(); return string(s.pre) }
func (s *stderr) tail() string   { s.mu.Lock(); defer s.mu.Unlock(); return string(s.last) }
