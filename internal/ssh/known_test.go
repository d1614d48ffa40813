package ssh

import (
	"slices"
	"testing"
)

func TestKnownKeys(t *testing.T) {
	got := knownKeys([]byte(`# Host web found: line 3
web,10.0.0.1 ssh-ed25519 AAAAC3 a comment
|1|c2FsdA==|aGFzaA== ecdsa-sha2-nistp256 AAAAE2
@cert-authority *.lan ssh-rsa AAAAB3
@revoked web ssh-rsa AAAABad

short line
`))
	want := []string{"ssh-ed25519 AAAAC3", "ecdsa-sha2-nistp256 AAAAE2", "@cert-authority ssh-rsa AAAAB3", "@revoked ssh-rsa AAAABad"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
