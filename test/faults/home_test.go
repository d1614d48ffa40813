package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/test/lab"
)

// homes puts generations of home-manager's shape into the store, and prints "NAME PATH".
const homes = `set -e; export HOME=/root NIX_REMOTE=; work=$(mktemp -d)
for name in home-one home-two home-fails home-hangs; do
	d=$work/$name; mkdir -p $d/files/.config; echo $name >$d/files/.config/it; ln -s files $d/home-files; echo 1 >$d/gen-version
	cat >$d/activate <<'END'
#!/bin/sh
self=$(dirname "$(readlink -f "$0")") roots=$HOME/.local/state/home-manager/gcroots
echo "home of $(id -un) in $HOME: ${self##*-} $*, its manager: $(systemctl --user show --property=Version 2>/dev/null | sed 's/=.*//')" >&2
mkdir -p "$roots" "$HOME/.config"
nix-store --realise "$self" --add-root "$roots/current-home" >/dev/null
ln -sfn "$self/home-files/.config/it" "$HOME/.config/it"
case $self in *-fails) exit 3 ;; *-hangs) sleep 1000 ;; esac
END
	chmod +x $d/activate; p=$(nix-store --add $d); ln -sfn $p /nix/var/nix/gcroots/fault/$name; echo "$name $p"
done; rm -r $work`

