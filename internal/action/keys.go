package action

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/identity"
)

// HostKey is the public ssh host key of a host, as the host itself says it.
type HostKey struct {
	Host, Address string
	// Key is a line of an authorized_keys file.
	Key string
}

// HostKeys asks hosts for their ed25519 host keys, over connections that ssh has verified.
// They are sorted by host.
func HostKeys(ctx context.Context, e *Env, r HostsRequest) (*Summary, []HostKey, error) {
	s := e.open()
	defer s.close()
	var mu sync.Mutex
	var keys []HostKey
	sum, err := s.onHosts(ctx, r, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		if s.DryRun {
			return deploy.Outcome{State: deploy.Skipped, Detail: "dry run: would read " + identity.SSHHostKeyFile + ".pub"}
		}
		var out bytes.Buffer
		err := conn.Run(ctx, host.Cmd{Script: "cat " + identity.SSHHostKeyFile + ".pub", Stdout: &out, Name: "reading the host key"})
		if err != nil {
			return deploy.Outcome{State: deploy.Failed, Err: fault.New("cannot read %s.pub: %w", identity.SSHHostKeyFile, err).On(h.Name)}
		}
		name := h.At.Host
		if p := h.At.Port; p != 0 && p != 22 && name != "" {
			name = fmt.Sprintf("[%s]:%d", name, p) // as known_hosts has it
		}
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, HostKey{h.Name, name, strings.TrimSpace(out.String())})
		return deploy.Outcome{State: deploy.Ran, Detail: "told its host key"}
	}})
	slices.SortFunc(keys, func(a, b HostKey) int { return strings.Compare(a.Host, b.Host) })
	return sum, keys, err
}

// installKey writes its input to the file of the machine's age key, in one step. Nobody but
// root can write to /var/lib, nor to what is made in it here.
const installKey = `set -eu
umask 077
mkdir -p /var/lib/godwit/identity
cd -P /var/lib/godwit/identity
[ "$(pwd -P)" = /var/lib/godwit/identity ] || { echo "/var/lib/godwit/identity is behind a link" >&2; exit 1; }
[ "$(stat -c %u .)" = 0 ] || { echo "/var/lib/godwit/identity is not root's" >&2; exit 1; }
chmod 700 .
trap 'rm -f ./.age.key.new' EXIT
rm -f ./.age.key.new
cat >./.age.key.new
tail -n 1 ./.age.key.new | grep -q '^# end$' || { echo "only a part of the key arrived" >&2; exit 1; }
chmod 600 ./.age.key.new
sync ./.age.key.new 2>/dev/null || sync
mv -f ./.age.key.new ./age.key
sync . 2>/dev/null || sync
`

// InstallKeysRequest asks for the age keys of machines to be brought to them.
type InstallKeysRequest struct {
	HostsRequest
	// Keys gives the private keys of hosts; it is called once they are known.
	Keys func(hosts []string) (map[string]string, error)
}

// InstallKeys writes the private age key of each host to the host.
func InstallKeys(ctx context.Context, e *Env, r InstallKeysRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	var keys map[string]string
	return s.onHosts(ctx, r.HostsRequest, step{changes: true,
		before: func(hosts []fleet.Host) (err error) {
			var names []string
			for _, h := range hosts {
				names = append(names, h.Name)
			}
			keys, err = r.Keys(names)
			return err
		},
		each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
			sc := event.On(s.View, h.Name, event.StepSecrets)
			return s.wet(sc, "write "+identity.KeyFile, func() deploy.Outcome {
				var said bytes.Buffer
				err := conn.Run(ctx, host.Cmd{Script: installKey, Stdin: strings.NewReader(keys[h.Name] + "# end\n"), Stderr: &said, Elevate: true, KillOnCancel: true, Name: "writing the key"})
				if err != nil {
					return deploy.Outcome{State: deploy.Failed, Err: fault.New("its key cannot be written: %w", errOr(said.String(), err)).On(h.Name)}
				}
				return deploy.Outcome{State: deploy.Uploaded, Detail: identity.KeyFile + " is there"}
			})
		}})
}

// errOr is what a script said, or the error of running it when it said nothing.
func errOr(said string, err error) error {
	if said = strings.TrimSpace(said); said != "" {
		return fmt.Errorf("%s", said)
	}
	return err
}
