package ssh

import (
	"context"
	"errors"

	"godwit/internal/fault"
	"godwit/internal/host"
)

// Where somebody asks for it, sudo on a host may ask the agent of this machine who is
// there (pam_ssh_agent_auth). Only commands that become root then go over connections
// that forward the agent: those of a second Host of the same target. All others, and
// every host on which sudo asks nobody, have connections without.

// mayForward tells whether somebody asked for that.
func (h *Host) mayForward() bool { return h.pool.opts.Agent || h.target.Agent }

// by is the Host whose connections an elevated command goes over.
func (h *Host) by(e *elevation) *Host {
	if e == nil || !e.agent {
		return h
	}
	return h.pool.forwarding(h, true)
}

// forwarding is the Host with h's target whose connections forward the agent; nil
// where there is none and none is to be made.
func (p *Pool) forwarding(h *Host, make bool) *Host {
	t := h.target
	if t.forwards {
		return nil
	}
	t.forwards = true
	if !make {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.hosts[t]
	}
	other := p.Host(t)
	other.at.Store(h.at.Load()) // what answered
	return other
}

// withAgent tries a sudo that asks the agent, and then one with the password.
func (h *Host) withAgent(ctx context.Context, me *login, sudo []string, refused *host.ElevateError) (*elevation, error) {
	// Not -n, with which sudo asks nobody, the agent neither. Instead of a password it
	// gets an empty line.
	e := &elevation{words: asking(sudo), password: true, agent: true}
	trial := *e
	trial.trial = true
	err := h.tryElevation(ctx, &trial)
	if err == nil || !errors.As(err, &refused) {
		return e, err
	}
	if e, err := h.withPassword(ctx, me, sudo, refused); err == nil || ctx.Err() != nil {
		return e, err
	}
	return nil, fault.New("sudo did not accept the agent of this machine for %s", me.user).On(h.target.Name).
		Detail(refused.Lines()...).Because(refused).
		Hint("ssh-add -l shows what the agent has: one of these keys must be in the file that the host's /etc/pam.d/sudo names for pam_ssh_agent_auth").
		Hint("the host's sudoers must keep the way to the agent: Defaults env_keep += \"SSH_AUTH_SOCK\"").
		Hint("its sshd must allow it: AllowAgentForwarding yes")
}

// forwardingAgent is the guards of an ssh that forwards the agent.
func forwardingAgent(guards []string) []string {
	for i, word := range guards {
		switch word {
		case "-a":
			guards[i] = "-A"
		case "ForwardAgent=no":
			guards[i] = "ForwardAgent=yes"
		}
	}
	return guards
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
