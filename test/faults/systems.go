// Package faults tries the activation guard against what goes wrong on real
// hosts: containers with systemd, sshd, sudo and Nix (godwit/test/lab), whose
// power can be cut. The systems that it deploys are small fakes whose
// switch-to-configuration has one behaviour each.
package faults

import (
	_ "embed"
	"fmt"
	"sort"
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

// installScript puts all systems into the host's store and prints "NAME PATH". Their
// switch-to-configuration is as the newer one, in Rust, or as the older one, in perl.
func installScript(perl bool) string {
	names := map[string]bool{}
	for n := range behaviours {
		names[n] = true
	}
	for n := range late {
		names[n] = true
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	var b strings.Builder
	b.WriteString("set -eu\nexport HOME=/root NIX_REMOTE= PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nfactory=$(readlink -f /nix/var/nix/gcroots/lab-factory)\n")
	b.WriteString("mkdir -p /var/lib/fault /nix/var/nix/gcroots/fault /etc/systemd/system\n")
	for _, unit := range []string{"broken", "known"} {
		fmt.Fprintf(&b, "printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' >/etc/systemd/system/fault-%s.service\n", unit)
	}
	b.WriteString("printf '[Service]\\nExecStart=/bin/false\\nRestart=always\\nRestartSec=60\\n' >/etc/systemd/system/fault-loop.service\n")
	b.WriteString("systemctl daemon-reload\nwork=$(mktemp -d)\n")
	fmt.Fprintf(&b, "{ echo '#!/bin/sh'; echo '# PRE_SWITCH_CHECK'; cat <<'EOF'\n%sEOF\n} >$work/switch\n", switchScript)
	for _, n := range sorted {
		behaviour := behaviours[n]
		if _, ok := late[n]; ok && strings.HasPrefix(n, "rb") {
			behaviour = "heal"
		}
		if behaviour == "" {
			behaviour = ":"
		}
		fmt.Fprintf(&b, "d=$work/nixos-system-%s; mkdir -p $d/bin\n", n)
		fmt.Fprintf(&b, "cat >$d/behaviour <<'EOF'\n%s\nEOF\n", behaviour)
		if l, ok := late[n]; ok {
			fmt.Fprintf(&b, "cat >$d/late <<'EOF'\n%s\nEOF\n", l)
		}
		switch n {
		case "initchange":
			b.WriteString("echo 3 >$d/init-interface-version\n")
		case "inhibited":
			b.WriteString("echo '[\"dbus\"]' >$d/switch-inhibitors\n")
		case "old":
			b.WriteString("echo '[\"dbus-broker\"]' >$d/switch-inhibitors\n")
		case "special":
			b.WriteString("mkdir $d/specialisation; for s in quick:instant broken:fail2; do ln -s \"$(readlink -f /nix/var/nix/gcroots/fault/${s#*:})\" $d/specialisation/${s%:*}; done\n")
		case "checkfails":
			b.WriteString("touch $d/check-fails\n")
		}
		if perl {
			b.WriteString("touch $d/perl\n")
		}
		b.WriteString("[ -e $d/init-interface-version ] || echo 2 >$d/init-interface-version\n")
		fmt.Fprintf(&b, "printf 26.05.%s >$d/nixos-version; ln -s $factory/sw $d/sw\n", n)
		b.WriteString("cat >$d/activate <<'EOF'\n#!/bin/sh\nsystem=$(readlink -f \"$0\")\nln -sfn \"${system%/activate}\" /run/current-system\n[ -e /etc/sudoers.d/deploy ] || install -m 0440 \"$(readlink -f /nix/var/nix/gcroots/lab-factory)/etc/sudoers.d/deploy\" /etc/sudoers.d/deploy\nEOF\n")
		b.WriteString("cp $work/switch $d/bin/switch-to-configuration\n")
		b.WriteString("chmod +x $d/activate $d/bin/switch-to-configuration\n")
		if n == "bare" {
			b.WriteString("rm -r $d/bin\n")
		}
		b.WriteString("p=$(nix-store --add $d)\n")
		fmt.Fprintf(&b, "ln -sfn $p /nix/var/nix/gcroots/fault/%s; echo \"%s $p\"\n", n, n)
	}
	// Profiles that are no systems: what runs of one is what it wrote last.
	for _, p := range customProfiles {
		for _, n := range []string{p + "-old", p + "-new", p + "-fails"} {
			fmt.Fprintf(&b, "d=$work/fault-%s; mkdir $d; cat >$d/go <<'EOF'\n%sEOF\nchmod +x $d/go; p=$(nix-store --add $d)\n", n, customScript)
			fmt.Fprintf(&b, "ln -sfn $p /nix/var/nix/gcroots/fault/%s; echo \"%s $p\"\n", n, n)
		}
	}
	b.WriteString("rm -rf $work\n")
	return b.String()
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
