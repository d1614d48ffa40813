package ssh

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"godwit/internal/awake"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// Ways to become root.
const (
	ElevateAuto = "auto" // nothing for root, else sudo or doas without a password, else sudo with it
	ElevateSudo = "sudo"
	ElevateDoas = "doas"
	ElevateNone = "none" // run as the login user
)

// elevation is how to become root on one host.
type elevation struct {
	words    []string // before /bin/sh; none for root
	password bool     // sudo reads secret from stdin
	secret   string
	trial    bool // send the password only
	agent    bool // over a connection that forwards the agent
}

// Elevation tells how the host's commands become root: "none", "sudo",
// "sudo with a password", "sudo with the agent" or "doas".
func (h *Host) Elevation(ctx context.Context) (string, error) {
	e, err := h.elevation(ctx)
	switch {
	case err != nil:
		return "", err
	case len(e.words) == 0:
		return ElevateNone, nil
	case e.agent:
		return "sudo with the agent", nil
	case e.password:
		return "sudo with a password", nil
	case strings.HasSuffix(e.words[0], "doas"):
		return ElevateDoas, nil
	}
	return ElevateSudo, nil
}

// elevation finds out, once per host, how to become root.
func (h *Host) elevation(ctx context.Context) (*elevation, error) {
	h.elevMu.Lock()
	defer h.elevMu.Unlock()
	if h.elev != nil {
		return h.elev, nil
	}
	// Several commands often want to become root at once: one waits in vain, not each.
	if h.elevErr != nil && awake.Since(h.elevAt) < silenceHolds {
		return nil, h.elevErr
	}
	h.elevErr = nil
	e, err := h.becomeRoot(ctx)
	var dropped *host.DroppedError
	if host.KindOf(err) == host.Timeout || errors.As(err, &dropped) && dropped.Limit > 0 {
		h.elevErr, h.elevAt = err, awake.Now()
	}
	return e, err
}

// becomeRoot finds out how. h.elevMu is held.
func (h *Host) becomeRoot(ctx context.Context) (*elevation, error) {
	way := h.pool.opts.Elevate
	if way == ElevateNone {
		h.elev = &elevation{}
		return h.elev, nil
	}
	h.mu.Lock()
	me := h.login
	h.mu.Unlock()
	if me == nil {
		if err := h.Connect(ctx); err != nil {
			return nil, err
		}
		h.mu.Lock()
		me = h.login
		h.mu.Unlock()
	}
	if me.uid == "0" {
		h.elev = &elevation{}
		return h.elev, nil
	}
	auto := way == ElevateAuto
	if words := h.target.Become.List(); auto && len(words) > 0 {
		e, err := h.tryWords(ctx, me, words)
		if err == nil {
			h.elev = e
		}
		return e, err
	}
	if auto {
		switch {
		case me.sudo != "":
			way = ElevateSudo
		case me.doas != "":
			way = ElevateDoas
		default:
			return nil, fault.New("%s is not root, and there is neither sudo nor doas", me.user).On(h.target.Name).
				Hint("log in as root (deployment.targetUser = \"root\"), or enable security.sudo on the host").Because(&host.ElevateError{})
		}
	}
	var e *elevation
	var err error
	if way == ElevateSudo {
		e, err = h.trySudo(ctx, me, auto)
	} else {
		e, err = h.tryDoas(ctx, me)
	}
	if err != nil {
		return nil, err
	}
	h.elev = e
	return e, nil
}

// probe runs nothing as root.
var probe = host.Cmd{Argv: []string{"true"}, Elevate: true, Name: "becoming root", Limit: 20 * time.Second, MaxOutput: greetingMax}

// trySudo tries sudo without a password, then, if doas may be used too, that,
// and then sudo with the password.
func (h *Host) trySudo(ctx context.Context, me *login, auto bool) (*elevation, error) {
	sudo := me.sudo
	if sudo == "" {
		return nil, fault.New("there is no sudo").On(h.target.Name).Hint("use --elevate=doas or none").Because(&host.ElevateError{})
	}
	// No -p: sudo-rs does not know it. -k: an old ticket must not decide.
	e := &elevation{words: []string{sudo, "-k", "-n", "--"}}
	err := h.tryElevation(ctx, e)
	var refused *host.ElevateError
	if err == nil || !errors.As(err, &refused) {
		return e, err
	}
	if h.mayForward() && !strings.Contains(refused.Stderr, "must have a tty") {
		return h.withAgent(ctx, me, []string{sudo}, refused)
	}
	if auto && me.doas != "" {
		if e, err := h.tryDoas(ctx, me); err == nil {
			return e, nil
		}
	}
	if strings.Contains(refused.Stderr, "must have a tty") { // a password would not help
		return nil, err
	}
	return h.withPassword(ctx, me, []string{sudo}, refused)
}

