package ssh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
)

// Cmd is one command on a host: exactly one of Argv, Shell and Script.
type Cmd struct {
	// Argv are words, each of which arrives as it is.
	Argv []string
	// Shell is a raw line for the login shell; elevated, for root's /bin/sh.
	Shell string
	// Script is run by /bin/sh with Args as $1, $2, ... It is never run in part.
	Script string
	Args   []string
	// Elevate runs the command as root, in the way the pool's options say.
	Elevate bool
	// Fresh takes a new TCP connection with an authentication of its own.
	Fresh bool
	// Stdin is the command's input; nil is an empty one.
	Stdin io.Reader
	// Stdout and Stderr get the command's output; nil drops it. Run has
	// written everything when it returns.
	Stdout, Stderr io.Writer
	// KillOnCancel also ends what runs on the host when the context is
	// cancelled. Without it only the connection's end of it goes away.
	KillOnCancel bool
}

// String is the command in one line, for messages.
func (c Cmd) String() string {
	switch {
	case c.Script != "":
		return "script"
	case c.Shell != "":
		return clip(strings.Join(strings.Fields(c.Shell), " "), 120)
	}
	return clip(strings.ReplaceAll(Join(c.Argv), "\n", " "), 120)
}

func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func (c Cmd) check() error {
	n := 0
	for _, given := range []bool{len(c.Argv) > 0, c.Shell != "", c.Script != ""} {
		if given {
			n++
		}
	}
	if n != 1 {
		return errors.New("ssh: a command needs exactly one of argv, shell and script")
	}
	for _, s := range append(append([]string{c.Shell, c.Script}, c.Argv...), c.Args...) {
		if strings.IndexByte(s, 0) >= 0 {
			return errors.New("ssh: a command cannot hold a NUL byte")
		}
	}
	return nil
}

// line is the command as the one line that the remote sh evaluates. It ends
// with a line break, so a line that arrives cut off is not run. Status 255,
// which ssh also uses for its own failures, is announced by a mark.
func (c Cmd) line(mark string) string {
	var b strings.Builder
	b.WriteString(`_n=$(printf '\nx'); _n=${_n%x}; `)
	switch {
	case c.Script != "":
		b.WriteString("( _s=" + lineQuote(c.Script) + "; set --")
		for _, a := range c.Args {
			b.WriteString(" " + lineQuote(a))
		}
		b.WriteString(`; eval "$_s" )`)
	case c.Shell != "":
		shell := `"${SHELL:-/bin/sh}"`
		if c.Elevate {
			shell = "/bin/sh"
		}
		b.WriteString("( exec " + shell + " -c " + lineQuote(c.Shell) + " )")
	default:
		b.WriteString("(")
		for _, a := range c.Argv {
			b.WriteString(" " + lineQuote(a))
		}
		b.WriteString(" )")
	}
	b.WriteString("; _g=$?; if [ $_g -eq 255 ]; then echo '" + statusMark(mark) + "' >&2; fi; exit $_g\n")
	return b.String()
}

// statusMark announces on stderr that the command itself ended with 255. It
// starts with a byte that text does not hold, so that lines need not be held
// back for the look-out.
func statusMark(mark string) string { return "\x1e" + mark }

// bootstrap is what the login shell runs. Between the single quotes is no
// backslash, single quote or line break: it reads the same in every shell.
func bootstrap(elevate []string, mark string, password bool) string {
	var b strings.Builder
	b.WriteString("exec ")
	for _, w := range elevate {
		b.WriteString(w + " ")
	}
	b.WriteString("/bin/sh -c '")
	if password {
		// sudo may or may not have taken the first line, the password.
		b.WriteString(`IFS= read -r _g; [ "$_g" = ` + mark + ` ] || { IFS= read -r _g; [ "$_g" = ` + mark + ` ] || exit 99; }; `)
	}
	b.WriteString("echo; echo " + mark + " $$; { echo; echo " + mark + "; } >&2; ")
	b.WriteString(`IFS= read -r _g || exit 98; eval "$_g"'`)
	return b.String()
}

