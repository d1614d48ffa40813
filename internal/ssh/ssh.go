// Package ssh reaches hosts through the system's own OpenSSH.
//
// Every host gets a private master connection (ControlMaster in a directory of
// ours, never the user's), over which all commands run: as sessions that we ask
// the master for, without an ssh for each (mux.go). The master is an
// ordinary child process: it holds a remote shell whose input is a pipe from
// us, so it goes away with us, however we end.
//
// What runs on a host is always the same short, fixed line, `exec [sudo …]
// /bin/sh -c '…'`, which every login shell (bash, fish, nu, csh) understands in
// the same way. The command itself follows on standard input (host.Sent): no
// quoting through a foreign shell, nothing in anybody's process list, nothing
// run when it arrives cut off. A mark on both outputs says where the command's
// own output begins, so a talkative ~/.bashrc does no harm.
package ssh

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/leash"
	"godwit/internal/regular"
	"godwit/internal/scratch"
)

// Options are what all hosts of a Pool have in common.
type Options struct {
	// Program is ssh itself; empty means the ssh in PATH.
	Program string
	// ConfigFile is given to ssh as -F; empty leaves the user's own.
	ConfigFile string
	// IdentityFile is given to ssh as -i.
	IdentityFile string
	// User is the login user of hosts that name none; empty leaves it to ssh.
	User string
	// SkipHostKeyCheck turns the check of host keys off, with a warning.
	SkipHostKeyCheck bool
	// ExtraArgs are given to ssh as they are, except those that would take the
	// connection out of our hands (-M, -S, -f, -N, -t, ...).
	ExtraArgs []string
	// ConnectTimeout bounds the TCP connection and the exchange of keys; 0 means 10s.
	// One in ExtraArgs goes before it.
	ConnectTimeout time.Duration
	timeoutGiven   bool // it is the person's
	// LoginLimit bounds a whole login, from TCP to the shell's first word, and how long
	// a host that is connected to may take to begin with a command (sudo may ask a
	// directory first); 0 means three times ConnectTimeout.
	LoginLimit time.Duration
	// Elevate is how to become root: "auto" (or empty), "sudo", "doas", "none".
	Elevate string
	// Password is asked for at most once per Pool, when a sudo wants one.
	Password func(ctx context.Context) (string, error)
	// Agent lets sudo ask the agent of this machine on all hosts.
	Agent bool
	// PasswordOnRequest leaves that to hosts whose Target has AskPassword.
	PasswordOnRequest bool
	// Sink gets the warning about host keys; nil drops it.
	Sink event.Sink
	// Greeting is a script of sh that every new connection runs as the login user
	// before anything else, for Host.Greeting: what nearly every run wants to know
	// of a host then costs no further command. It only reads, is quick, does not
	// exit, and prints no line "ready".
	Greeting string
	// HostKeys gives the public host key ("ssh-ed25519 AAAA…") by which a host of the
	// configuration is known where the person's own files say nothing about it; "" for
	// none. It may be called from several goroutines.
	HostKeys func(name string) string
	// SessionsPerConnection is how many commands share one connection before
	// another is opened; 0 means 8 (sshd allows 10 by default, one is ours).
	SessionsPerConnection int
	// ConnectionsPerHost is the most connections to one host; 0 means 4.
	ConnectionsPerHost int
}

// Target is one host to connect to.
type Target struct {
	Name string // the name in the configuration, for messages
	Host string // what ssh connects to: a name, an alias, an address
	User string // empty: Options.User, or ssh's choice
	Port int    // 0: ssh's choice
	// System is the host's platform in Nix's words, where it is known: "x86_64-linux".
	// It tells which cipher costs least, and is no part of what makes two targets
	// the same host.
	System string
	// Options are further arguments of ssh, below Options.ExtraArgs; Become are the
	// words before a command that make it root's, none: find out. Both are of Words,
	// because targets are compared.
	Options, Become Words
	// Agent lets the host's sudo ask the agent of this machine; forwards is this Host of
	// the two that there are then (agent.go).
	Agent, forwards bool
	// Also are further addresses, as fleet.ParseDestination reads them. They are tried
	// in this order where nobody answers at Host.
	Also Words
	// AskPassword says that the host's sudo wants a password.
	AskPassword bool
	// Fleet tells that Name is that of a host of the configuration, for Options.HostKeys.
	Fleet bool
}

