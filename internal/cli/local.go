package cli

import (
	"os"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/ssh"
)

// thisMachine is what --local is without a name.
const thisMachine = "."

// localName is the host that is this machine; empty for none.
func (s *session) localName() string {
	if s.app.globals.local != thisMachine {
		return s.app.globals.local
	}
	return hostname()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// here tells whether a host is this machine, so that no ssh is needed: because a person
// says so, or because the configuration lets the host deploy itself and it has this
// machine's name.
func (s *session) here(h fleet.Host) bool {
	return h.Name != "" && (h.Name == s.localName() || h.At.Local && h.Name == hostname())
}

// settleLocal looks at the host that is this machine: one without an address is only
// built, as a rule, and can be deployed to from where it is.
func (s *session) settleLocal() error {
	for i := range s.hosts {
		h := &s.hosts[i]
		switch {
		case !s.here(*h):
		case !h.At.Local && s.app.globals.localAllowed:
			return fault.New("its configuration does not allow that it deploys itself").On(h.Name).
				Hint("write deployment.allowLocalDeployment = true;")
		case h.At.Local && h.At.Host == "":
			h.BuildOnly = false
		}
	}
	return nil
}

// onlyHere is the selection of a run in which --local stands alone: this machine.
func (s *session) onlyHere(sel fleet.Selection) fleet.Selection {
	if name := s.localName(); name != "" && len(sel.On) == 0 && len(sel.Tagged) == 0 {
		sel.On = []string{name}
	}
	return sel
}

// overSSH is the connection to a host that ssh is needed for; nil for this machine.
func (s *session) overSSH(h fleet.Host) *ssh.Host {
	if s.here(h) {
		return nil
	}
	return s.pool.Host(ssh.TargetOf(s.reached(h)))
}
