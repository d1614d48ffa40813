package activate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

// local is a "host" in a folder: the real scripts under a real shell, with
// systemd and Nix replaced by testdata/stubs.sh.
type local struct {
	t     *testing.T
	root  string
	mac   bool // no systemd, and a Mac's own programs
	shell string
	at    places
}

const localSetup = `mkdir -p old/sw/bin old/bin new/bin units profiles gcroots run
for s in old new; do
	cat >$s/bin/switch-to-configuration <<'END'
#!/bin/sh
system=$(dirname "$(dirname "$(readlink -f "$0")")"); root=${system%/*}
name=${system##*/} locked=$(cat "$root/${system##*/}-$1-locked" 2>/dev/null || echo 0)
[ "$locked" = 0 ] || { echo $((locked - 1)) >"$root/$name-$1-locked"; echo "Could not acquire lock" >&2; exit 11; }
[ ! -e "$root/$name-declines" ] || { echo "Pre-switch checks failed" >&2; exit "$(cat "$root/$name-declines")"; }
echo "$1 $name" | tee -a "$root/ran"
[ "$1" = boot ] && { [ ! -e "$root/boot-broken" ] || exit 1; echo "$system" >"$root/boot"; exit 0; }
[ "$1" = dry-activate ] && exit 0
[ ! -e "$root/$name-dead" ] || exit 1
[ ! -e "$root/$name-idle" ] || exit 0
ln -sfn "$system" "$root/current"
[ ! -e "$root/$name-cut" ] || { mv "$root/$name-cut" "$root/$name-test-locked"; printf 'Error: Failed to get GID for deploy\n\nCaused by:\n    no such user\n'; exit 1; }
cat "$root/$name-says" 2>/dev/null
[ ! -e "$root/${system##*/}-breaks" ] || cp "$root/${system##*/}-breaks" "$root/failed"
exit "$(cat "$root/${system##*/}-rc" 2>/dev/null || echo 0)"
END
	chmod +x $s/bin/switch-to-configuration; echo 2 >$s/init-interface-version
done
ln -s "$PWD/old" current; ln -s "$PWD/old" profiles/system-7-link; ln -s system-7-link profiles/system; echo "$PWD/old" >boot
`

