package deploy

import (
	"context"

	"godwit/internal/ssh"
)

// ReleasePushed takes the root of a push away when it is that of system: what a
// deployer that died could not do for its own.
func ReleasePushed(ctx context.Context, conn *ssh.Host, system string) error {
	return conn.Run(ctx, ssh.Cmd{
		Script:  `[ "$(readlink "$2")" != "$1" ] || rm -f "$2"`,
		Args:    []string{system, pushedRoot},
		Elevate: true,
	})
}
