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

	"godwit/internal/awake"
	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/leash"
)

const (
	// greetingMax is how much may come before the command's own output, in bytes.
	greetingMax = 1 << 20
	// closedGrace is how long a host may take to end a session whose output it closed
	// before the command ran.
	closedGrace = 5 * time.Second
)

// line is the command as the one line that the remote sh evaluates. Status 255, which ssh
// also uses for its own failures, is announced by a mark.
func line(c host.Cmd, mark string) string {
	return c.Line() + "; _g=$?; if [ $_g -eq 255 ]; then echo '" + statusMark(mark) + "' >&2; fi; exit $_g"
}

// statusMark announces on stderr that the command itself ended with 255. It
// starts with a byte that text does not hold, so that lines need not be held
// back for the look-out.
func statusMark(mark string) string { return "\x1e" + mark }

// bootstrap is what the login shell runs. Between the single quotes is no
// backslash, single quote or line break: it reads the same in every shell.
func bootstrap(elevate []string, mark string, password, agent bool) string {
	var b strings.Builder
	b.WriteString("exec ")
	for _, w := range elevate {
		b.WriteString(w + " ")
	}
	b.WriteString("/bin/sh -c '")
	if agent { // it was for sudo, and is not for what runs now
		b.WriteString("unset SSH_AUTH_SOCK; ")
	}
	if password {
		// sudo may or may not have taken the first line, the password.
		b.WriteString(`IFS= read -r _g; [ "$_g" = ` + mark + ` ] || { IFS= read -r _g; [ "$_g" = ` + mark + ` ] || exit 99; }; `)
	}
	b.WriteString("echo; echo " + mark + " $$; { echo; echo " + mark + "; } >&2; ")
	b.WriteString(`IFS= read -r _g || exit 98; eval "$_g"'`)
	return b.String()
}

// process is a command on a host, over a session of a master or an ssh of its own, or a master.
type process struct {
	Stdin  io.WriteCloser
	Stdout io.Reader

	host    *Host
	cmd     host.Cmd
	ctx     context.Context
	mark    string
	blocks  bool // its text may be read in blocks (host.Sent)
	lane    *lane
	elev    *elevation
	out     *markReader
	outFile *os.File
	err     *stderrFilter
	done    chan struct{} // the session or the local ssh has ended and its stderr is read
	waitErr error
	once    sync.Once
	result  error
	born    time.Time
	cancel  context.CancelFunc // ends the session, or the local ssh, at last with SIGKILL

	mu     sync.Mutex
	killed bool
	reason error        // why we ended it; nil: we did not
	clock  *awake.Timer // of the time until it runs, then of Cmd.Limit
	runs   bool
}

// Stderr is the tail of what the command wrote to stderr so far.
func (p *process) Stderr() string { return p.err.tailString() }

// Kill ends the local ssh; Wait then says that the connection was dropped.
func (p *process) Kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.cancel()
}

// end ends the local ssh for a reason, which Wait then gives.
func (p *process) end(reason error) {
	p.mu.Lock()
	if p.reason == nil {
		p.reason = reason
	}
	p.mu.Unlock()
	p.cancel()
}

func (p *process) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// await bounds the time until the command runs.
func (p *process) await() {
	limit := p.host.pool.opts.LoginLimit
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = awake.AfterFunc(limit, func() {
		defer crash.Catch()
		p.end(p.host.silent(p, limit))
		if p.lane != nil && p.elev == nil {
			p.lane.proc.Kill() // a connection that takes no commands is of no use to the next one
		}
	})
}

// running begins the command's own time.
func (p *process) running() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs {
		return
	}
	p.runs = true
	if p.clock == nil {
		return // a master: openLane bounds it
	}
	p.clock.Stop()
	p.clock = nil
	if limit := p.cmd.Limit; limit > 0 && p.reason == nil {
		p.clock = awake.AfterFunc(limit, func() {
			defer crash.Catch()
			p.end(&host.DroppedError{Host: p.host.target.Name, Command: p.cmd.String(), Limit: limit, Stderr: p.Stderr()})
		})
	}
}

