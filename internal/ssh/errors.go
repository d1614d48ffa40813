package ssh

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/shell"
	"godwit/internal/ui/text"
)

// tooEarly tells whether ssh took a host for silent before its time was over.
func tooEarly(err error) bool {
	var c *host.ConnectError
	return errors.As(err, &c) && c.Early
}

// clean is text.Clean without outer blanks.
func clean(s string) string { return strings.TrimSpace(text.Clean(s)) }

// address is the host as a person knows it, with the port when we know it.
func (h *Host) address() string { return h.current().String() }

// notStarted explains why a command did not begin to run; code is the local
// ssh's exit code.
func (h *Host) notStarted(p *process, code int) error {
	said := p.said() + p.Stderr()
	if code == 255 || code < 0 {
		f := h.classify(said)
		// A second, because ssh measures in whole ones.
		if c := new(*host.ConnectError); p.lane == nil && errors.As(f, c) && (*c).Kind == host.Timeout {
			(*c).Early = time.Since(p.born) < h.connectTimeout()-time.Second
		}
		// An ssh without a word over a connection that stood has lost it, too: the host may be
		// on its way down. What was asked for may have begun.
		mute := host.KindOf(f) == host.Other && strings.TrimSpace(said) == ""
		if (host.KindOf(f) == host.Dropped || mute) && p.lane != nil {
			return &host.DroppedError{Host: h.target.Name, Command: p.cmd.String(), Stderr: said, Err: f}
		}
		return f
	}
	if p.elev != nil && len(p.elev.words) > 0 {
		f := fault.New("cannot become root with %s", baseName(p.elev.words[0])).On(h.target.Name).
			Detail(host.LastLines(said, 4)...).Because(&host.ElevateError{Stderr: said})
		if strings.Contains(said, "must have a tty") {
			f.Hint("remove requiretty from the host's sudoers")
		}
		return f
	}
	return fault.New("logged in, but the account runs no commands (its shell ended with status %d)", code).On(h.target.Name).
		Detail(host.LastLines(said, 4)...).Because(&host.ConnectError{Kind: host.NoLogin, Stderr: said}).
		Hint("%s", h.Typed([]string{"-v"}, "true"))
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// said is what the host, and ssh, said before the command ran, on both outputs.
func (p *process) said() string {
	p.out.mu.Lock()
	out := string(p.out.said)
	p.out.mu.Unlock()
	return strings.TrimSpace(out) + "\n" + p.err.before()
}

// check refuses what ssh would take for something else than an address.
func (h *Host) check() error {
	if strings.HasPrefix(h.target.Host, "-") {
		return fault.New("%q is not an address: it begins with a dash", h.target.Host).On(h.target.Name).
			Because(&host.ConnectError{Kind: host.BadConfig}).Hint("look at deployment.targetHost")
	}
	if h.bad != nil {
		return fault.New("a further address of the host: %w", h.bad).On(h.target.Name).Because(&host.ConnectError{Kind: host.BadConfig})
	}
	if _, err := ownArgs(h.target.Options.List()); err != nil {
		return fault.New("the host's own options of ssh: %w", err).On(h.target.Name).Because(&host.ConnectError{Kind: host.BadConfig})
	}
	return nil
}

func (h *Host) slowLogin(p *process, limit time.Duration) error {
	f := fault.New("connected, but no shell came up within %s", limit.Round(time.Second)).On(h.target.Name)
	if p.err.started() {
		f.Msg = fmt.Sprintf("a shell came up, but did not answer within %s", limit.Round(time.Second))
	}
	return f.Detail(host.LastLines(p.said(), 3)...).Because(&host.ConnectError{Kind: host.Timeout, Stderr: p.said()}).
		Hint("%s", h.Typed([]string{"-v"}, "true")).
		Hint("a host that is only slow gets longer with GODWIT_SSHOPTS='-o ConnectTimeout=%d': a login may take three times that",
			2*int(h.pool.opts.ConnectTimeout/time.Second))
}

// silent is a command that a host did not begin with.
func (h *Host) silent(p *process, limit time.Duration) error {
	if p.lane == nil {
		return h.slowLogin(p, limit)
	}
	f := fault.New("connected, but the host did not begin with %s within %s", p.cmd, limit.Round(time.Second)).On(h.target.Name)
	hint := h.Typed(nil, "true")
	if p.elev != nil && len(p.elev.words) > 0 {
		f.Msg = fmt.Sprintf("%s did not answer within %s", baseName(p.elev.words[0]), limit.Round(time.Second))
		hint = h.Typed(nil, append(p.elev.words[:len(p.elev.words):len(p.elev.words)], "true")...)
	}
	return f.Detail(host.LastLines(p.said(), 3)...).Because(&host.ConnectError{Kind: host.Timeout, Stderr: p.said()}).Hint("try it: %s", hint)
}

// closedOutputs is a session that the host keeps open without a way to hear from it.
func (h *Host) closedOutputs(p *process) error {
	return fault.New("logged in, but the account runs no commands: it closed its output and stayed").On(h.target.Name).
		Detail(host.LastLines(p.said(), 4)...).Because(&host.ConnectError{Kind: host.NoLogin, Stderr: p.said()}).
		Hint("%s", h.Typed([]string{"-v"}, "true")).
		Hint("look for ForceCommand in the host's sshd_config, for command= in its authorized_keys, and for exec in the shell's startup files")
}

// talks is a host that says so much that it is not listened to.
func (h *Host) talks(p *process) *fault.Error {
	said := p.said()
	return fault.New("the host does not stop sending before it runs a command").On(h.target.Name).
		Detail(host.LastLines(said, 2)...).Because(&host.ConnectError{Kind: host.NoLogin, Stderr: said}).
		Hint("%s", h.Typed(nil, "true")).
		Hint("look at what the shell's startup files print there")
}

// inputEaten is a login shell that takes the command for an answer.
func (h *Host) inputEaten() error {
	return fault.New("logged in, but something that the login shell starts reads from standard input, and so took the command").On(h.target.Name).
		Because(&host.ConnectError{Kind: host.NoLogin}).
		Hint("look in the shell's startup files there (~/.bashrc, /etc/profile.d, ~/.zshenv) for what asks a question; it belongs behind: case $- in *i*) ... esac").
		Hint("this shows it: echo swallowed | %s", h.Typed(nil, "cat"))
}

// cannotStart is a local ssh that could not be started.
func cannotStart(err error) *fault.Error {
	f := fault.New("cannot start ssh: %w", err)
	switch {
	case errors.Is(err, syscall.EMFILE):
		f.Hint("a process may have %d files open here: ulimit -n %d", openFiles(), max(4096, 4*openFiles()))
	case errors.Is(err, syscall.ENFILE):
		f.Hint("all of this machine's open files are in use (sysctl fs.file-max)")
	case errors.Is(err, syscall.EAGAIN):
		f.Hint("ulimit -u bounds how many processes you may have")
	}
	return f
}

func (h *Host) noMaster(said string) error {
	return fault.New("ssh did not make its control socket").On(h.target.Name).
		Detail(host.LastLines(said, 3)...).Because(&host.ConnectError{Kind: host.Other, Stderr: said}).
		Hint("set XDG_RUNTIME_DIR to a directory that can hold sockets")
}

var (
	connectTo   = regexp.MustCompile(`connect to (?:host|address) (\S+) port (\d+): (.+)`)
	noName      = regexp.MustCompile(`Could not resolve hostname (\S+?): (.+)`)
	fingerprint = regexp.MustCompile(`(?m)^(SHA256:\S+?)\.?\s*$`)
	removeKey   = regexp.MustCompile(`(?m)^\s*(ssh-keygen -f .+)$`)
	denied      = regexp.MustCompile(`(?m)^(?:(\S+)@\S+: )?Permission denied \(([^)]*)\)`)
)

// classify turns what ssh wrote before it gave up into an error.
func (h *Host) classify(said string) *fault.Error {
	said = strings.ReplaceAll(said, "\r", "")
	make := func(kind host.Kind, format string, args ...any) *fault.Error {
		return fault.New(format, args...).On(h.target.Name).Because(&host.ConnectError{Kind: kind, Stderr: said})
	}
	if h.current().host == "" {
		return make(host.BadConfig, "it has no address to connect to").Hint("set deployment.targetHost to one, or leave it out where the name is the address")
	}
	at := h.address()
	m := connectTo.FindStringSubmatch(said)
	if m != nil {
		at = net.JoinHostPort(m[1], m[2])
	}
	verbose := h.Typed([]string{"-v"}, "true")
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("REVOKED HOST KEY", "marked as revoked"):
		f := make(host.HostKeyRevoked, "%s shows a host key that is marked as revoked here: not connecting", at)
		if fp := fingerprint.FindStringSubmatch(said); fp != nil {
			f.Detail("it shows " + fp[1])
		}
		return f.Detail("somebody put it on the list of keys that nobody may trust (@revoked in known_hosts, or RevokedHostKeys)").
			Hint("the host needs a new key; do not remove the mark because of this message").
			Hint("where it stands: %s", fault.Command("ssh-keygen", "-F", h.knownHostsName()))
	case has("REMOTE HOST IDENTIFICATION HAS CHANGED", "has changed and you have requested strict checking"):
		f := make(host.HostKeyChanged, "%s shows another host key than the one on record: not connecting", at)
		if fp := fingerprint.FindStringSubmatch(said); fp != nil {
			f.Detail("it shows " + fp[1])
		}
		f.Hint("compare on the host's console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
		if h.vouchedKey() != "" {
			return h.otherKey(f)
		}
		if rm := removeKey.FindStringSubmatch(said); rm != nil {
			f.Hint("if the host was really reinstalled: %s", fault.Raw(clean(rm[1])))
		} else {
			f.Hint("if the host was really reinstalled: %s", fault.Command("ssh-keygen", "-R", h.knownHostsName()))
		}
		return f
	case has("Host key verification failed", "host key is known for"):
		return make(host.HostKeyUnknown, "the host key of %s is not known here: not connecting", at).
			Hint("compare on the host's console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").
			Hint("connect once and accept it: %s", h.Typed(nil, "true")).
			Hint("or: %s >>~/.ssh/known_hosts", fault.Raw(h.keyscan()))
	case has("no matching host key type", "no matching key exchange", "no matching cipher", "no matching MAC", "Unable to negotiate"):
		return make(host.Other, "%s and this machine's ssh have no algorithm in common", at).Detail(host.LastLines(said, 2)...).Hint("%s", verbose)
	case has("Permission denied (", "Too many authentication failures"):
		f := make(host.AuthFailed, "%s did not accept any of our keys", at)
		if d := denied.FindStringSubmatch(said); d != nil {
			if d[1] != "" {
				f.Msg = fmt.Sprintf("%s did not accept any of our keys for user %s", at, d[1])
			}
			f.Detail("it takes: " + strings.ReplaceAll(d[2], ",", ", "))
		}
		if has("UNPROTECTED PRIVATE KEY FILE") {
			f.Detail("the key file may be read by others, so ssh did not use it")
			if key := h.pool.opts.IdentityFile; key != "" {
				f.Hint("%s", fault.Command("chmod", "600", "--", key))
			}
		}
		return f.Hint("ssh-add -l shows the keys of your agent; a key with a passphrase must be in it (ssh-add)").Hint("%s", verbose)
	case has("exec request failed on channel", "shell request failed on channel", "administratively prohibited"):
		return make(host.NoLogin, "logged in, but the account runs no commands: the host refused one").Detail(host.LastLines(said, 2)...).Hint("%s", verbose)
	case has("Could not resolve hostname"):
		name, why := h.current().host, ""
		if n := noName.FindStringSubmatch(said); n != nil {
			name, why = n[1], clean(n[2])
		}
		f := make(host.NameNotFound, "cannot find the address of %q", name)
		if why != "" {
			f.Detail(strings.ToLower(why[:1]) + why[1:])
		}
		return f.Hint("%s", fault.Command(append(lookUp(), name)...)).Hint("deployment.targetHost names the address to connect to")
	case has("Bad configuration option", "bad configuration option", "Can't open user config file", "Bad owner or permissions on", "keyword ", "unknown option -- ", "unsupported option", "Unsupported option"):
		return make(host.BadConfig, "ssh does not accept its configuration").Detail(host.LastLines(said, 3)...).
			Hint("%s", fault.Raw(h.CommandLine("-G")))
	case has("Connection refused"):
		return make(host.Refused, "%s refuses connections: no ssh server listens there", at).Hint("%s", verbose)
	case has("No route to host", "Network is unreachable", "Host is down", "Network is down"):
		why := "no route to host"
		if m != nil {
			why = strings.ToLower(clean(m[3]))
		}
		return make(host.Unreachable, "cannot reach %s: %s", at, why).Hint("%s", verbose)
	case has("timed out", "Timeout, server "):
		return make(host.Timeout, "no answer on %s within %s", at, h.connectTimeout()).Hint("%s", verbose)
	case has("Connection closed by", "Connection reset", "closed by remote host", "Broken pipe", "kex_exchange_identification",
		"Control master terminated", "read header failed", "read from master failed", "Connection to "):
		return make(host.Dropped, "%s closed the connection before the login", at).Detail(host.LastLines(said, 2)...).Hint("%s", verbose)
	}
	f := make(host.Other, "ssh could not connect to %s", at).Detail(host.LastLines(said, 4)...)
	return f.Hint("%s", verbose)
}

// lookUp is the command that finds addresses as ssh does on this machine.
func lookUp() []string {
	if runtime.GOOS == "darwin" {
		return []string{"dscacheutil", "-q", "host", "-a", "name"}
	}
	return []string{"getent", "hosts"}
}

// knownHostsName is the host's name in a known_hosts file.
func (h *Host) knownHostsName() string {
	a := h.current()
	if a.port != 0 && a.port != 22 {
		return "[" + a.host + "]:" + strconv.Itoa(a.port)
	}
	return a.host
}

func (h *Host) keyscan() string {
	to := h.current()
	a := []string{"ssh-keyscan"}
	if to.port != 0 {
		a = append(a, "-p", strconv.Itoa(to.port))
	}
	return shell.Join(append(a, "--", to.host))
}