// Process is a running command whose streams are in the caller's hands.
type Process struct {
	Stdin  io.WriteCloser
	Stdout io.Reader

	host    *Host
	cmd     Cmd
	ctx     context.Context
	local   *exec.Cmd
	mark    string
	lane    *lane
	elev    *elevation
	out     *markReader
	outFile *os.File
	err     *stderrFilter
	done    chan struct{} // the local ssh has ended and its stderr is read
	waitErr error
	killed  bool
	mu      sync.Mutex
	once    sync.Once
	result  error
}

// Stderr is the tail of what the command wrote to stderr so far.
func (p *Process) Stderr() string { return p.err.tailString() }

// Kill ends the local ssh; Wait then says that the connection was dropped.
func (p *Process) Kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	terminate(p.local, p.endSignal())
}

// Wait waits for the end of the command. Stdout must have been read to its end
// before, or not be of interest any more.
func (p *Process) Wait() error {
	<-p.done
	p.once.Do(func() {
		p.Stdin.Close()
		p.result = p.verdict()
		p.outFile.Close()
	})
	return p.result
}

const (
	killDelay = 2 * time.Second // from SIGTERM to SIGKILL
	tailSize  = 8 << 10         // bytes kept of stderr
)

// terminate asks an ssh process, and what it started, to end.
func terminate(c *exec.Cmd, sig syscall.Signal) {
	if c.Process != nil {
		syscall.Kill(-c.Process.Pid, sig)
	}
}

// endSignal ends the local ssh: a master removes its socket on SIGTERM, a
// client of a master takes no notice of it.
func (p *Process) endSignal() syscall.Signal {
	if p.lane != nil {
		return syscall.SIGKILL
	}
	return syscall.SIGTERM
}

// command makes a local ssh process in a process group of its own: a Ctrl-C in
// the terminal is for us to handle.
func (p *Pool) command(ctx context.Context, args []string) *exec.Cmd {
	c := exec.CommandContext(ctx, p.opts.Program, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = killDelay
	return c
}

// begin registers a local process; false when the pool is closed.
func (p *Pool) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.procs.Add(1)
	return true
}

func newMark() string {
	var b [12]byte
	rand.Read(b[:])
	return "godwit-" + hex.EncodeToString(b[:])
}

// launch starts cmd over the given connection (nil: one of its own).
func (h *Host) launch(ctx context.Context, cmd Cmd, l *lane, elev *elevation) (*Process, error) {
	p := &Process{host: h, cmd: cmd, ctx: ctx, lane: l, elev: elev, mark: newMark(), done: make(chan struct{})}
	socket := ""
	if l != nil {
		socket = l.socket
	}
	return p, p.start(ctx, socket, false)
}

