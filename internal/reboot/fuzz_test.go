package reboot

import (
	"context"
	"testing"

	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

// says is a host that gives the same answer to everything.
type says struct {
	hosttest.Stub
	answer string
}

func (s says) Run(_ context.Context, c host.Cmd) error {
	if c.Stdout != nil {
		_, _ = c.Stdout.Write([]byte(s.answer))
	}
	return nil
}

// FuzzFacts reads what a host says of its boots and of its boot loader.
func FuzzFacts(f *testing.F) {
	f.Add("boot 1\nbooted /nix/store/a\ncurrent /nix/store/a\nprofile /nix/store/b\nstate armed\ndecision keep\nleft 99\nend\n")
	f.Add("kind systemd-boot\nentry nixos-generation-4.conf\nwhy none\n")
	f.Fuzz(func(t *testing.T, s string) {
		parseFacts(s)
		_, _ = Probe(t.Context(), says{answer: s}, "web")
	})
}