// TestHome deploys the home of a user on a machine that is no NixOS: by root, by the
// user alone whose manager lingers, and by one whose does not.
func TestHome(t *testing.T) {
	begin(t)
	h := newHost(t, suites()[0])
	for line := range strings.Lines(h.must(homes)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		h.systems[name] = path
	}
	h.must(`rm /run/current-system; rm -f /etc/NIXOS; systemd-run --quiet --unit=lab-nix nix-daemon; loginctl enable-linger deploy
n=0; until [ -S /nix/var/nix/daemon-socket/socket ] && [ -S /run/user/$(id -u deploy)/systemd/private ] || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done`)
	is := func(t *testing.T, want string) {
		t.Helper()
		got := h.must(`cd ~deploy; for l in .local/state/nix/profiles/home-manager .local/state/home-manager/gcroots/current-home; do t=$(readlink -f $l); [ ! -L $l ] && echo none || echo ${t##*-home-}; done; cat .config/it 2>/dev/null || echo home-none`)
		if want = strings.Join([]string{want, want, "home-" + want}, "\n"); got != want {
			t.Errorf("profile, home, its file: %q, want %q", got, want)
		}
		// The unit that took it back is there until it has seen its own end.
		const things = `systemctl list-units --all --plain --no-legend 'godwit*'; systemctl --machine=deploy@.host --user list-units --all --plain --no-legend 'godwit*' 2>/dev/null; ls -d /run/godwit/current /var/lib/godwit/pending ~deploy/.local/state/godwit/run/*/current ~deploy/.local/state/godwit/pending 2>/dev/null; true`
		left := h.must(things)
		for end := time.Now().Add(busy); left != "" && time.Now().Before(end); left = h.must(things) {
			time.Sleep(100 * time.Millisecond)
		}
		if left != "" {
			t.Errorf("left over: %s", left)
		}
	}
	for _, c := range []struct {
		name, new string
		user      bool
		change    func(*activate.Request, *network)
		before    string
		outcome   string
		words     string // in the error, or the log
		is        string
	}{
		{name: "the first fails", new: "fails", outcome: "rolled-back", words: "the activation failed (exit 3)", is: "none"},
		{name: "by root", new: "one", outcome: "changed", words: "home of deploy in /home/deploy: one --driver-version 1, its manager: Version", is: "one"},
		{name: "by root, hangs", new: "hangs", outcome: "rolled-back", words: "took longer than", is: "one"},
		{name: "by root, the checks fail", new: "two", change: func(r *activate.Request, _ *network) {
			r.Checks = func(context.Context, activate.Phase) error { return errors.New("no") }
		}, outcome: "rolled-back", words: "checks failed", is: "one"},
		{name: "by the user", new: "two", user: true, outcome: "changed", words: "its manager: Version", is: "two"},
		{name: "by the user, fails", new: "fails", user: true, outcome: "rolled-back", words: "exit 3", is: "two"},
		{name: "by the user, and the network goes away", new: "one", user: true, change: func(r *activate.Request, n *network) {
			r.Checks = func(context.Context, activate.Phase) error {
				n.cut(true)
				time.AfterFunc(8*time.Second, func() { n.down.Store(false) })
				return nil
			}
		}, outcome: "rolled-back", words: "rolling back: not ", is: "two"},
		{name: "by the user, and somebody takes it back", new: "one", user: true, change: func(r *activate.Request, n *network) {
			r.Checks = func(ctx context.Context, _ activate.Phase) error {
				ctx = context.WithoutCancel(ctx) // which ends when the deployment does
				other := h.clientBy(t, lab.Deploy, "none")
				_, dep, err := activate.StatusOf(ctx, other, h.Name, []activate.Change{{Name: "deploy", Kind: "home", Owner: "deploy"}})
				if err != nil || !dep.Pending() || len(dep.Profiles) != 1 {
					h.t.Errorf("status: %+v %v", dep, err)
				}
				if _, err := activate.Rollback(ctx, other, h.Name, "", "by hand", event.Discard); err != nil {
					h.t.Errorf("rollback: %v", err)
				}
				records, err := activate.History(ctx, other, h.Name, 1)
				if err != nil || len(records) != 1 || records[0].Reason != "by hand" || len(records[0].Profiles) != 1 || records[0].Profiles[0].Owner != "deploy" {
					h.t.Errorf("history: %+v %v", records, err)
				}
				return nil
			}
		}, outcome: "rolled-back", words: "by hand", is: "two"},
		{name: "by the user, and somebody confirms it", new: "one", user: true, change: func(r *activate.Request, n *network) {
			r.Checks = func(ctx context.Context, _ activate.Phase) error {
				if res, err := activate.Confirm(context.WithoutCancel(ctx), h.clientBy(t, lab.Deploy, "none"), h.Name, "", event.Discard); err != nil || res.Outcome != "changed" {
					h.t.Errorf("confirm: %+v %v", res, err)
				}
				return nil
			}
		}, outcome: "changed", is: "one"},
		{name: "by the user, back to two", new: "two", user: true, outcome: "changed", is: "two"},
		{name: "by the user, no linger", new: "one", user: true, before: "loginctl disable-linger deploy", outcome: "failed", words: "no rollback guard on this host: what the login user starts ends with the login", is: "two"},
		{name: "by the user, no linger, no guard", new: "one", user: true, change: func(r *activate.Request, _ *network) { r.NoGuard = true }, outcome: "changed", is: "one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t = t
			if c.before != "" {
				h.must(c.before)
			}
			l := &listener{t: t}
			req := activate.Request{Host: h.Name, Action: activate.Switch, ActivateTimeout: 8 * time.Second, ConfirmTimeout: 6 * time.Second,
				Profiles: []activate.Change{{Name: "deploy", Kind: "home", Owner: "deploy", New: h.systems["home-"+c.new]}}}
			r := h.r
			if c.user {
				r = h.clientBy(t, lab.Deploy, "none")
			}
			n := &network{Conn: r}
			if c.change != nil {
				c.change(&req, n)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			res, err := activate.Run(ctx, n, req, l)
			said := strings.Join(l.logs, "\n")
			if err != nil {
				said += fault.Render(err)
			}
			if string(res.Outcome) != c.outcome || !strings.Contains(said, c.words) {
				t.Errorf("outcome %q, want %q, with %q\n%s\n%s", res.Outcome, c.outcome, c.words, said, h.must("tail -n 30 /run/godwit/*/log ~deploy/.local/state/godwit/run/*/*/log 2>/dev/null; true"))
			}
			is(t, c.is)
			t.Logf("%s: %s", res.Outcome, said)
		})
	}
}