// start runs ssh and sends the command. The caller's input follows.
func (p *Process) start(ctx context.Context, socket string, master bool) error {
	h := p.host
	var elevate []string
	var password *string
	if p.elev != nil {
		elevate = p.elev.words
		if p.elev.password {
			password = &p.elev.secret
		}
	}
	if !h.pool.begin() {
		return errClosed
	}
	// Both the caller and the pool can end it.
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.pool.ctx, func() { defer crash.Catch(); cancel(errClosed) })
	release := func() { stop(); cancel(nil); h.pool.procs.Done() }

	trial := p.elev != nil && p.elev.trial
	args := h.args(socket, master, bootstrap(elevate, p.mark, password != nil && !trial))
	if master {
		args = append(h.cipherArgs(ctx), args...)
	}
	c := h.pool.command(ctx, args)
	c.Cancel = func() error {
		if p.cmd.KillOnCancel {
			p.killRemote()
		}
		terminate(c, p.endSignal())
		return nil
	}
	p.local = c
	var files []*os.File
	fail := func(err error) error {
		for _, f := range files {
			f.Close()
		}
		release()
		return err
	}
	pipe := func() (r, w *os.File, err error) {
		r, w, err = os.Pipe()
		if err == nil {
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
	p.Stdin = inW
	p.outFile = outR
	p.out = &markReader{r: bufio.NewReaderSize(outR, 64<<10), mark: p.mark, pid: make(chan int, 1)}
	p.Stdout = p.out
	p.err = &stderrFilter{mark: p.mark, w: p.cmd.Stderr}
	c.Stdin, c.Stdout, c.Stderr = inR, outW, errW
	if err := c.Start(); err != nil {
		if p.ctx.Err() != nil {
			return fail(&interrupted{host: h.target.Name, cmd: p.cmd.String(), err: context.Cause(p.ctx)})
		}
		return fail(fault.New("cannot start ssh: %w", err).On(h.target.Name))
	}
	inR.Close()
	outW.Close()
	errW.Close()

	errDone := make(chan struct{})
	go func() { defer crash.Catch(); io.Copy(p.err, errR); close(errDone) }()
	go func() {
		defer crash.Catch()
		p.waitErr = c.Wait()
		// A ProxyCommand may still hold the other end: do not wait for it.
		select {
		case <-errDone:
		case <-time.After(time.Second):
			errR.SetReadDeadline(time.Now())
			<-errDone
		}
		errR.Close()
		p.err.flush()
		if p.lane != nil {
			h.release(p.lane)
		}
		release()
		close(p.done)
	}()

	// A failure to write is seen as the end of ssh, which says more.
	if password != nil {
		io.WriteString(inW, *password+"\n")
		if trial {
			return nil
		}
		io.WriteString(inW, p.mark+"\n")
	}
	io.WriteString(inW, p.cmd.line(p.mark))
	return nil
}

// killRemote ends the command's process group on the host, as far as that can
// be done in a few seconds: sshd leaves commands without a terminal running.
func (p *Process) killRemote() {
	if p.lane == nil || p.lane.dead() || p.host.pool.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 6*time.Second)
	defer cancel()
	var pid int
	select {
	case pid = <-p.out.pid:
	case <-time.After(time.Second): // it may be about to start
		return
	}
	k := Cmd{Script: killScript, Args: []string{strconv.Itoa(pid)}, Elevate: p.cmd.Elevate}
	q, err := p.host.launch(ctx, k, &lane{socket: p.lane.socket, host: p.host, borrowed: true}, p.elev)
	if err != nil {
		return
	}
	q.Stdin.Close()
	io.Copy(io.Discard, q.Stdout)
	q.Wait()
}

// killScript ends the process group of process $1.
const killScript = `g=$(ps -o pgid= -p "$1" 2>/dev/null | tr -d ' ')
if [ -z "$g" ] && [ -r "/proc/$1/stat" ]; then
	IFS= read -r s <"/proc/$1/stat"; s=${s##*) }; set -- $s; g=$3
fi
[ -n "$g" ] && [ "$g" -gt 1 ] && kill -s TERM -- "-$g"
exit 0
`

// verdict turns the end of the local ssh into the command's own result.
func (p *Process) verdict() error {
	h := p.host
	started := p.err.started()
	if p.waitErr == nil {
		if !started {
			return h.notStarted(p, 0)
		}
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return &interrupted{host: h.target.Name, cmd: p.cmd.String(), err: context.Cause(p.ctx)}
	}
	var ee *exec.ExitError
	code := -1
	if errors.As(p.waitErr, &ee) {
		code = ee.ExitCode()
	}
	switch {
	case !started:
		if h.pool.ctx.Err() != nil {
			return errClosed
		}
		return h.notStarted(p, code)
	case code == 255 && !p.err.own255() || code < 0:
		d := &DroppedError{Host: h.target.Name, Command: p.cmd.String(), Stderr: p.Stderr(), Err: p.waitErr}
		p.mu.Lock()
		d.Killed = p.killed || h.pool.ctx.Err() != nil
		p.mu.Unlock()
		return d
	}
	return &ExitError{Host: h.target.Name, Command: p.cmd.String(), Code: code, Stderr: p.Stderr()}
}

