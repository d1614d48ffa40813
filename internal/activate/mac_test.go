package activate

import (
	"runtime"
	"strings"
	"testing"

	"godwit/internal/fault"
)

// macs are stand-ins for what a Mac has, and for what it has not.
const macs = `for p in systemctl systemd-run loginctl; do printf '#!/bin/sh\necho "%s on a Mac" >&2; exit 127\n' $p >old/sw/bin/$p; done
for p in flock setsid setpriv getent; do printf '#!/bin/sh\necho "%s is not on a Mac" >>"%s/missed"; exit 127\n' $p "$PWD" >old/sw/bin/$p; done
printf '#!/bin/sh\necho Darwin\n' >old/sw/bin/uname
printf '#!/bin/sh\necho "NFSHomeDirectory: %s/home"\n' "$PWD" >old/sw/bin/dscl
printf '#!/bin/sh\n[ "$1" = -u ] || exit 64\nshift 3\nexec "$@"\n' >old/sw/bin/sudo
chmod +x old/sw/bin/*
for s in old new; do cat >$s/activate <<'END'
#!/bin/sh
system=$(dirname "$(readlink -f "$0")"); root=${system%/*}
echo "${system##*/}" >>"$root/ran"
[ ! -e "$root/${system##*/}-dead" ] || exit 1
ln -sfn "$system" "$root/current"
END
chmod +x $s/activate; done
`

// TestMac deploys a system of nix-darwin with stand-ins for a Mac's programs. There is
// no guard; an activation that fails goes back all the same.
func TestMac(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("a Mac would need no stand-in, and is not to be deployed to by a test")
		return
	}
	for _, c := range []struct {
		name, before, outcome, words, ran, end string
		action                                 Action
		guard                                  bool
	}{
		{name: "switch", outcome: "changed", ran: "new", end: "new new"},
		{name: "boot", action: Boot, outcome: "changed", end: "old new"},
		{name: "test", action: Test, outcome: "changed", ran: "new", end: "new old"},
		{name: "fails", before: "touch new-dead", outcome: "failed", words: "the activation failed (exit 1)\n  there was no guard, but what ran before was activated again", ran: "new, old", end: "old old"},
		{name: "with a guard", guard: true, outcome: "failed", words: "no rollback guard on this host", end: "old old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLocal(t, "bash")
			l.mac = true
			l.do(macs + c.before)
			if c.action == "" {
				c.action = Switch
			}
			res, err := l.deploy(c.action, func(r *Request) {
				r.NoGuard = !c.guard
				r.Profiles = []Change{{Name: "system", Kind: "darwin", New: r.NewSystem, Link: l.at.Profile}}
			})
			text := ""
			if err != nil {
				text = fault.Render(err)
			}
			if string(res.Outcome) != c.outcome || !strings.Contains(text, c.words) {
				t.Errorf("outcome %q, want %q\n%s\n%q", res.Outcome, c.outcome, text, res.Log)
			}
			if ran := l.do(`[ ! -e ran ] || paste -sd, ran | sed 's/,/, /g'`); ran != c.ran {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
			if end := l.do(`echo $(basename $(readlink -f current)) $(basename $(readlink -f profiles/system)); cat missed 2>/dev/null || true`); end != c.end {
				t.Errorf("ended as %q, want %q", end, c.end)
			}
		})
	}
}