// tryWords tries what the configuration says makes a command root's: sudo or doas with
// arguments, without a password and then with it, or another program.
func (h *Host) tryWords(ctx context.Context, me *login, words []string) (*elevation, error) {
	program, rest := words[0], words[1:]
	quiet := slices.Clone(words)
	switch baseName(program) {
	case "sudo":
		program = cmp.Or(me.sudo, program)
		quiet = slices.Concat([]string{program, "-k", "-n"}, rest)
	case "doas":
		quiet = slices.Concat([]string{cmp.Or(me.doas, program), "-n"}, rest)
	}
	e := &elevation{words: quiet}
	err := h.tryElevation(ctx, e)
	var refused *host.ElevateError
	if err == nil || !errors.As(err, &refused) || baseName(program) != "sudo" {
		return e, err
	}
	if h.mayForward() {
		return h.withAgent(ctx, me, append([]string{program}, rest...), refused)
	}
	return h.withPassword(ctx, me, append([]string{program}, rest...), refused)
}

// withPassword tries a sudo with the password, where there is one.
func (h *Host) withPassword(ctx context.Context, me *login, sudo []string, refused *host.ElevateError) (*elevation, error) {
	if o := h.pool.opts; o.Password == nil || o.PasswordOnRequest && !h.target.AskPassword {
		return nil, fault.New("sudo needs a password for %s", me.user).On(h.target.Name).Detail(refused.Lines()...).Because(refused).
			Hint("give it with --passwd, or let %s use sudo without (security.sudo.extraRules with NOPASSWD, or security.sudo.wheelNeedsPassword = false)", me.user)
	}
	secret, err := h.pool.askPassword(ctx)
	if err != nil {
		return nil, fault.New("no password for sudo: %w", err).On(h.target.Name)
	}
	e := &elevation{words: asking(sudo), password: true, secret: secret}
	// The first time only the password is sent: if it is wrong, that is one
	// failed attempt, not three.
	err = h.tryElevation(ctx, &elevation{words: e.words, password: true, secret: secret, trial: true})
	if errors.As(err, &refused) {
		return nil, fault.New("sudo did not accept the password of %s", me.user).On(h.target.Name).Detail(refused.Lines()...).Because(refused).
			Hint("try it on the host: %s", h.CommandLine("-t")+" sudo -k true")
	}
	return e, err
}

// asking is a sudo that asks for a password on its standard input.
func asking(sudo []string) []string {
	words := slices.Concat(sudo[:1], []string{"-k", "-S"}, sudo[1:])
	if len(sudo) == 1 {
		words = append(words, "--")
	}
	return words
}

func (h *Host) tryDoas(ctx context.Context, me *login) (*elevation, error) {
	doas := me.doas
	if doas == "" {
		return nil, fault.New("there is no doas").On(h.target.Name).Hint("use --elevate=sudo or none").Because(&host.ElevateError{})
	}
	e := &elevation{words: []string{doas, "-n"}}
	err := h.tryElevation(ctx, e)
	var refused *host.ElevateError
	if errors.As(err, &refused) {
		return nil, fault.New("doas does not let %s become root without a password, and it asks for one only on a terminal", me.user).
			On(h.target.Name).Detail(refused.Lines()...).Because(refused).
			Hint("add to /etc/doas.conf: permit nopass %s", me.user)
	}
	return e, err
}

// tryElevation runs nothing, elevated. The error holds an *ElevateError when
// the elevation itself was refused.
func (h *Host) tryElevation(ctx context.Context, e *elevation) error {
	by := h.by(e)
	l, err := by.acquire(ctx)
	if err != nil {
		return err
	}
	p, err := by.launch(ctx, probe, false, l, e)
	if err != nil {
		by.release(l)
		return err
	}
	p.Stdin.Close()
	go func() { defer crash.Catch(); io.Copy(io.Discard, p.Stdout) }()
	err = p.Wait()
	var exit *host.ExitError
	if e.trial && errors.As(err, &exit) {
		return nil // it got as far as root's shell, which was told nothing
	}
	return err
}
