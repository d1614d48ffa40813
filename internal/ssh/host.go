package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/awake"
	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/host"
)

// Host is one host and its connections: a host.Conn. Its methods may be called from
// many goroutines.
type Host struct {
	pool   *Pool
	target Target

	addresses []address
	at        atomic.Int32 // index of the address that connections go to
	bad       error        // of a further address that is none

	mu      sync.Mutex
	lanes   []*lane
	dialing *dial
	running int           // commands
	changed chan struct{} // closed and replaced when a lane gets room or goes away
	login   *login        // who we are there; known after the first connection
	silence error         // of the last attempt, when the host was waited for in vain
	quiet   awake.Instant // when that was
	system  string        // Target.System
	said    string        // what Options.Greeting printed on the last connection
	saidAt  time.Time
	where   *host.Where // where ssh goes; nil: not asked yet

	confMu sync.Mutex
	conf   configured

	vouchMu sync.Mutex
	vouched map[int32]string // by address: the host key that ssh gets (vouch.go)

	elevMu  sync.Mutex
	elev    *elevation    // how to become root; known after the first elevated command
	elevErr error         // of the last attempt, when it was waited for in vain
	elevAt  awake.Instant // when that was
}

// Target is what the host was made from, with the pool's defaults filled in.
func (h *Host) Target() Target { return h.target }

// Name is the host's name in the configuration.
func (h *Host) Name() string { return h.target.Name }

// lane is one master connection.
type lane struct {
	host     *Host
	socket   string
	proc     *process
	env      []string // for its sessions
	direct   bool     // its sessions are asked for without an ssh for each
	used     int
	borrowed bool // not in the host's list: nothing to release
	freed    time.Time
	leaving  bool // its place is for another one
}

// dead tells whether the master has ended.
func (l *lane) dead() bool {
	if l.proc == nil {
		return false
	}
	select {
	case <-l.proc.done:
		return true
	default:
		return false
	}
}

// dial is an attempt to open a lane, which others can wait for.
type dial struct {
	done chan struct{}
	err  error
}

// login is what the first connection tells about the account.
type login struct {
	uid, user, os string
	sudo, doas    string // paths; empty when not there
}

// Greeting is host.Conn's: what Options.Greeting printed.
func (h *Host) Greeting() (said string, age time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said, time.Since(h.saidAt), !h.saidAt.IsZero()
}

// Connect opens the connection, if there is none.
func (h *Host) Connect(ctx context.Context) error {
	l, err := h.acquire(ctx)
	if err != nil {
		return err
	}
	h.release(l)
	return nil
}

