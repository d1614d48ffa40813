package deploy

import (
	"context"
	"strconv"
	"strings"

	"godwit/internal/builder"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// importScript runs on the host that a builder sends to. It is one word for the
// login shell there, without what shells read differently.
const importScript = `exec /bin/sh -c 'PATH=/run/wrappers/bin:$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin; if [ "$(id -u)" = 0 ]; then exec nix-store --import; elif command -v sudo >/dev/null; then exec sudo -n nix-store --import; else exec doas -n nix-store --import; fi'`

// direct is the way from an ssh builder to a host past this machine; nil where
// it is not asked for, or the source is something else. The builder reaches the
// host with its own ssh: its keys, its known hosts.
func (p *Pushers) direct(src store.Endpoint, conn *ssh.Host) *store.Direct {
	if p.Direct == nil {
		return nil
	}
	u, err := builder.ParseStoreURI(src.Name)
	if err != nil || u.Key != "" || u.Remote != "" {
		return nil
	}
	from := p.Direct.Host(ssh.Target{Name: u.Text, Host: u.Host, User: u.User, Port: u.Port})
	t := conn.Target()
	words := []string{"ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"}
	if t.User != "" {
		words = append(words, "-l", t.User)
	}
	if t.Port != 0 {
		words = append(words, "-p", strconv.Itoa(t.Port))
	}
	return &store.Direct{
		Import: append(words, "--", t.Host, importScript),
		Run: func(ctx context.Context, script, stdin string) error {
			return from.Run(ctx, ssh.Cmd{Argv: []string{"/bin/sh", "-c", findNix + script}, Stdin: strings.NewReader(stdin), KillOnCancel: true})
		},
	}
}

// findNix adds the places of Nix to the PATH of a shell that is not a login shell.
const findNix = "PATH=$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:$HOME/.nix-profile/bin; export PATH\n"
