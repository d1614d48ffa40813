package deploy

import (
	"context"
	"errors"
	"strings"

	"godwit/internal/builder/machines"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// Direct is when an ssh builder sends to hosts by itself, past this machine.
type Direct string

// The ways of Direct.
const (
	DirectAuto Direct = "auto" // where it can and there is much to send; nothing is said where it cannot
	DirectOn   Direct = "on"   // where it can; where it cannot, that is said
	DirectOff  Direct = "off"
)

// worthDirect is how much must be missing on a host for auto to ask the builder
// whether it reaches that host.
const worthDirect = 4 << 20

// importScript runs on the host that a builder sends to. It is one word for the
// login shell there, without what shells read differently.
const importScript = `exec /bin/sh -c 'PATH=/run/wrappers/bin:$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin; if [ "$(id -u)" = 0 ]; then exec nix-store --import; elif command -v sudo >/dev/null; then exec sudo -n nix-store --import; else exec doas -n nix-store --import; fi'`

// probeScript says whether importScript would work.
const probeScript = `exec /bin/sh -c 'PATH=/run/wrappers/bin:$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin; if [ "$(id -u)" = 0 ]; then exec nix-store --version; elif command -v sudo >/dev/null; then exec sudo -n nix-store --version; else exec doas -n nix-store --version; fi'`

// hopScript runs on the builder: ssh with the arguments behind the first, which
// is the known_hosts file, or empty to use the builder's own.
const hopScript = `known=$1; shift
if [ -z "$known" ]; then exec ssh "$@"; fi
f=$(mktemp) || exit
trap 'rm -f "$f"' EXIT
trap 'exit 1' HUP INT TERM
printf '%s' "$known" >"$f"
ssh -o "UserKnownHostsFile=$f" -o GlobalKnownHostsFile=/dev/null -o HostKeyAlias=godwit-host -o HashKnownHosts=no "$@"`

// hop are the words that run script on the host when they run on the builder,
// with the builder's own key or agent. The host's key is checked against what
// this machine knows, and where this machine knows none against what the
// builder knows: never not at all.
func hop(a ssh.Address, script string) []string {
	var known strings.Builder
	for _, k := range a.Keys {
		if rest, ok := strings.CutPrefix(k, "@"); ok {
			marker, key, _ := strings.Cut(rest, " ")
			known.WriteString("@" + marker + " godwit-host " + key + "\n")
			continue
		}
		known.WriteString("godwit-host " + k + "\n")
	}
	return []string{"/bin/sh", "-c", hopScript, "sh", known.String(),
		"-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no",
		"-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no", "-o", "ControlPath=none",
		"-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
		"-l", a.User, "-p", a.Port, "--", a.Host, script}
}

// direct is the way from an ssh builder to a host past this machine; nil where
// it is not asked for, or the source is something else. The builder logs in with
// a key or an agent of its own.
func (p *Pushers) direct(src store.Endpoint, h fleet.Host) *store.Direct {
	there := p.ssh(h)
	if p.Builders == nil || there == nil || p.Direct == DirectOff || p.Direct == "" {
		return nil
	}
	u, err := machines.ParseStoreURI(src.Name)
	if err != nil || u.Key != "" || u.Remote != "" {
		return nil
	}
	from := p.Builders.Host(ssh.Target{Name: u.Text, Host: u.Host, User: u.User, Port: u.Port})
	run := func(ctx context.Context, script, stdin string, args ...string) error {
		return from.Run(ctx, host.Cmd{Argv: append([]string{"/bin/sh", "-c", findNix + script, "sh"}, args...), Stdin: strings.NewReader(stdin), KillOnCancel: true,
			Name: "the copy from the builder", Limit: host.NoLimit})
	}
	d := &store.Direct{
		Run: func(ctx context.Context, script, stdin string) error { return run(ctx, script, stdin) },
	}
	if p.Direct == DirectAuto {
		d.Quiet, d.Least = true, worthDirect
	}
	d.Probe = func(ctx context.Context) error {
		a, err := there.Address(ctx)
		if err != nil {
			return err
		}
		d.Import = hop(a, importScript)
		err = run(ctx, `exec "$@" >/dev/null`, "", hop(a, probeScript)...)
		if x := (*host.ExitError)(nil); errors.As(err, &x) && strings.TrimSpace(x.Stderr) != "" {
			lines := strings.Split(strings.TrimSpace(x.Stderr), "\n")
			return fault.New("%s", lines[len(lines)-1])
		}
		return err
	}
	return d
}

// findNix adds the places of Nix to the PATH of a shell that is not a login shell.
const findNix = "PATH=$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:$HOME/.nix-profile/bin; export PATH\n"
