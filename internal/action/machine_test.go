package action

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"godwit/internal/host/hosttest"
)

const (
	sysA = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-nixos-system-web-24.05"
	sysB = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-nixos-system-web-24.05"
	sysC = "/nix/store/cccccccccccccccccccccccccccccccc-nixos-system-web-24.11"
)

// machine is a NixOS that has generations 1, 2, … and runs the last one.
type machine struct {
	generations []string
	records     []string // lines of its history
	pending     string   // facts of a deployment
	locked      string   // its lock, as it lies there
	more        []hosttest.Call
}

func facts(kv ...string) string {
	var b strings.Builder
	for i := 0; i < len(kv); i += 2 {
		fmt.Fprintf(&b, "::godwit fact %s %s\n", kv[i], kv[i+1])
	}
	return b.String() + "::godwit end\n"
}

// runs is what the host runs.
func (m machine) runs() string { return m.generations[len(m.generations)-1] }

// preflight is its answer to who wants to change it.
func (m machine) preflight() string {
	return facts("uid", "0", "boot-id", "b1", "current", m.runs(), "booted", m.runs(), "profile", m.runs(), "systemd", "257",
		"generation", fmt.Sprintf("system-%d-link", len(m.generations)))
}

// on is the machine as a host.
func (m machine) on(t *testing.T, name string) *hosttest.Host {
	var look strings.Builder
	look.WriteString("version 24.05.1\nclock 1762600000\ndisk /nix/store /dev/sda2 100000000 50000000\n")
	for i, system := range m.generations {
		fmt.Fprintf(&look, "generation system-%d-link %d.0 %s\n", i+1, 1762000000+i*86400, system)
	}
	fmt.Fprintf(&look, "boots %s\nend\n", m.runs())
	calls := []hosttest.Call{
		{Want: `(?s)^\{\nAS=''.*CHECK=`, Name: "preflight", Root: true, Again: true, Out: m.preflight()},
		{Want: `VERB='facts'`, Name: "facts", Root: true, Again: true, Out: cmp.Or(m.pending, "::godwit gone\n::godwit end\n")},
		{Want: `(?s)FILE='/var/lib/godwit-lock.json'.*head -c`, Name: "lock", Again: true, Out: m.locked},
		{Want: `\[ -f uses \]`, Name: "secrets of a system", Root: true, Again: true},
		{Want: `tell disk`, Name: "look", Root: true, Again: true, Out: look.String()},
		{Want: `tail -n [0-9]+ /var/lib/godwit/history.jsonl`, Name: "history", Root: true, Again: true, Out: strings.Join(m.records, "\n") + "\n"},
	}
	return connects(t, name, append(slices.Clone(m.more), calls...)...)
}