// acquire gives a lane with room for one more session, and takes the room.
func (h *Host) acquire(ctx context.Context) (*lane, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, &host.Interrupted{Host: h.target.Name, Cmd: "connecting", Err: context.Cause(ctx)}
		}
		h.mu.Lock()
		alive := h.lanes[:0]
		for _, l := range h.lanes {
			if !l.dead() {
				alive = append(alive, l)
			}
		}
		h.lanes = alive
		for _, l := range h.lanes {
			if l.used < h.pool.opts.SessionsPerConnection {
				l.used++
				h.mu.Unlock()
				return l, nil
			}
		}
		changed, first := h.changed, len(h.lanes) == 0
		if d := h.dialing; d != nil {
			h.mu.Unlock()
			select {
			case <-changed:
			case <-d.done:
				// The others' failure is ours too, unless it was their impatience.
				if first && d.err != nil && !errors.Is(d.err, context.Canceled) && !errors.Is(d.err, context.DeadlineExceeded) {
					return nil, d.err
				}
			case <-ctx.Done():
			}
			continue
		}
		// A further connection only where it is in nobody's way.
		more := !first && len(h.lanes) < h.pool.opts.ConnectionsPerHost && here().lanes.try()
		if !first && !more {
			h.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		// Who comes right after an attempt that waited in vain does not wait, too.
		if first && h.silence != nil && awake.Since(h.quiet) < silenceHolds {
			defer h.mu.Unlock()
			return nil, h.silence
		}
		d := &dial{done: make(chan struct{})}
		h.dialing = d
		h.mu.Unlock()

		l, err := h.openLane(ctx, more)
		h.mu.Lock()
		h.dialing, h.silence = nil, nil
		if host.KindOf(err) == host.Timeout {
			h.silence, h.quiet = err, awake.Now()
		}
		d.err = err
		if err == nil {
			l.used++
			h.lanes = append(h.lanes, l)
		}
		h.wake()
		h.mu.Unlock()
		close(d.done)
		if err == nil {
			return l, nil
		}
		if first {
			return nil, err
		}
		// No further connection to be had: wait for room on the ones we have.
		select {
		case <-changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// silenceHolds is how long an attempt that waited in vain stands for the next one.
const silenceHolds = 5 * time.Second

// wake tells those who wait that something changed. h.mu is held.
func (h *Host) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Host) release(l *lane) {
	if l.borrowed {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l.used--
	l.freed = time.Now()
	h.wake()
}

// helloScript runs in the master's own session: it says who we are, and then
// only waits for the end of its input, which is the end of this program. Every
// fork counts here: many hosts are greeted at once, often by small machines.
const helloScript = `
PATH=/run/wrappers/bin:$PATH:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin
LC_ALL=C id
printf 'os '; { read -r _o </proc/sys/kernel/ostype && echo "$_o"; } 2>/dev/null || uname -s
printf 'sudo '; command -v sudo || echo
printf 'doas '; command -v doas || echo
echo greeting
{
:
%s
} </dev/null 2>/dev/null
echo; echo ready
while IFS= read -r _g; do :; done
`

// hello is what a new connection tells.
type hello struct {
	login login
	said  string // by Options.Greeting
	ok    bool
	err   error // why it is not ok, where that is known
}

const (
	helloLine = 64 << 10  // bytes; somebody may be in very many groups
	helloMax  = 256 << 10 // bytes
)

// readHello reads the answer to helloScript; not ok when it breaks off.
func readHello(r io.Reader) hello {
	var a hello
	var said []string
	greeting := false
	l := bounded.NewLines(bounded.Reader(r, "the host's answer to the login", helloMax), "a line of the host's answer to the login", helloLine)
	for l.Next() {
		line := l.Text()
		if line == "ready" {
			a.said = strings.TrimSpace(strings.Join(said, "\n"))
			a.ok = true
			return a
		}
		key, value, _ := strings.Cut(line, " ")
		switch {
		case greeting:
			said = append(said, line)
		case line == "greeting":
			greeting = true
		case strings.HasPrefix(key, "uid="): // uid=1000(deploy) gid=100(users) ...
			a.login.uid, a.login.user, _ = strings.Cut(strings.TrimPrefix(key, "uid="), "(")
			a.login.user = strings.TrimSuffix(a.login.user, ")")
		case key == "os":
			a.login.os = value
		case key == "sudo":
			a.login.sudo = value
		case key == "doas":
			a.login.doas = value
		}
	}
	a.err = l.Err()
	return a
}

// again is how often a login is tried that ssh took for timed out before its time: a
// clock that jumps (a machine that was paused, a laptop that slept) looks to it like
// a host that does not answer.
const again = 3

// openLane opens one master connection; placed tells that it has its place.
func (h *Host) openLane(ctx context.Context, placed bool) (*lane, error) {
	p := here()
	var l *lane
	over, err := p.dial(ctx, h)
	if err == nil {
		defer over()
		l, err = h.anyLane(ctx)
	} else {
		err = &host.Interrupted{Host: h.target.Name, Cmd: "connecting", Err: context.Cause(ctx)}
	}
	if err == nil && !placed {
		if err = p.lane(ctx, h); err != nil {
			l.proc.Kill()
			return nil, &host.Interrupted{Host: h.target.Name, Cmd: "connecting", Err: context.Cause(ctx)}
		}
	}
	if err != nil {
		if placed {
			p.lanes.give()
		}
		return nil, err
	}
	p.opened(l)
	go func() {
		defer crash.Catch()
		<-l.proc.done
		p.closed(l)
		l.proc.outFile.Close()
		os.Remove(l.socket)
		h.mu.Lock()
		h.wake()
		h.mu.Unlock()
	}()
	return l, nil
}

func (h *Host) tryLane(ctx context.Context) (*lane, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	socket, err := h.pool.socketPath()
	if err != nil {
		return nil, err
	}
	// The master lives as long as the pool, the attempt as long as ctx.
	cmd := host.Cmd{Script: fmt.Sprintf(helloScript, h.pool.opts.Greeting), Limit: host.NoLimit, MaxOutput: 4 * helloMax, Name: "the login"}
	p := &process{host: h, cmd: cmd, ctx: h.pool.ctx, mark: newMark(), done: make(chan struct{})}
	if err := p.start(h.pool.ctx, socket, true); err != nil {
		return nil, err
	}
	fail := func(err error) (*lane, error) {
		p.end(err)
		_ = p.Wait()
		return nil, err
	}
	conf := make(chan configured, 1) // beside the login
	go func() { defer crash.Catch(); conf <- h.configured(h.pool.ctx) }()
	// ssh's ConnectTimeout bounds TCP and the exchange of keys; this bounds the
	// authentication and the login shell, too, which may be slow on small machines.
	limit := h.pool.opts.LoginLimit
	late, unheard := make(chan struct{}), make(chan struct{})
	defer awake.AfterFunc(limit, func() { defer crash.Catch(); close(late) }).Stop()
	// A shell that runs and leaves the command without an answer may have something
	// in its startup files that read it away. A second one tells: who was only slow
	// takes no notice of it.
	p.out.onFound = func() { awake.AfterFunc(limit/3, func() { defer crash.Catch(); close(unheard) }) }
	odd := make(chan error, 1)
	defer awake.AfterFunc(oddAfter, func() {
		defer crash.Catch()
		if err := h.oddFile(ctx); err != nil {
			odd <- err
		}
	}).Stop()
	got := make(chan hello, 1)
	go func() {
		defer crash.Catch()
		got <- readHello(p.Stdout)
		io.Copy(io.Discard, p.Stdout)
	}()
	asked := unheard
	eaten := false
	var a hello
	for waiting := true; waiting; {
		select {
		case a = <-got:
			waiting = false
		case <-p.done: // an ssh that is gone while somebody else holds its output
			select {
			case a = <-got:
			case <-time.After(time.Second):
				_ = p.outFile.SetReadDeadline(time.Now())
				a = <-got
			}
			waiting = false
		case <-asked:
			asked, eaten = nil, true
			go func() { defer crash.Catch(); _, _ = io.WriteString(p.Stdin, host.Sent(line(p.cmd, p.mark), false)) }()
		case <-ctx.Done():
			return fail(&host.Interrupted{Host: h.target.Name, Cmd: "connecting", Err: context.Cause(ctx)})
		case err := <-odd:
			return fail(err)
		case <-late:
			return fail(h.slowLogin(p, limit))
		}
	}
	switch {
	case a.ok && eaten:
		return fail(h.inputEaten())
	case a.err != nil && p.ended() == nil && bounded.Is(a.err):
		return fail(h.talks(p).Detail(a.err.Error()))
	case !a.ok:
		// Its status says why; one that stays is not waited for.
		select {
		case <-p.done:
		case <-time.After(closedGrace):
			return fail(h.closedOutputs(p))
		}
		if err := p.Wait(); err != nil {
			return nil, err
		}
		return nil, h.notStarted(p, 0)
	}
	h.mu.Lock()
	h.login = &a.login
	h.said, h.saidAt = a.said, time.Now()
	h.mu.Unlock()
	var is configured // not known: then it is ssh that does it
	select {
	case is = <-conf:
	case <-late:
	case <-ctx.Done():
		return fail(&host.Interrupted{Host: h.target.Name, Cmd: "connecting", Err: context.Cause(ctx)})
	}
	l := &lane{host: h, socket: socket, proc: p, direct: is.known, env: is.environment(), freed: time.Now()}
	if _, err := os.Stat(socket); err != nil {
		return fail(h.noMaster(p.err.before()))
	}
	return l, nil
}

// prepare finds the connection and the elevation for cmd.
func (h *Host) prepare(ctx context.Context, cmd host.Cmd) (*lane, *elevation, error) {
	if err := cmd.Check(); err != nil {
		return nil, nil, err
	}
	if err := h.check(); err != nil {
		return nil, nil, err
	}
	var elev *elevation
	if cmd.Elevate {
		var err error
		if elev, err = h.elevation(ctx); err != nil {
			return nil, nil, err
		}
	}
	if cmd.Fresh {
		return nil, elev, nil
	}
	l, err := h.by(elev).acquire(ctx)
	return l, elev, err
}

// Open is host.Conn's.
func (h *Host) Open(ctx context.Context, cmd host.Cmd) (*host.Process, error) {
	if cmd.Limit == 0 {
		cmd.Limit = host.NoLimit
	}
	p, err := h.open(ctx, cmd, false)
	if err != nil {
		return nil, err
	}
	return &host.Process{Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Wait: p.Wait, Kill: p.Kill}, nil
}

func (h *Host) open(ctx context.Context, cmd host.Cmd, blocks bool) (*process, error) {
	l, elev, err := h.prepare(ctx, cmd)
	if err != nil {
		return nil, err
	}
	err = h.session(ctx)
	if err != nil {
		err = &host.Interrupted{Host: h.target.Name, Cmd: cmd.String(), Err: context.Cause(ctx)}
	}
	var p *process
	if err == nil {
		p, err = h.by(elev).launch(ctx, cmd, blocks, l, elev)
		if err != nil {
			h.sessionOver()
		}
	}
	if err != nil {
		if l != nil {
			l.host.release(l)
		}
		return nil, err
	}
	go func() {
		defer crash.Catch()
		<-p.done
		h.sessionOver()
	}()
	return p, nil
}

// session takes a place for a command. A host that runs one already does not wait:
// the other may wait for this one.
func (h *Host) session(ctx context.Context) error {
	p := here()
	h.mu.Lock()
	first := h.running == 0
	h.running++
	h.mu.Unlock()
	if !first {
		p.sessions.force()
		return nil
	}
	err := p.sessions.take(ctx, func() { p.tell(h.pool.opts.Sink) })
	if err != nil {
		h.mu.Lock()
		h.running--
		h.mu.Unlock()
	}
	return err
}

func (h *Host) sessionOver() {
	h.mu.Lock()
	h.running--
	h.mu.Unlock()
	here().sessions.give()
}

// Run is host.Conn's.
func (h *Host) Run(ctx context.Context, cmd host.Cmd) error {
	for n := 1; ; n++ {
		from := h.at.Load()
		err := h.run(ctx, cmd)
		// A new connection of its own may have found nobody at this address.
		moved := cmd.Fresh && elsewhere(err) && h.turn(from)
		early := n < again && tooEarly(err)
		if !early && !(moved && n < len(h.addresses)) || cmd.Stdin != nil || ctx.Err() != nil {
			return err
		}
	}
}

func (h *Host) run(ctx context.Context, cmd host.Cmd) error {
	p, err := h.open(ctx, cmd, cmd.Blocks())
	if err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(fed)
		if cmd.Stdin != nil {
			_, _ = io.Copy(p.Stdin, cmd.Stdin)
		}
		p.Stdin.Close()
	}()
	out := cmd.Stdout
	if out == nil {
		out = io.Discard
	}
	w := &watched{w: out}
	copied := make(chan error, 1)
	go func() {
		defer crash.Catch()
		_, err := io.Copy(w, p.Stdout)
		if w.err != nil {
			p.end(w.err) // nobody reads what it says
		}
		copied <- err
	}()
	<-p.done
	var outErr error
	select {
	case outErr = <-copied:
	case <-time.After(2 * time.Second):
		_ = p.outFile.SetReadDeadline(time.Now()) // held open by somebody else
		outErr = <-copied
		if errors.Is(outErr, os.ErrDeadlineExceeded) {
			outErr = nil
		}
	}
	err = p.Wait() // closes stdin: the feeder ends too, unless its reader hangs
	select {
	case <-fed:
	case <-time.After(100 * time.Millisecond):
	}
	if err == nil && outErr != nil {
		return outErr
	}
	return err
}

// watched remembers that writing failed, as opposed to reading.
type watched struct {
	w   io.Writer
	err error
}

func (w *watched) Write(b []byte) (int, error) {
	defer crash.Catch()
	n, err := w.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	w.err = err
	return n, err
}

// Output is host.Conn's.
func (h *Host) Output(ctx context.Context, cmd host.Cmd) (string, error) {
	var b strings.Builder
	cmd.Stdout = &b
	err := h.Run(ctx, cmd)
	return b.String(), err
}

// Disconnect is host.Conn's.
func (h *Host) Disconnect() {
	h.mu.Lock()
	lanes := h.lanes
	h.lanes = nil
	h.mu.Unlock()
	if other := h.pool.forwarding(h, false); other != nil {
		other.Disconnect()
	}
	for _, l := range lanes {
		l.proc.Kill()
	}
}
