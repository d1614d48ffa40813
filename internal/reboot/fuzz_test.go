package reboot

import (
	"testing"

	"godwit/internal/host/hosttest"
)

// FuzzFacts reads what a host says of its boots and of its boot loader.
func FuzzFacts(f *testing.F) {
	f.Add("boot 1\nbooted /nix/store/a\ncurrent /nix/store/a\nprofile /nix/store/b\nstate armed\ndecision keep\nleft 99\nend\n")
	f.Add("kind systemd-boot\nentry nixos-generation-4.conf\nwhy none\n")
	f.Fuzz(func(t *testing.T, s string) {
		parseFacts(s)
		_, _ = Probe(t.Context(), hosttest.Says("web", []byte(s)), "web")
	})
}