// Words is a list of words as one value.
type Words string

// JoinWords makes one value of words, none of which holds a NUL.
func JoinWords(words []string) Words {
	var all Words
	for _, w := range words {
		all += Words(strings.ReplaceAll(w, "\x00", "")) + "\x00"
	}
	return all
}

// List are the words.
func (w Words) List() []string {
	if w == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(w), "\x00"), "\x00")
}

// TargetOf is the target that a configuration says for a host.
func TargetOf(h fleet.Host) Target {
	t := Target{
		Name: h.Name, Host: h.At.Host, User: h.At.User, Port: h.At.Port,
		Also: JoinWords(h.At.Also), Options: JoinWords(h.At.Options), Become: JoinWords(h.At.Become), AskPassword: h.At.AskPassword,
		Agent: h.At.ForwardAgent, Fleet: true,
	}
	if !h.Platform.Guessed() { // else it is only a guess
		t.System = h.Platform.Name
	}
	return t
}

// Pool owns the connections of one run: a host.Pool.
type Pool struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	dir    *scratch.Dir // control directory, made when first needed
	dirErr error
	dirEnd func() // the directory is ours to remove no more
	next   int
	hosts  map[Target]*Host
	closed bool
	procs  sync.WaitGroup // local ssh processes, and sessions

	common common

	password struct {
		sync.Mutex
		asked bool
		value string
		err   error
	}
}

