// Package onmachine reads and writes the identity of a machine that runs.
package onmachine

import (
	"bytes"
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/identity"
)

// Read gives the public ed25519 ssh host key of a machine, a line of an authorized_keys
// file. ssh has verified the connection, if it is one of ssh.
func Read(ctx context.Context, conn host.Conn, name string) (string, error) {
	var out bytes.Buffer
	err := conn.Run(ctx, host.Cmd{Script: "cat " + identity.SSHHostKeyFile + ".pub", Stdout: &out, Name: "reading the host key"})
	if err != nil {
		return "", fault.New("cannot read %s.pub: %w", identity.SSHHostKeyFile, err).On(name)
	}
	return strings.TrimSpace(out.String()), nil
}

// KnownAs is what ssh's known_hosts calls an address; empty where ssh decides.
func KnownAs(at fleet.Address) string {
	if at.Host != "" && at.Port != 0 && at.Port != 22 {
		return fmt.Sprintf("[%s]:%d", at.Host, at.Port)
	}
	return at.Host
}

//go:embed install.sh
var install string

// Install writes the private age keys of a machine, lines AGE-SECRET-KEY-…, to
// identity.KeyFile on it.
func Install(ctx context.Context, conn host.Conn, name, keys string) error {
	var said bytes.Buffer
	err := conn.Run(ctx, host.Cmd{Script: install, Stdin: strings.NewReader(keys + "# end\n"), Stderr: &said, Elevate: true, KillOnCancel: true, Name: "writing the key"})
	if err == nil {
		return nil
	}
	if line := strings.TrimSpace(said.String()); line != "" {
		err = errors.New(line)
	}
	return fault.New("its key cannot be written: %w", err).On(name)
}