func (p *process) stopClock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs = true
	if p.clock != nil {
		p.clock.Stop()
	}
}

// closed is told when the output has ended before the command ran. A host that ends
// the session then says why with its status; one that stays would be waited for.
func (p *process) closed() {
	awake.AfterFunc(closedGrace, func() {
		defer crash.Catch()
		select {
		case <-p.done:
		default:
			p.end(p.host.closedOutputs(p))
		}
	})
}

// Wait waits for the end of the command. Stdout must have been read to its end
// before, or not be of interest any more.
func (p *process) Wait() error {
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
	killLimit = 4 * time.Second // for ending a command on the host
	tailSize  = 8 << 10         // bytes kept of stderr
)

// terminate asks an ssh process, and what it started, to end.
func terminate(c *exec.Cmd, sig syscall.Signal) {
	if c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, sig)
	}
}

// endSignal ends the local ssh: a master removes its socket on SIGTERM, a
// client of a master takes no notice of it.
func (p *process) endSignal() syscall.Signal {
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
	c.Cancel = func() error { terminate(c, syscall.SIGKILL); return nil }
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
// blocks is host.Sent's.
func (h *Host) launch(ctx context.Context, cmd host.Cmd, blocks bool, l *lane, elev *elevation) (*process, error) {
	// The one place where a command gets its limits, whoever starts it.
	cmd = cmd.Bounded()
	p := &process{host: h, cmd: cmd, ctx: ctx, blocks: blocks, lane: l, elev: elev, mark: newMark(), done: make(chan struct{})}
	socket := ""
	if l != nil {
		socket = l.socket
	}
	if err := p.start(ctx, socket, false); err != nil {
		return nil, err
	}
	return p, nil
}

// start runs ssh and sends the command. The caller's input follows.
func (p *process) start(ctx context.Context, socket string, master bool) error {
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
	// The caller, the pool and we ourselves can end it.
	ctx, cancel := context.WithCancelCause(ctx)
	p.cancel = func() { cancel(nil) }
	stop := context.AfterFunc(h.pool.ctx, func() { defer crash.Catch(); cancel(errClosed) })
	release := func() { stop(); cancel(nil); h.pool.procs.Done() }

	trial := p.elev != nil && p.elev.trial
	if socket == "" || master {
		h.vouch(ctx)
	}
	command := bootstrap(elevate, p.mark, password != nil && !trial, p.elev != nil && p.elev.agent)
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
		return fail(cannotStart(err).On(h.target.Name))
	}
	outR, outW, err := pipe()
	if err != nil {
		return fail(cannotStart(err).On(h.target.Name))
	}
	errR, errW, err := pipe()
	if err != nil {
		return fail(cannotStart(err).On(h.target.Name))
	}
	p.Stdin = inW
	p.outFile = outR
	size := 64 << 10
	if master { // which says a few lines, and then nothing for as long as it lives
		size = 4 << 10
	}
	p.out = &markReader{r: bufio.NewReaderSize(outR, size), p: p, mark: p.mark, pid: make(chan int, 1)}
	p.Stdout = p.out
	p.err = &stderrFilter{p: p, mark: p.mark, w: p.cmd.Stderr}
	p.born = time.Now()
	theirs := [3]*os.File{inR, outW, errW}
	given := func() { // what runs it has them
		for _, f := range theirs {
			f.Close()
		}
	}
	program := func() (wait func() error, err error) {
		args := h.args(socket, master, command)
		if master {
			args = append(h.cipherArgs(ctx), args...)
		}
		c := h.pool.command(ctx, args)
		c.Cancel = func() error {
			p.ending()
			terminate(c, p.endSignal())
			return nil
		}
		c.Stdin, c.Stdout, c.Stderr = inR, outW, errW
		if err := c.Start(); err != nil {
			return nil, cannotStart(err).On(h.target.Name)
		}
		given()
		letGo := leash.Group(c.Process.Pid)
		return func() error {
			err := c.Wait()
			if ctx.Err() != nil {
				terminate(c, syscall.SIGKILL) // what it started: a ProxyCommand that did not end with it
			}
			letGo()
			return err
		}, nil
	}
	wait := func() error {
		s, err := openSession(ctx, socket, muxRequest{command: command, agent: h.target.forwards, env: p.lane.env, files: theirs})
		if err == nil {
			given()
			stop := context.AfterFunc(ctx, func() { defer crash.Catch(); p.ending(); s.conn.Close() })
			defer stop()
			return s.wait()
		}
		if ctx.Err() != nil {
			given()
			return ctx.Err()
		}
		_, _ = p.err.Write([]byte("read from master failed: " + err.Error() + "\n"))
		wait, err := program()
		if err != nil {
			given()
			p.end(err)
			return err
		}
		return wait()
	}
	if p.lane == nil || !p.lane.direct {
		if wait, err = program(); err != nil {
			if p.ctx.Err() != nil {
				err = &host.Interrupted{Host: h.target.Name, Cmd: p.cmd.String(), Err: context.Cause(p.ctx)}
			}
			return fail(err)
		}
	}
	if !master {
		p.await()
	}

	errDone := make(chan struct{})
	go func() { defer crash.Catch(); p.err.readAll(errR); close(errDone) }()
	go func() {
		defer crash.Catch()
		p.waitErr = wait()
		p.stopClock()
		// A ProxyCommand may still hold the other end: do not wait for it.
		select {
		case <-errDone:
		case <-time.After(time.Second):
			_ = errR.SetReadDeadline(time.Now())
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
		_, _ = io.WriteString(inW, *password+"\n")
		if trial {
			return nil
		}
		_, _ = io.WriteString(inW, p.mark+"\n")
	}
	_, _ = io.WriteString(inW, host.Sent(line(p.cmd, p.mark), p.blocks))
	return nil
}

// ending is told before a session is ended from here.
func (p *process) ending() {
	if p.cmd.KillOnCancel {
		p.killRemote()
	}
}

// killRemote ends the command's process group on the host, as far as that can
// be done in a few seconds: sshd leaves commands without a terminal running.
func (p *process) killRemote() {
	if p.lane == nil || p.lane.dead() || p.host.pool.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), killLimit)
	defer cancel()
	var pid int
	select {
	case pid = <-p.out.pid:
	case <-time.After(time.Second): // it may be about to start
		return
	}
	k := host.Cmd{Script: killScript, Args: []string{strconv.Itoa(pid)}, Elevate: p.cmd.Elevate}
	q, err := p.host.launch(ctx, k, false, &lane{socket: p.lane.socket, host: p.host, env: p.lane.env, direct: p.lane.direct, borrowed: true}, p.elev)
	if err != nil {
		return
	}
	q.Stdin.Close()
	io.Copy(io.Discard, q.Stdout)
	_ = q.Wait()
}

