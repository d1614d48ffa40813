// Package faults tries the activation guard against what goes wrong on real
// hosts: containers with systemd, sshd, sudo and Nix (godwit/test/lab), whose
// power can be cut. The systems that it deploys are small fakes whose
// switch-to-configuration has one behaviour each.
package faults

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
	"encoding/base64"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed system.sh
var switchScript string

// behaviours run in the middle of `switch` and `test`, before the system is
// made the current one. $status is what the script exits with.
var behaviours = map[string]string{
	"old":        `heal; slow old 0`,
	"good":       `heal; echo "setting up /etc..." >&2; slow good 1`,
	"instant":    `:`,
	"sshrestart": `sleep 0.5; systemctl restart ssh.service; sleep 0.5`,
	"reexec":     `systemctl daemon-reexec; sleep 1`,
	"dropssh":    `for i in 1 2 3; do echo "line $i" >&2; done; pkill -KILL -u deploy sshd; for i in 4 5 6 7 8 9; do echo "line $i" >&2; sleep 0.2; done`,
	"fail2":      `echo "Activation script snippet 'x' failed (1)" >&2; status=2`,
	"crash101":   `exit 101`,
	"hang":       `echo "waiting for ever" >&2; sleep 1000`,
	"hangignore": `trap '' TERM; echo "deaf" >&2; sleep 1000; sleep 1000; sleep 1000`,
	"nonet":      `nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }'`,
	"nosshd":     `systemctl stop ssh.service ssh.socket; pkill -KILL sshd`,
	"noport":     `systemctl stop ssh.socket ssh.service`,
	"linkdown":   `ip link set eth0 down`,
	"nosudo":     `rm -f /etc/sudoers.d/deploy`,
	"nokey":      `mv /etc/ssh/authorized_keys.d/deploy /etc/ssh/key-of-deploy`,
	"noroute":    `ip route add blackhole "$(ip -4 route show default | sed 's/.* via \([0-9.]*\).*/\1/')/32"`,
	"noaddress":  `ip -4 addr show dev eth0 | sed -n 's/.*inet \([0-9./]*\).*/\1/p' >/run/lab/address; ip addr flush dev eth0`,
	"quiet30":    `nft 'add table inet q; add chain inet q i { type filter hook input priority 0; policy drop; }'; systemd-run --quiet --on-active=30s --timer-property=AccuracySec=100ms nft delete table inet q`,
	"killapply":  `echo "out of memory" >&2; systemctl kill -s KILL "$(cat /proc/self/cgroup | sed -n 's,.*/,,;$p')"; sleep 30`,
	"oom":        `kill -9 $PPID $$`,
	"term":       `kill -TERM $PPID; sleep 1`,
	"hup":        `kill -HUP $PPID; sleep 1`,
	"flood":      `head -c 400000000 /dev/zero | tr '\0' 'x' >&2; status=2`,
	"rbhang":     `[ -e /run/godwit/current ] && [ "$action" = test ] && sleep 1000; heal`,
	"rbflaky":    `if rm /var/lib/fault/flaky 2>/dev/null; then echo "flaky" >&2; exit 1; fi; heal`,
	"rbfail":     `[ -e /run/godwit/current ] && exit 1; heal`,
	"rbtwo":      `heal; status=2`,
	"leavelist":  `echo fault-gone.service >/run/nixos/start-list; sleep 1000`,
	"bare":       `heal`,
	"initchange": `:`,
	"inhibited":  `:`,
	"checkfails": `:`,
	"special":    `:`,
}

// late runs after the failed units were reset, as restarting units does.
var late = map[string]string{
	"fail4":       `systemctl start fault-broken.service; status=4`,
	"fail4loop":   `systemctl start --no-block fault-loop.service; sleep 0.5; status=4`,
	"fail4none":   `status=4`,
	"fail4old":    `systemctl start fault-known.service; status=4`,
	"fail4reload": `echo "Failed to reload fault-known.service" >&2; status=4`,
	"rbone":       `status=1`,
	"rblate":      `[ ! -e /run/godwit/current ] || sleep 1000`,
	"faillate":    `systemd-run --quiet --on-active=1s --timer-property=AccuracySec=50ms --unit=fault-late /bin/false`,
}

// files is a tree of files by path; a value that begins with linkTo is a symbolic link.
type files map[string]string

const linkTo = "-> "

