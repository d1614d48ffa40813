package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
)

// way is how a command becomes root's.
type way struct {
	words    []string // before sh; none for root
	password *string  // what sudo reads from its input
	trial    bool     // only to see whether it works
}

// elevation finds out once how to become root here.
type elevation struct {
	mu    sync.Mutex
	known *way
}

// isRoot is another one in tests.
var isRoot = func() bool { return os.Getuid() == 0 }

// tryLimit bounds a sudo that runs nothing: it may ask a directory.
const tryLimit = 20 * time.Second

func (c *conn) becomeRoot(ctx context.Context) (*way, error) {
	e := &c.pool.root
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known != nil {
		return e.known, nil
	}
	w, err := c.findRoot(ctx)
	if err == nil {
		e.known = w
	}
	return w, err
}

func (c *conn) findRoot(ctx context.Context) (*way, error) {
	how := c.pool.opts.Elevate
	if how == "none" || isRoot() {
		return &way{}, nil
	}
	auto := how == "" || how == "auto"
	sudo, doas := program("sudo"), program("doas")
	me := "you"
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	var refused *host.ElevateError
	var last error
	if sudo != "" && (auto || how == "sudo") {
		// No -p: sudo-rs does not know it. -k: an old ticket must not decide.
		w := &way{words: []string{sudo, "-k", "-n", "--"}}
		if last = c.try(ctx, w); last == nil || !errors.As(last, &refused) {
			return w, last
		}
	}
	if doas != "" && (auto || how == "doas") {
		w := &way{words: []string{doas, "-n"}}
		err := c.try(ctx, w)
		var no *host.ElevateError
		if err == nil || !errors.As(err, &no) {
			return w, err
		}
		if last == nil {
			refused = no
			last = fault.New("doas does not let %s become root without a password, and it asks for one only on a terminal", me).
				On(c.name).Detail(refused.Lines()...).Because(refused).Hint("add to /etc/doas.conf: permit nopass %s", me)
		}
	}
	switch {
	case last == nil:
		return nil, fault.New("%s is not root, and there is neither sudo nor doas", me).On(c.name).Because(&host.ElevateError{}).
			Hint("run godwit as root here")
	case sudo == "" || how == "doas":
		return nil, last
	case c.pool.opts.Password == nil || c.pool.opts.PasswordOnRequest && !c.asks:
		return nil, fault.New("sudo needs a password for %s", me).On(c.name).Detail(refused.Lines()...).Because(refused).
			Hint("give it with --passwd, or let %s use sudo without (security.sudo.extraRules with NOPASSWD)", me)
	}
	secret, err := c.pool.opts.Password(ctx)
	if err == nil && strings.ContainsAny(secret, "\n\x00") {
		err = errors.New("a password cannot hold a line break")
	}
	if err != nil {
		return nil, fault.New("no password for sudo: %w", err).On(c.name)
	}
	w := &way{words: []string{sudo, "-k", "-S", "--"}, password: &secret}
	// Nothing but the password is sent at first: a wrong one is one failed attempt, not three.
	if err := c.try(ctx, &way{words: w.words, password: w.password, trial: true}); err != nil {
		if errors.As(err, &refused) {
			return nil, fault.New("sudo did not accept the password of %s", me).On(c.name).Detail(refused.Lines()...).Because(refused).
				Hint("try it: sudo -k true")
		}
		return nil, err
	}
	return w, nil
}

// try runs nothing as root.
func (c *conn) try(ctx context.Context, w *way) error {
	p, err := c.start(ctx, host.Cmd{Argv: []string{"true"}, Elevate: true, Name: "becoming root", Limit: tryLimit}, false, w)
	if err != nil {
		return err
	}
	_ = p.in.Close()
	err = p.wait()
	var exit *host.ExitError
	if w.trial && errors.As(err, &exit) {
		return nil // it got as far as root's shell, which was told nothing
	}
	return err
}

// program finds a setuid program where NixOS has it, and then as everybody does.
func program(name string) string {
	for _, where := range []string{filepath.Join("/run/wrappers/bin", name), name} {
		if path, err := exec.LookPath(where); err == nil {
			return path
		}
	}
	return ""
}