// killScript ends the process group of process $1. What is still there 2 s later loses
// what it started in groups of its own: a Nix that lost its interrupt (internal/nix, end)
// ends with its builder.
var killScript = hostscript.Below + `
own=$(group_of "$1")
[ "${own:-0}" -gt 1 ] || exit 0
there() { kill -s 0 -- "-$own" 2>/dev/null; }
kill -s TERM -- "-$own"
tries=0
while there; do
	tries=$((tries + 1))
	case $tries in
	10) kill -s TERM -- "-$own" ;;
	20)
		below "$own"
		for group in $below_groups; do kill -s KILL -- "-$group"; done
		break
		;;
	esac
	sleep 0.1 || sleep 1
done
exit 0
`

// verdict turns the end of the local ssh into the command's own result.
func (p *process) verdict() error {
	h := p.host
	started := p.err.started()
	if reason := p.ended(); reason != nil {
		return reason
	}
	if p.waitErr == nil {
		if !started {
			return h.notStarted(p, 0)
		}
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return &host.Interrupted{Host: h.target.Name, Cmd: p.cmd.String(), Err: context.Cause(p.ctx)}
	}
	var ee interface {
		error
		ExitCode() int
	}
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
		d := &host.DroppedError{Host: h.target.Name, Command: p.cmd.String(), Stderr: p.Stderr(), Err: p.waitErr}
		p.mu.Lock()
		d.Killed = p.killed || h.pool.ctx.Err() != nil
		p.mu.Unlock()
		return d
	}
	return &host.ExitError{Host: h.target.Name, Command: p.cmd.String(), Code: code, Stderr: p.Stderr()}
}

