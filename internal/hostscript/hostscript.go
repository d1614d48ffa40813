// Package hostscript is what scripts that are sent to hosts have in common: the
// guard's (internal/activate), those of a boot once (internal/reboot), and those of a
// copy (internal/deploy).
package hostscript

import (
	"crypto/rand"
	_ "embed" // bootdefault.sh, pushed.sh
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Uptime defines uptime_look, which leaves in $uptime_now the seconds that no change of the clock
// moves, and starts no process for it; and uptime_s, which prints them.
const Uptime = `uptime_look() {
	read -r uptime_now _ </proc/uptime
	uptime_now=${uptime_now%.*}
}
uptime_s() {
	uptime_look
	echo "$uptime_now"
}`

// BootID defines boot_look, which sets $boot_is to what names the present boot, without a process on
// Linux, or to nothing, and boot_id, which prints it.
const BootID = `boot_look() { { IFS= read -r boot_is </proc/sys/kernel/random/boot_id; } 2>/dev/null || boot_is=$(sysctl -n kern.bootsessionuuid 2>/dev/null); }
boot_id() { boot_look && echo "$boot_is"; }`

// Kernel is the name of the host's kernel, in $_kernel, as uname says it; it takes no process on Linux.
const Kernel = `[ -n "${_kernel:-}" ] || { read -r _kernel </proc/sys/kernel/ostype; } 2>/dev/null || _kernel=$(uname)`

// Real defines real PATH, which prints where a path leads as readlink -f does, and starts no process
// for it where that is a folder, as a system is: on a small host a process takes longer than what is
// asked. It changes the working directory, so it stands in $( ) alone.
const Real = `real() { if [ -n "$1" ] && cd -P "$1" 2>/dev/null; then pwd; else readlink -f "$1"; fi; }`

// BootDefault defines what tells which system boots next: boot_files for any user,
// boot_default for root, and boot_differs SYSTEM PROFILE.
var BootDefault = Real + "\n" + bootDefault

//go:embed bootdefault.sh
var bootDefault string

// Foreign defines the function foreign: what a machine runs when that is no NixOS,
// by /etc/os-release; nothing on a NixOS. Its switch-to-configuration asks for
// /etc/NIXOS and ID; who has a running system is none of the machines to warn of.
// It needs no root, and starts no program on a NixOS.
const Foreign = `foreign() {
	[ ! -e /etc/NIXOS ] && [ ! -L /run/current-system ] && ! grep -qs '^ID="\{0,1\}nixos"\{0,1\}$' /etc/os-release || return 0
	foreign_name=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\).*/\1/p' /etc/os-release 2>/dev/null | head -n 1)
	echo "${foreign_name:-another system}"
}`

// PushedDone defines pushed_done SYSTEM..., which ends the root that a push made.
//
//go:embed pushed.sh
var PushedDone string

// Compound makes one compound command of parts: a shell reads it to its last
// byte before it runs any of it, so a script that was cut off runs nothing.
func Compound(parts ...string) string {
	return "{\n" + strings.Join(parts, "\n") + "\nexit\n}\n"
}

// Variables are the assignments that stand before a script.
type Variables map[string]string

// Such values stand between single quotes in any shell and survive being sourced.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9 /+._?=:@,*~!\[\]-]*$`)

// Text is the assignments, one a line, in order of their names. A value that
// would need quoting is an error: none of ours does.
func (v Variables) Text() (string, error) {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if !plainValue.MatchString(v[k]) {
			return "", fmt.Errorf("%s has characters that it must not have: %q", strings.ToLower(k), v[k])
		}
		fmt.Fprintf(&b, "%s='%s'\n", k, v[k])
	}
	return b.String(), nil
}

// Words makes a reason that may stand in a script and in a record, of at most 200
// bytes: what is left of other letters is a question mark, or a blank.
func Words(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" ._,:/@+=-", r):
			return r
		case r == '\n', r == '\t', r == '\r', r == ';', r == '(', r == ')', r == '"', r == '\'', r == '`':
			return ' '
		}
		return '?'
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 200)]
}

// NewID names a deployment: the UTC time and some random characters, so that it
// sorts by time.
func NewID() string {
	b := make([]byte, 3)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return time.Now().UTC().Format("20060102T150405") + "-" + hex.EncodeToString(b)
}
