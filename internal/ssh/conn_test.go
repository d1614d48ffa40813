package ssh_test

import (
	"testing"

	"godwit/internal/host/conntest"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
)

func TestConn(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	o := s.Options()
	o.Elevate = ssh.ElevateNone
	conntest.Run(t, conntest.Options{Root: true, Typed: true}, s.HostWith(t, "web1", o))
}