// markReader gives what comes after the mark, up to the command's MaxOutput.
type markReader struct {
	r     *bufio.Reader
	p     *process
	mark  string
	pid   chan int // the remote shell's process id
	found bool
	read  int64 // bytes of what is read now: the greeting, then the command's output

	mu   sync.Mutex
	said []byte // the end of the greeting

	onFound func() // called at the mark; may be nil
}

func (m *markReader) seek() error {
	for !m.found {
		line, err := m.r.ReadSlice('\n')
		if rest, ok := bytes.CutPrefix(line, []byte(m.mark+" ")); ok && err == nil {
			m.found, m.read = true, 0
			if n, err := strconv.Atoi(strings.TrimSpace(string(rest))); err == nil {
				m.pid <- n
			}
			m.p.running()
			if m.onFound != nil {
				m.onFound()
			}
			return nil
		}
		m.mu.Lock()
		m.said = append(m.said, line[:min(len(line), 256)]...)
		m.said = m.said[max(0, len(m.said)-512):]
		m.mu.Unlock()
		if m.read += int64(len(line)); m.read > greetingMax {
			err = m.p.host.talks(m.p)
			m.p.end(err)
			return err
		}
		if err == io.EOF {
			m.p.closed()
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
	n, err := m.r.Read(b)
	if over := m.p.counts(&m.read, n, "what "+m.p.cmd.String()+" prints"); over != nil {
		return max(0, n-int(m.read-m.p.cmd.MaxOutput)), over
	}
	return n, err
}

// WriteTo spares a copy where nothing is to be counted.
func (m *markReader) WriteTo(w io.Writer) (int64, error) {
	if err := m.seek(); err != nil {
		if err == io.EOF {
			err = nil
		}
		return 0, err
	}
	if m.p.cmd.MaxOutput <= 0 {
		return m.r.WriteTo(w)
	}
	return io.Copy(w, struct{ io.Reader }{m})
}

// counts adds n bytes to an output, and ends the command when that is too much.
func (p *process) counts(sum *int64, n int, what string) error {
	*sum += int64(n)
	limit := p.cmd.MaxOutput
	if limit <= 0 || *sum <= limit {
		return nil
	}
	err := fault.New("%w", &bounded.Error{What: what, Limit: limit}).On(p.host.target.Name)
	p.end(err)
	return err
}

// stderrFilter passes on what comes after the start mark, without the mark of
// status 255, and keeps the tail of it; what comes before (ssh's own messages,
// sudo's prompt, a login shell's greeting) is kept aside.
type stderrFilter struct {
	p    *process
	mark string
	w    io.Writer
	read int64 // bytes before the mark, then after it

	mu   sync.Mutex
	up   bool
	is   bool   // status 255 was the command's own
	pre  []byte // before the mark
	hold []byte // may be the beginning of the status mark
	tail []byte
}

// readAll reads r to its end, or to where it is too much.
func (f *stderrFilter) readAll(r io.Reader) {
	b := make([]byte, 4<<10)
	for {
		n, err := r.Read(b)
		before := f.started()
		_, _ = f.Write(b[:n])
		switch {
		case before:
			_ = f.p.counts(&f.read, n, "what "+f.p.cmd.String()+" prints on stderr")
		case f.started():
			f.read = 0
			f.p.running()
		default:
			if f.read += int64(n); f.read > greetingMax {
				f.p.end(f.p.host.talks(f.p))
			}
		}
		if err != nil {
			return
		}
	}
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
		_, _ = f.w.Write(b)
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