func newLocal(t *testing.T, shell string) *local {
	t.Helper()
	l := &local{t: t, root: t.TempDir()}
	var err error
	if l.shell, err = exec.LookPath(shell); err != nil {
		t.Fatal(err)
	}
	p := func(s string) string { return filepath.Join(l.root, s) }
	l.at = places{Run: p("run/godwit"), State: p("state"), Hooks: p("hooks"), Current: p("current"), GCRoots: p("gcroots"), Profile: p("profiles/system"), SwitchLock: p("switch.lock"), Lock: p("lock.json")}
	t.Cleanup(l.idle)
	stubs, err := os.ReadFile("testdata/stubs.sh")
	if err != nil {
		t.Fatal(err)
	}
	l.do(localSetup + "ln -s " + l.shell + " old/sw/bin/sh")
	for _, name := range []string{"systemd-run", "systemctl", "nix-env", "loginctl", "setpriv"} {
		if err := os.WriteFile(p("old/sw/bin/"+name), append([]byte("#!"+l.shell+"\n"), stubs...), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *local) do(script string) string {
	l.t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = l.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// idle waits for the units that run in the background.
func (l *local) idle() {
	if out, err := exec.Command("flock", "-w", "60", filepath.Join(l.root, "busy"), "true").CombinedOutput(); err != nil {
		l.t.Errorf("units still run after a minute: %v %s", err, out)
	}
}

// run feeds the script to the shell, as ssh does. Whatever runs this test, the
// preflight sees a host with systemd.
func (l *local) run(ctx context.Context, c host.Cmd) error {
	script := strings.Replace(c.Script, "[ ! -d /run/systemd/system ] || tell systemd", "tell systemd 257; true", 1)
	if l.mac {
		script = strings.Replace(c.Script, "[ ! -d /run/systemd/system ] || tell systemd", "true", 1)
	}
	script = strings.Replace(script, "tell uid", "tell uid 0; true", 1)
	script = strings.Replace(script, `[ "$own_uid" != 0 ] || tell launchd`, "tell launchd", 1)
	cmd := exec.CommandContext(ctx, l.shell, "-c", script)
	if l.mac {
		cmd.Env = append(os.Environ(), "_kernel=Darwin") // what the scripts ask the kernel for, once
	}
	if c.Stdin != nil { // as ssh does it: the end of the script does not wait for its input
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() { _, _ = io.Copy(in, c.Stdin); _ = in.Close() }()
	}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = c.Stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if stderr.Len() > 0 {
		l.t.Errorf("the scripts complain: %s", stderr.String())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &host.ExitError{Host: "local", Command: "script", Code: exit.ExitCode(), Stderr: stderr.String()}
	}
	return err
}

func (l *local) deploy(action Action, change func(*Request)) (Result, error) {
	l.t.Helper()
	req := Request{Host: "web1", NewSystem: l.root + "/new", Action: action, ActivateTimeout: 5 * time.Second, ConfirmTimeout: 5 * time.Second, at: l.at, Meta: map[string]string{"who": `o'"x\`}}
	if change != nil {
		change(&req)
	}
	return Run(l.t.Context(), hosttest.Func{Host: "web1", Do: l.run}, req, event.Discard)
}

// TestTargetScripts runs the whole exchange under each shell.
func TestTargetScripts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("the scripts are for Linux: flock, readlink -f, stat -c")
		return
	}
	// One user is logged in, and nobody answers for it unless "answers" says so.
	const userFails = "echo 4 >new-rc; echo 'warning: user activation for root failed' >new-says; echo '   0 root' >users"
	const newBoots, oldStays = "new new system-8-link", "old old system-7-link"
	// A turn is waited for during a quarter of that: a busy machine needs some of it for a second try.
	patient := func(r *Request) { r.ActivateTimeout = 40 * time.Second }
	for _, shell := range shells {
		for i, c := range []struct {
			name, before string
			action       Action
			change       func(*Request)
			outcome      string
			words        string // in the error
			ran          string // switch-to-configuration runs
			end          string // current, boot default, profile link
		}{
			{name: "switch", outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "test", action: Test, outcome: "changed", ran: "test new", end: "new old system-7-link"},
			{name: "boot", action: Boot, outcome: "changed", ran: "boot new", end: "old new system-8-link"},
			{name: "dry-activate", action: DryActivate, outcome: "ok", ran: "dry-activate new", end: oldStays},
			{name: "no guard", change: func(r *Request) { r.NoGuard = true }, outcome: "changed", ran: "switch new", end: "new old system-8-link"},
			{name: "exit 2", before: "echo 2 >new-rc", outcome: "rolled-back", words: "exit 2", ran: "test new, test old", end: oldStays},
			{name: "exit 4", before: "echo 4 >new-rc; echo 'a.service loaded failed' >new-breaks", outcome: "rolled-back", words: "a.service", ran: "test new, test old", end: oldStays},
			{name: "exit 4 as before", before: "echo 4 >new-rc; echo 'a.service loaded failed' >failed", outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "exit 4, ignored", before: "echo 4 >new-rc; echo 'a@1.service loaded failed' >new-breaks", change: func(r *Request) { r.IgnoreUnits = []string{"b.service", "a@*"} }, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "exit 4, ignored by patterns", before: "printf '%s loaded failed\\n' 'a\\x2db.service' c1.service d.service >new-breaks; echo 4 >new-rc", change: func(r *Request) { r.IgnoreUnits = []string{`a\x2db.service`, "c[0-9]*", "[!a-c].service"} }, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "exit 4, not ignored", before: "echo 4 >new-rc; echo 'dd.service loaded failed' >new-breaks", change: func(r *Request) { r.IgnoreUnits = []string{"[!a-c].service"} }, outcome: "rolled-back", words: "dd.service", ran: "test new, test old", end: oldStays},
			{name: "exit 100 for another reason", before: "echo 100 >new-rc", outcome: "rolled-back", words: "exit 100", ran: "test new, test old", end: oldStays},
			{name: "init changed", before: "echo 3 >new/init-interface-version", outcome: "failed", words: "boot --reboot", end: oldStays},
			{name: "boot loader broken", before: "touch boot-broken", outcome: "rolled-back", words: "boot default", ran: "test new, boot new, boot old, test old", end: oldStays},
			{name: "profile broken", before: "touch nix-broken", outcome: "rolled-back", words: "boot default", ran: "test new, boot old, test old", end: oldStays},
			{name: "rollback fails", before: "echo 2 >new-rc; touch old-dead", outcome: "failed", words: "three attempts", ran: "test new, test old, test old, test old", end: "new old system-7-link"},
			{name: "old always exits 2", before: "echo 2 >new-rc; echo 2 >old-rc", outcome: "rolled-back", words: "exit 2", ran: "test new, test old, test old, test old", end: oldStays},
			{name: "old always exits 1", before: "echo 2 >new-rc; echo 1 >old-rc", outcome: "rolled-back", words: "exit 2", ran: "test new, test old, test old, test old", end: oldStays},
			{name: "somebody switches", before: "(exec flock switch.lock sleep 8) >/dev/null 2>&1 & sleep 0.3", outcome: "failed", words: "another switch-to-configuration is running on this host (process ", end: oldStays},
			{name: "somebody switches, whom nobody sees", before: "echo 99 >new-test-locked", outcome: "failed", words: "another switch-to-configuration is running on this host; nothing was changed", end: oldStays},
			{name: "somebody switches, no guard", before: "echo 99 >new-switch-locked", change: func(r *Request) { r.NoGuard = true }, outcome: "failed", words: "another switch-to-configuration", end: oldStays},
			{name: "somebody switches, boot", action: Boot, before: "echo 99 >new-boot-locked", outcome: "failed", words: "another switch-to-configuration", end: oldStays},
			{name: "somebody switches, dry-activate", action: DryActivate, before: "echo 99 >new-dry-activate-locked", outcome: "failed", words: "another switch-to-configuration", end: oldStays},
			{name: "somebody has switched in a moment", before: "echo 1 >new-test-locked; echo 1 >new-boot-locked", change: patient, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "somebody switches on the way back", before: "echo 2 >new-rc; echo 4 >old-test-locked", outcome: "rolled-back", words: "exit 2", ran: "test new, test old", end: oldStays},
			{name: "somebody switches for ever on the way back", before: "echo 2 >new-rc; echo 999 >old-test-locked", outcome: "failed", words: "it could not go back: another switch-to-configuration", ran: "test new", end: "new old system-7-link"},
			{name: "a login cut it short, then somebody switches", before: "echo 9 >new-cut", outcome: "rolled-back", words: "(exit 11); it went back", ran: "test new, test old", end: oldStays},
			{name: "a login cut it short", before: "echo 0 >new-cut", outcome: "changed", ran: "test new, test new, boot new", end: newBoots},
			{name: "a user's part fails", before: userFails + "; echo 0 >answers", outcome: "rolled-back", words: "activated, but user activation for root failed (exit 4)", ran: "test new, test old", end: oldStays},
			{name: "a user's part fails, who is logging out", before: userFails + "; echo 0 >answers; echo closing >user-state", outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "a user's part fails, accepted", before: userFails + "; echo 0 >answers", change: func(r *Request) { r.IgnoreUnits = []string{"user activation for root"} }, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "a user's part fails, another is accepted", before: userFails + "; echo 0 >answers", change: func(r *Request) { r.IgnoreUnits = []string{"user activation for alice"} }, outcome: "rolled-back", words: "--accept-failed 'user activation for root'", ran: "test new, test old", end: oldStays},
			{name: "a user's part fails, as it must have before", before: userFails, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "a user's part and a reload fail", before: userFails + "; echo 'Failed to reload a.service' >>new-says", change: func(r *Request) { r.IgnoreUnits = []string{"user activation for*"} }, outcome: "rolled-back", words: "reload of a.service", ran: "test new, test old", end: oldStays},
			{name: "a reload fails behind a unit that had failed", before: "echo 4 >new-rc; echo 'b.service loaded failed' >failed; echo 'Failed to reload a.service: no' >new-says", outcome: "rolled-back", words: "reload of a.service", ran: "test new, test old", end: oldStays},
			{name: "a reload fails, as systemctl says it", before: "echo 4 >new-rc; echo 'b.service loaded failed' >failed; printf '%s\\n' 'reloading the following units: a.service, c.service' 'Job for a.service failed because the control process exited with error code.' >new-says", outcome: "rolled-back", words: "--accept-failed 'reload of a.service'", ran: "test new, test old", end: oldStays},
			{name: "the old system ends well and does not run", before: "echo 2 >new-rc; touch old-idle", outcome: "failed", words: "three attempts to go back failed", ran: "test new, test old, test old, test old", end: "new old system-7-link"},
			{name: "checks of its own fail", before: "echo 1 >new-declines", outcome: "failed", words: "its pre-switch checks failed", end: oldStays},
			{name: "checks of its own fail with the errno 0", before: "echo 0 >new-declines", outcome: "failed", words: "its pre-switch checks failed", end: oldStays},
			{name: "checks of its own fail, no guard", before: "echo 0 >new-declines", change: func(r *Request) { r.NoGuard = true }, outcome: "failed", words: "its pre-switch checks failed", end: oldStays},
			{name: "the new system ends well and does not run", before: "touch new-idle", outcome: "rolled-back", words: "ended with 0 and the new system does not run", ran: "test new, test old", end: oldStays},
			{name: "the activation script fails behind a unit", before: "echo 4 >new-rc; echo 'b.service loaded failed' >failed; echo 'Failed to run activate script' >new-says", change: func(r *Request) { r.IgnoreUnits = []string{"*"} }, outcome: "rolled-back", words: "the activation script failed", ran: "test new, test old", end: oldStays},
			{name: "a unit of a user's part is no unit", before: userFails + "; printf 'Failed to start user unit x.service\\n' >>new-says", outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "old without switch-to-configuration", before: "rm old/bin/switch-to-configuration", outcome: "failed", words: "nothing could take the host back", end: oldStays},
			{name: "old without switch-to-configuration, no guard", before: "rm old/bin/switch-to-configuration", change: func(r *Request) { r.NoGuard = true }, outcome: "changed", ran: "switch new", end: "new old system-8-link"},
			{name: "old without switch-to-configuration, boot", action: Boot, before: "rm old/bin/switch-to-configuration", outcome: "changed", ran: "boot new", end: "old new system-8-link"},
			{name: "boot action fails", action: Boot, before: "touch boot-broken", outcome: "failed", words: "put back", ran: "boot new, boot old", end: oldStays},
			{name: "no systemd-run", before: "touch no-systemd-run", outcome: "failed", words: "deadman", end: oldStays},
			{name: "no list of units", before: "touch no-units", outcome: "failed", words: "systemd does not answer on the host; nothing was changed", end: oldStays},
			{name: "busy", before: "mkdir -p run/godwit/20260101T000000-aaaaaa; ln -s 20260101T000000-aaaaaa run/godwit/current; echo active >states", outcome: "failed", words: "another deployment", end: oldStays},
			{name: "locked", before: ana, outcome: "failed", words: "locked by ana on laptop: disk; nothing was changed", end: oldStays},
			{name: "locked in words that nobody understands", before: "echo '::godwit end' >lock.json", outcome: "failed", words: "locked by somebody", end: oldStays},
			{name: "locked, boot", action: Boot, before: ana, outcome: "failed", words: "--override-lock", end: oldStays},
			{name: "locked, dry", action: DryActivate, before: ana, outcome: "ok", ran: "dry-activate new", end: oldStays},
			{name: "locked, and gone over", before: ana, change: func(r *Request) { r.OverrideLock = true }, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "stale lock", before: "mkdir -p run/godwit/20260101T000000-aaaaaa; ln -s 20260101T000000-aaaaaa run/godwit/current", outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "a commit was interrupted before", before: `ln -s "$PWD/new" profiles/system-8-link; ln -sfn system-8-link profiles/system; mkdir state
printf '%s\n' x "$PWD/profiles/system" system-7-link "$PWD/new" "$PWD/old" >state/pending; echo 2 >new-rc`, outcome: "rolled-back", words: "exit 2", ran: "test new, test old", end: oldStays},
			{name: "torn history", before: `mkdir state; printf '{"id":"x' >state/history.jsonl`, outcome: "changed", ran: "test new, boot new", end: newBoots},
			{name: "no switch-to-configuration", before: "rm new/bin/switch-to-configuration", outcome: "failed", words: "system.switch.enable", end: oldStays},
		} {
			if testing.Short() && (i%5 != 0 || shell != shells[0] && i%15 != 0 || strings.Contains(c.name, "for ever")) {
				continue
			}
			t.Run(shell+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				l := newLocal(t, shell)
				if c.before != "" {
					l.do(c.before)
				}
				if c.action == "" {
					c.action = Switch
				}
				res, err := l.deploy(c.action, c.change)
				text := ""
				if err != nil {
					text = fault.Render(err)
				}
				if string(res.Outcome) != c.outcome || !strings.Contains(text, c.words) || (err != nil) != (c.outcome == "failed" || c.outcome == "rolled-back") {
					t.Errorf("outcome %q, want %q\n%s\n%q", res.Outcome, c.outcome, text, res.Log)
				}
				if ran := l.do(`[ ! -e ran ] || paste -sd, ran | sed 's/,/, /g'`); ran != c.ran {
					t.Errorf("ran %q, want %q", ran, c.ran)
				}
				if end := l.do(`echo $(basename $(readlink -f current)) $(basename $(cat boot)) $(readlink profiles/system)`); end != c.end {
					t.Errorf("ended as %q, want %q", end, c.end)
				}
				if c.name == "busy" || strings.HasPrefix(c.words, "three attempts") || strings.Contains(c.name, "for ever") {
					return
				}
				l.idle()
				if left := l.do(`ls gcroots; ls profiles | grep -v '^system' || true; [ ! -L run/godwit/current ] || echo lock; [ ! -e state/pending ] || echo pending; find run -name reserve -o -name 'spare-*' -o -name '.*.[0-9]*'`); left != "" {
					t.Errorf("left over: %s", left)
				}
				if c.ran != "" && c.action != DryActivate {
					if n := l.do(`grep -c '"meta":{.*"who":"o.*x' state/history.jsonl`); n != "1" {
						t.Errorf("history: %s", l.do("cat state/history.jsonl"))
					}
				}
			})
		}
	}
}

// TestLockedMeanwhile locks a host between the look at it and the change, and goes over
// a lock, which the host writes down.
func TestLockedMeanwhile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("the scripts are for Linux: flock, readlink -f, stat -c")
		return
	}
	for _, shell := range shells {
		l := newLocal(t, shell)
		calls := 0
		conn := hosttest.Func{Host: "web1", Do: func(ctx context.Context, c host.Cmd) error {
			if calls++; calls == 2 {
				l.do(ana)
			}
			return l.run(ctx, c)
		}}
		req := Request{Host: "web1", NewSystem: l.root + "/new", Action: Switch, at: l.at}
		res, err := Run(t.Context(), conn, req, event.Discard)
		if res.Outcome != "failed" || err == nil || !strings.Contains(err.Error(), "locked by ana on laptop: disk") {
			t.Errorf("%s: %s, %v", shell, res.Outcome, err)
		}
		if left := l.do("ls run/godwit gcroots; readlink current"); !strings.HasSuffix(left, "/old") || strings.Contains(left, "2026") {
			t.Errorf("%s: %s", shell, left)
		}
		res, err = l.deploy(Switch, func(r *Request) { r.OverrideLock = true })
		if res.Outcome != "changed" || res.Overrode != "ana on laptop: disk" || err != nil {
			t.Errorf("%s: %+v, %v", shell, res, err)
		}
		l.idle()
		if record := l.do("cat state/history.jsonl"); !strings.Contains(record, `"overrode":"ana on laptop: disk"`) {
			t.Errorf("%s: %s", shell, record)
		}
	}
}

// ana has locked the host.
const ana = `echo '{"user":"ana","deployer":"laptop","message":"disk"}' >lock.json`

// TestKnownParts: a user's part that fails with the old system, too, is no reason
// to go back the next time, and is forgotten when it succeeds.
func TestKnownParts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("the scripts are for Linux: flock, readlink -f, stat -c")
		return
	}
	l := newLocal(t, shells[0])
	l.do("ln -s ../old/sw new/sw; echo 4 | tee new-rc >old-rc; echo 'warning: user activation for root failed' | tee new-says >old-says; echo '0 root' >users; echo 0 >answers")
	res, err := l.deploy(Switch, nil)
	if res.Outcome != "rolled-back" || !strings.Contains(fault.Render(err), "that failed with the old system, too") {
		t.Errorf("%s %v", res.Outcome, fault.Render(err))
	}
	l.idle()
	if res, err = l.deploy(Switch, nil); res.Outcome != "changed" || err != nil {
		t.Errorf("%s %v", res.Outcome, err)
	}
	l.idle()
	if known := l.do("cat state/failed-parts"); known != l.root+"/new\nuser activation for root" {
		t.Errorf("remembered: %q", known)
	}
	l.do("rm new-rc new-says")
	if res, err = l.deploy(Test, nil); res.Outcome != "unchanged" || err != nil {
		t.Errorf("%s %v", res.Outcome, err)
	}
	l.idle()
	if known := l.do("cat state/failed-parts 2>/dev/null || true"); known != "" {
		t.Errorf("remembered: %q", known)
	}
}