// interrupted is the error of a cancelled command.
type interrupted struct {
	host, cmd string
	err       error
}

func (e *interrupted) Error() string { return e.host + ": " + e.Bare() }

// Bare is the message without its host.
func (e *interrupted) Bare() string {
	what := "interrupted"
	if errors.Is(e.err, context.DeadlineExceeded) {
		what = "timed out"
	}
	return e.cmd + " " + what
}

func (e *interrupted) Unwrap() error { return e.err }

// markReader gives what comes after the mark.
type markReader struct {
	r     *bufio.Reader
	mark  string
	pid   chan int // the remote shell's process id
	found bool
}

func (m *markReader) seek() error {
	for !m.found {
		line, err := m.r.ReadSlice('\n')
		if rest, ok := bytes.CutPrefix(line, []byte(m.mark+" ")); ok && err == nil {
			m.found = true
			if n, err := strconv.Atoi(strings.TrimSpace(string(rest))); err == nil {
				m.pid <- n
			}
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	return nil
}

func (m *markReader) Read(b []byte) (int, error) {
	if err := m.seek(); err != nil {
		return 0, err
	}
	return m.r.Read(b)
}

// WriteTo spares a copy.
func (m *markReader) WriteTo(w io.Writer) (int64, error) {
	if err := m.seek(); err != nil {
		if err == io.EOF {
			err = nil
		}
		return 0, err
	}
	return m.r.WriteTo(w)
}

// stderrFilter passes on what comes after the start mark, without the mark of
// status 255, and keeps the tail of it; what comes before (ssh's own messages,
// sudo's prompt, a login shell's greeting) is kept aside.
type stderrFilter struct {
	mark string
	w    io.Writer

	mu   sync.Mutex
	up   bool
	is   bool   // status 255 was the command's own
	pre  []byte // before the mark
	hold []byte // may be the beginning of the status mark
	tail []byte
}

func (f *stderrFilter) Write(b []byte) (int, error) {
	defer crash.Catch()
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(b)
	if !f.up {
		f.pre = append(f.pre, b...)
		sep := []byte("\n" + f.mark + "\n")
		i := bytes.Index(f.pre, sep)
		if i < 0 {
			if over := len(f.pre) - 8*tailSize; over > 0 {
				f.pre = append(f.pre[:0], f.pre[over:]...)
			}
			return n, nil
		}
		f.up = true
		b = append([]byte(nil), f.pre[i+len(sep):]...)
		f.pre = f.pre[:i]
	}
	if len(f.hold) > 0 {
		b = append(f.hold, b...)
		f.hold = nil
	}
	end := []byte(statusMark(f.mark) + "\n")
	if i := bytes.Index(b, end); i >= 0 {
		f.is = true
		b = append(b[:i:i], b[i+len(end):]...)
	}
	if i := bytes.LastIndexByte(b, end[0]); i >= 0 && bytes.HasPrefix(end, b[i:]) {
		f.hold = append([]byte(nil), b[i:]...)
		b = b[:i]
	}
	f.pass(b)
	return n, nil
}

func (f *stderrFilter) pass(b []byte) {
	if len(b) == 0 {
		return
	}
	if f.w != nil {
		f.w.Write(b)
	}
	f.tail = append(f.tail, b...)
	if over := len(f.tail) - tailSize; over > 0 {
		f.tail = append(f.tail[:0], f.tail[over:]...)
	}
}

func (f *stderrFilter) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pass(f.hold)
	f.hold = nil
}

func (f *stderrFilter) started() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.up
}

func (f *stderrFilter) own255() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.is
}

func (f *stderrFilter) before() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.pre)
}

func (f *stderrFilter) tailString() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.tail)
}