// NewPool checks opts and makes a pool. No host is connected to.
func NewPool(opts Options) (*Pool, error) {
	if opts.Program == "" {
		opts.Program = "ssh"
	}
	program, err := exec.LookPath(opts.Program)
	if err != nil {
		return nil, fault.New("cannot find the program %q", opts.Program).Because(err).
			Hint("install OpenSSH's client (nix profile install nixpkgs#openssh)")
	}
	opts.Program = program
	switch opts.Elevate {
	case "":
		opts.Elevate = ElevateAuto
	case ElevateAuto, ElevateSudo, ElevateDoas, ElevateNone:
	default:
		return nil, fault.New("unknown way to become root: %q", opts.Elevate).Hint("use auto, sudo, doas or none")
	}
	if opts.SessionsPerConnection <= 0 {
		opts.SessionsPerConnection = 8
	}
	if opts.ConnectionsPerHost <= 0 {
		opts.ConnectionsPerHost = 4
	}
	if opts.ConfigFile != "" && opts.ConfigFile != "none" {
		if err := regular.Check(opts.ConfigFile); err != nil && opts.ConfigFile != os.DevNull {
			return nil, fault.New("cannot read the ssh configuration %s: %w", opts.ConfigFile, fault.Reason(err)).
				Hint("SSH_CONFIG_FILE must name a file")
		}
	}
	if opts.IdentityFile != "" && !strings.HasPrefix(opts.IdentityFile, "~") {
		if err := regular.Check(opts.IdentityFile); err != nil {
			return nil, fault.New("cannot read the ssh key %s: %w", opts.IdentityFile, fault.Reason(err)).
				Hint("SSH_IDENTITY_FILE must name a private key, or a public key whose private half is in the agent")
		}
	}
	opts.ExtraArgs, err = ownArgs(opts.ExtraArgs)
	if err != nil {
		return nil, err
	}
	// Of two values ssh takes the first, which is the user's; of -F the last.
	if s := option(opts.ExtraArgs, "ConnectTimeout"); s != "" {
		if n, err := strconv.Atoi(s); err == nil && n > 0 {
			opts.ConnectTimeout, opts.timeoutGiven = time.Duration(n)*time.Second, true
		}
	}
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = 10 * time.Second
	}
	if opts.LoginLimit <= 0 {
		opts.LoginLimit = 3 * opts.ConnectTimeout
	}
	opts.ConfigFile, opts.ExtraArgs = onlyConfig(opts.ConfigFile, opts.ExtraArgs)
	p := &Pool{opts: opts, hosts: map[Target]*Host{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if opts.SkipHostKeyCheck {
		event.On(opts.Sink, "", event.StepConnect).Warn(
			"host keys are not checked: anybody on the way can pose as a host",
			"unset SSH_SKIP_HOST_KEY_CHECK")
	}
	return p, nil
}

// Host is the host of t. The same target always gives the same Host.
func (p *Pool) Host(t Target) *Host {
	t.Host = strings.TrimSuffix(strings.TrimPrefix(t.Host, "["), "]")
	if t.Name == "" {
		t.Name = t.Host
	}
	if t.User == "" {
		if user, host, ok := cutUser(t.Host); ok {
			t.User, t.Host = user, host
		} else {
			t.User = p.opts.User
		}
	}
	system := t.System
	t.System = ""
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[t]
	if h == nil {
		h = &Host{pool: p, target: t, changed: make(chan struct{})}
		h.addresses, h.bad = addressesOf(t)
		p.hosts[t] = h
	}
	if system != "" {
		h.mu.Lock()
		h.system = system
		h.mu.Unlock()
	}
	return h
}

// Conn is host.Pool's.
func (p *Pool) Conn(h fleet.Host) host.Conn { return p.Host(TargetOf(h)) }

func cutUser(s string) (user, host string, ok bool) {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// Close ends all commands and connections and removes what they left on this
// machine. It waits at most a few seconds and may be called more than once.
func (p *Pool) Close() error {
	p.mu.Lock()
	already := p.closed
	p.closed = true
	p.mu.Unlock()
	if !already {
		p.cancel() // SIGTERM to every ssh: a master says goodbye and removes its socket
	}
	done := make(chan struct{})
	go func() { defer crash.Catch(); p.procs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(killDelay + 3*time.Second):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	dir := p.dir
	p.dir = nil
	if dir == nil {
		return nil
	}
	defer p.dirEnd()
	return dir.Remove()
}

// errClosed is what a closed pool answers.
var errClosed = errors.New("the connections of this run are closed")

// socketPath gives the path of a new control socket.
func (p *Pool) socketPath() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", errClosed
	}
	if p.dir == nil && p.dirErr == nil {
		if p.dir, p.dirErr = controlDir(os.Getenv("XDG_RUNTIME_DIR")); p.dirErr == nil {
			p.dirEnd = leash.Sockets(p.dir.Path)
		}
	}
	if p.dirErr != nil {
		return "", p.dirErr
	}
	p.next++
	return filepath.Join(p.dir.Path, "m"+strconv.Itoa(p.next)), nil
}

// maxSocket is the longest socket path that all systems take (104 bytes with
// the final NUL on macOS and BSD), less the ".XXXXXXXXXXXXXXXX" that ssh adds
// while it binds.
const maxSocket = 103 - 17

// controlDir makes a private directory with a short path.
func controlDir(runtimeDir string) (*scratch.Dir, error) {
	var last error
	for _, base := range []string{runtimeDir, "/tmp", os.TempDir()} {
		// ssh expands %x and ${x} in the path of a socket.
		if !filepath.IsAbs(base) || strings.ContainsAny(base, "%$") || len(base)+len("/godwit-1234567890/m99999") > maxSocket {
			continue
		}
		dir, err := scratch.In(base, "")
		if err != nil {
			last = err
			continue
		}
		return dir, nil
	}
	return nil, fault.New("cannot make a directory for ssh's control sockets: %v", fault.Reason(last)).Because(last).
		Hint("set XDG_RUNTIME_DIR to a directory of yours with a short path")
}

// askPassword asks for the password, once per pool.
func (p *Pool) askPassword(ctx context.Context) (string, error) {
	p.password.Lock()
	defer p.password.Unlock()
	if !p.password.asked {
		value, err := p.opts.Password(ctx)
		if err != nil && ctx.Err() != nil {
			return "", err
		}
		if err == nil && strings.ContainsAny(value, "\n\x00") {
			err = errors.New("a password cannot hold a line break")
		}
		p.password.asked, p.password.value, p.password.err = true, value, err
	}
	return p.password.value, p.password.err
}