// unpack is a script that makes the files below $1, with two processes: fifty systems, file by
// file, would take a host hundreds. Those whose name is one of programs are executable.
func (f files) unpack() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(f)) {
		h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(f[path]))}
		if slices.Contains(programs, filepath.Base(path)) {
			h.Mode = 0o755
		}
		if to, ok := strings.CutPrefix(f[path], linkTo); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			_, _ = w.Write([]byte(f[path])) // memory
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		panic(err)
	}
	return "base64 -d <<'EOF' | tar -xz -C \"$1\"\n" + base64.StdEncoding.EncodeToString(b.Bytes()) + "\nEOF\n"
}

var programs = []string{"activate", "switch-to-configuration", "go"}

// system is what a system is made of. Its switch-to-configuration is as the newer one, in Rust,
// or as the older one, in perl.
func system(into files, name, factory string, perl bool) {
	at := "nixos-system-" + name + "/"
	behaviour := behaviours[name]
	if l, ok := late[name]; ok {
		into[at+"late"] = l + "\n"
		if strings.HasPrefix(name, "rb") {
			behaviour = "heal"
		}
	}
	into[at+"behaviour"] = cmp.Or(behaviour, ":") + "\n"
	into[at+"init-interface-version"] = "2\n"
	into[at+"nixos-version"] = "26.05." + name
	into[at+"sw"] = linkTo + factory + "/sw"
	into[at+"activate"] = activateScript
	if name != "bare" {
		into[at+"bin/switch-to-configuration"] = "#!/bin/sh\n# PRE_SWITCH_CHECK\n" + switchScript
	}
	if perl {
		into[at+"perl"] = ""
	}
	switch name {
	case "initchange":
		into[at+"init-interface-version"] = "3\n"
	case "inhibited":
		into[at+"switch-inhibitors"] = "[\"dbus\"]\n"
	case "old":
		into[at+"switch-inhibitors"] = "[\"dbus-broker\"]\n"
	case "checkfails":
		into[at+"check-fails"] = ""
	}
}

const activateScript = `#!/bin/sh
system=$(readlink -f "$0")
ln -sfn "${system%/activate}" /run/current-system
[ -e /etc/sudoers.d/deploy ] || install -m 0440 "$(readlink -f /nix/var/nix/gcroots/lab-factory)/etc/sudoers.d/deploy" /etc/sudoers.d/deploy
`

// begins is how scripts on a host begin that use Nix's programs there.
const begins = "set -eu\nexport HOME=/root NIX_REMOTE= PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"

// install puts all systems into the host's store, with a root for each in gcroots/fault.
func (h *machine) install(perl bool) {
	h.t.Helper()
	all := files{}
	factory := h.must("readlink -f /nix/var/nix/gcroots/lab-factory")
	for _, names := range []map[string]string{behaviours, late} {
		for n := range names {
			if n != "special" {
				system(all, n, factory, perl)
			}
		}
	}
	// Profiles that are no systems: what runs of one is what it wrote last.
	for _, p := range customProfiles {
		for _, n := range []string{"-old", "-new", "-fails"} {
			all["fault-"+p+n+"/go"] = customScript
		}
	}
	h.add(all)
	special := files{}
	system(special, "special", factory, perl)
	for name, of := range map[string]string{"quick": "instant", "broken": "fail2"} {
		special["nixos-system-special/specialisation/"+name] = linkTo + h.systems[of]
	}
	h.add(special)
	roots := files{}
	for name, path := range h.systems {
		roots[name] = linkTo + path
	}
	units := files{
		"fault-broken.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"fault-known.service":  "[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"fault-loop.service":   "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=60\n",
	}
	h.must(begins + "mkdir -p /var/lib/fault /nix/var/nix/gcroots/fault /etc/systemd/system\nset -- /nix/var/nix/gcroots/fault\n" + roots.unpack() +
		"set -- /etc/systemd/system\n" + units.unpack() + "systemctl daemon-reload")
}

// add puts folders into the host's store, and their paths into h.systems.
func (h *machine) add(folders files) {
	h.t.Helper()
	paths := h.must(begins + "set -- \"$(mktemp -d)\"\n" + folders.unpack() + "nix-store --add \"$1\"/*\nrm -rf \"$1\"")
	for path := range strings.Lines(paths) {
		path = strings.TrimSpace(path)
		_, name, _ := strings.Cut(filepath.Base(path), "-")
		h.systems[strings.TrimPrefix(strings.TrimPrefix(name, "nixos-system-"), "fault-")] = path
	}
}

// customProfiles stand before and after the system.
var customProfiles = []string{"before", "after"}

const customScript = `#!/bin/sh
name=$(basename "$(readlink -f "$PROFILE")"); name=${name#*-fault-}
echo "activating $name for $(id -un)" >&2
sleep 0.2
case $name in *-fails) exit 7 ;; esac
echo "$name" >"/var/tmp/fault-${name%-*}"
`
