package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"godwit/test/lab"
)

// installedTools are programs that a NixOS has and a lab host does not, as far as `init --from`
// asks them. The lab host is a machine to them: it boots, and has a boot loader.
const installedTools = `
cat >/usr/local/bin/nixos-version <<'EOF'
#!/bin/sh
v=$(cat /run/current-system/nixos-version)
[ "${1-}" != --json ] || { printf '{"nixosVersion":"%s"}\n' "$v"; exit; }
echo "$v (Lab)"
EOF
cat >/usr/local/bin/nixos-generate-config <<'EOF'
#!/bin/sh
[ "$*" = --show-hardware-config ] && exec cat /etc/nixos/hardware-configuration.nix
EOF
cat >/usr/local/bin/systemd-detect-virt <<'EOF'
#!/bin/sh
[ "$*" = --container ] && echo none
exit 1
EOF
chmod 755 /usr/local/bin/nixos-version /usr/local/bin/nixos-generate-config /usr/local/bin/systemd-detect-virt
mkdir -p /etc/nixos`

// TestNewcomer is testdata/newcomer.txtar, on a host that runs what somebody installed there
// without godwit, and on which godwit never was.
func TestNewcomer(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	w.ownState("newcomer")
	w.env = append(w.env, emulated) // patience, for a busy machine
	const file = "testdata/newcomer.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	on(t, spare, installedTools)
	t.Cleanup(func() {
		on(t, spare, "rm -rf /etc/nixos /usr/local/bin/nixos-version /usr/local/bin/nixos-generate-config /usr/local/bin/systemd-detect-virt")
	})
	key := on(t, spare, "cat /etc/ssh/authorized_keys.d/deploy")
	for _, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "installed/"); ok {
			text := strings.ReplaceAll(string(f.Data), "KEY", key)
			w.file(name, text)
			on(t, spare, fmt.Sprintf("cat >/etc/nixos/%s <<'EOF'\n%sEOF", name, text))
		}
	}
	net := w.file("network.nix", `{ spare = { imports = [ ./configuration.nix ]; deployment.targetUser = "root"; }; }`)
	w.run("deploy", net, "switch", "--accept-risk=kernel-change,unknown-profile").exits(0)
	on(t, spare, "rm -rf /var/lib/godwit*")

	env := append(w.env, "XDG_STATE_HOME="+t.TempDir(), "HOME="+t.TempDir(), "NIXOS="+repo(t, "test/nixos"), "PATH="+shared.dir+":"+os.Getenv("PATH"))
	testscript.Run(t, testscript.Params{
		Files:               []string{file},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"host": onHost(t, spare)},
	})
}

// onHost is the command "host SCRIPT" of a case: a script as root on the host, from outside,
// whose output is left in the file $WORK/host.
func onHost(t *testing.T, h *lab.Host) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: host SCRIPT")
		}
		r := h.Exec(t.Context(), args[0])
		if !r.OK() {
			ts.Fatalf("on the host: %s", r)
		}
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "host"), []byte(r.Stdout), 0o600))
	}
}
