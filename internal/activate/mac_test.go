package activate

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
)

// macs are stand-ins for what a Mac has, and for what it has not.
const macs = `for p in systemctl systemd-run loginctl; do printf '#!/bin/sh\necho "%s on a Mac" >&2; exit 127\n' $p >old/sw/bin/$p; done
for p in flock setsid setpriv getent; do printf '#!/bin/sh\necho "%s is not on a Mac" >>"%s/missed"; exit 127\n' $p "$PWD" >old/sw/bin/$p; done
printf '#!/bin/sh\necho "NFSHomeDirectory: %s/home"\n' "$PWD" >old/sw/bin/dscl
printf '#!/bin/sh\n[ "$1" = -u ] || exit 64\nshift 3\nexec "$@"\n' >old/sw/bin/sudo
cat >old/sw/bin/launchctl <<'END'
#!/bin/sh
ROOT=${0%/old/sw/bin/*}
echo "launchctl $*" >>"$ROOT/calls"
label=${2##*/}
[ "$1" != bootstrap ] || label=$(sed -n 's:.*<key>Label</key><string>\(.*\)</string>$:\1:p' "$3")
job=$ROOT/units/$label
runs() { kill -0 "$(cat "$job.pid")" 2>/dev/null; }
start() {
	set --
	while IFS= read -r word; do set -- "$@" "$word"; done <<WORDS
$(sed -n '/ProgramArguments/,/<.array>/s:^<string>\(.*\)</string>$:\1:p' "$job.plist")
WORDS
	exec 7>>"$ROOT/busy" && /usr/bin/flock -s 7
	/usr/bin/setsid "$@" </dev/null >>"$(sed -n 's:.*<key>StandardOutPath</key><string>\(.*\)</string>$:\1:p' "$job.plist")" 2>&1 8>&- 9>&- &
	echo $! >"$job.pid"
}
case $1 in
bootstrap)
	[ ! -e "$job.plist" ] || { echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; }
	[ ! -e "$ROOT/no-launchd" ] || { echo "Bootstrap failed: 125" >&2; exit 125; }
	cp "$3" "$job.plist" && start
	;;
kickstart) [ -e "$job.plist" ] || exit 113; runs || start ;;
bootout)
	[ -e "$job.plist" ] || { echo "Boot-out failed: 3: No such process" >&2; exit 3; }
	rm "$job.plist"
	! runs || kill -s TERM -- "-$(cat "$job.pid")"
	;;
print)
	[ -e "$job.plist" ] || exit 113
	if runs; then echo "	state = running"; else echo "	state = not running"; fi
	;;
*) exit 64 ;;
esac
END
chmod +x old/sw/bin/*
for s in old new; do cat >$s/activate <<'END'
#!/bin/sh
system=$(dirname "$(readlink -f "$0")"); root=${system%/*}
echo "${system##*/}" >>"$root/ran"
[ ! -e "$root/${system##*/}-hangs" ] || sleep 60
[ ! -e "$root/${system##*/}-dead" ] || exit 1
ln -sfn "$system" "$root/current"
END
chmod +x $s/activate; done; ln -s ../old/sw new/sw
`

// TestMac deploys a system of nix-darwin with stand-ins for a Mac's programs: with a guard
// by jobs of launchd, and without.
func TestMac(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("a Mac would need no stand-in, and is not to be deployed to by a test")
		return
	}
	plain := func(r *Request) { r.NoGuard = true }
	for i, c := range []struct {
		name, before, outcome, words, ran, end string
		action                                 Action
		change                                 func(*Request)
	}{
		{name: "switch", outcome: "changed", ran: "new", end: "new new"},
		{name: "test", action: Test, outcome: "changed", ran: "new", end: "new old"},
		{name: "boot", action: Boot, outcome: "changed", end: "old new"},
		{name: "fails", before: "touch new-dead", outcome: "rolled-back", words: "the activation failed (exit 1); it went back by itself", ran: "new, old", end: "old old"},
		{name: "the checks fail", change: func(r *Request) { r.Checks = failing }, outcome: "rolled-back", words: "checks failed", ran: "new, old", end: "old old"},
		{name: "hangs", before: "touch new-hangs", change: func(r *Request) { r.ActivateTimeout = 3 * time.Second }, outcome: "rolled-back", words: "took longer than 3s", ran: "new, old", end: "old old"},
		{name: "nobody confirms", change: func(r *Request) {
			r.Checks = func(ctx context.Context, _ Phase) error { <-ctx.Done(); return ctx.Err() }
			r.ConfirmTimeout = 2 * time.Second
		}, outcome: "rolled-back", ran: "new, old", end: "old old"},
		{name: "what watches the activation is killed", before: `sed -i '/^ln -sfn/a pkill -KILL -f "$root.*supervise.apply"' new/activate`, change: func(r *Request) { r.ActivateTimeout, r.ConfirmTimeout = 3*time.Second, 2*time.Second },
			outcome: "rolled-back", words: "the activation was killed", ran: "new, old", end: "old old"},
		{name: "the profile cannot be set", before: "touch nix-broken", outcome: "rolled-back", words: "boot default", ran: "new, old", end: "old old"},
		{name: "the way back fails", before: "touch new-dead old-dead", outcome: "failed", words: "three attempts to go back failed", ran: "new, old, old, old", end: "old old"},
		{name: "no launchd", before: "touch no-launchd", outcome: "failed", words: "the timer of the deadman could not be made", end: "old old"},
		{name: "no guard", change: plain, outcome: "changed", ran: "new", end: "new new"},
		{name: "no guard, fails", change: plain, before: "touch new-dead", outcome: "failed", words: "the activation failed (exit 1)\n  there was no guard, but what ran before was activated again", ran: "new, old", end: "old old"},
	} {
		if testing.Short() && i%5 != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLocal(t, "bash")
			l.mac = true
			l.do(macs + c.before)
			if c.action == "" {
				c.action = Switch
			}
			res, err := l.deploy(c.action, func(r *Request) {
				r.Profiles = []Change{{Name: "system", Kind: "darwin", New: r.NewSystem, Link: l.at.Profile}}
				r.ConfirmTimeout = 40 * time.Second // these timers do run
				if c.change != nil {
					c.change(r)
				}
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
			l.idle()
			l.do(`for n in $(seq 100); do [ -L run/godwit/current ] || kill -0 "$(cat run/godwit/*/pid 2>/dev/null)" 2>/dev/null || break; sleep 0.1; done`)
			if left := l.do(`ls gcroots; [ ! -L run/godwit/current ] || echo lock; [ ! -e state/pending ] || echo pending; ls units/*deadman*.plist units/*confirm*.plist units/*lease*.plist 2>/dev/null || true`); left != "" && c.outcome != "failed" {
				t.Errorf("left over: %s", left)
			}
		})
	}
}
