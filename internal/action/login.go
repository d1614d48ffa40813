package action

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ssh"
)

// LoginRequest asks for the way to one host.
type LoginRequest struct {
	// Where names the host.
	Where Where
	// TTY asks for a terminal, also with Words; these are a line for the login shell.
	TTY   bool
	Words []string
}

// Login is the command that connects a person to a host.
func Login(ctx context.Context, e *Env, r LoginRequest) ([]string, error) {
	s := e.open()
	defer s.close()
	if err := s.openPool(); err != nil {
		return nil, err
	}
	if err := s.load(ctx, loadRequest{where: r.Where, selection: r.Where.selection(everyHost)}); err != nil {
		return nil, err
	}
	switch {
	case len(s.broken) > 0:
		return nil, s.broken[0].Err
	case len(s.hosts) != 1:
		return nil, fault.New("%s selects %d hosts, and ssh takes one", r.Where.Hosts[0], len(s.hosts)).Hint("godwit exec runs a command on several")
	}
	if h := s.hosts[0]; len(h.At.Also) > 0 && !s.here(h) { // which address is it?
		if err := s.conns.Conn(h).Connect(ctx); host.Retryable(err) {
			return nil, err
		}
	}
	if c := s.overSSH(s.hosts[0]); c != nil {
		c.Vouched(ctx)
	}
	return s.login(s.hosts[0], r.TTY, r.Words), nil
}

// login are the words that connect a person to a host.
func (s *session) login(h fleet.Host, tty bool, words []string) []string {
	line := strings.Join(words, " ")
	if s.here(h) {
		sh := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
		if line == "" {
			return []string{sh}
		}
		return []string{sh, "-c", line}
	}
	var flags []string
	if tty {
		flags = append(flags, "-t")
	}
	argv := s.pool.Host(ssh.TargetOf(s.reached(h))).Words(flags...)
	if line != "" {
		argv = append(slices.Clone(argv), line)
	}
	return argv
}
