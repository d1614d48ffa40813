package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/onhost"
)

// keeper makes releases of secrets on a host.
type keeper struct {
	*machine
	t  *testing.T
	to age.Recipient
}

const theProgram = "/root/" + onhost.Name

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{machine: newHost(t, suites()[0]), t: t}
	at := filepath.Join(t.TempDir(), onhost.Name)
	build := exec.Command("go", "build", "-o", at, "godwit/cmd/"+onhost.Name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if r := k.RunInput(t.Context(), "root", "cat >"+theProgram+" && chmod 500 "+theProgram, string(program)); !r.OK() {
		t.Fatal(r)
	}
	if k.to, err = identity.ParseRecipient(k.HostKey, nil); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keeper) bundle(to age.Recipient, e bundle.Entry, plain string) string {
	k.t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		_, _ = w.Write([]byte(plain))
		err = w.Close()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	e.Name, e.Mode, e.Phase, e.Age = "a", 0o400, bundle.Services, out.Bytes()
	text, err := json.Marshal(bundle.Bundle{Machine: k.Name, Recipient: k.HostKey, KeyFile: identity.SSHHostKeyFile, Entries: []bundle.Entry{e}})
	if err != nil {
		k.t.Fatal(err)
	}
	return string(text)
}

// release puts a release of one secret on the host.
func (k *keeper) release(e bundle.Entry, plain string) string {
	k.t.Helper()
	r := k.RunInput(k.t.Context(), "root", theProgram+" receive", k.bundle(k.to, e, plain))
	if !r.OK() {
		k.t.Fatal(r)
	}
	return strings.TrimSpace(r.Stdout)
}

// TestSecrets: a release of secrets is tried, kept and taken back with the system of its
// host, whatever happens: the secret, what the service that uses it read, and what the
// next boot uses are all old, or all new.
func TestSecrets(t *testing.T) {
	if testing.Short() {
		t.Skip("needs containers")
	}
	t.Parallel()
	k := newKeeper(t)
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	uses := bundle.Entry{Restart: []string{"fault-uses.service"}}
	for _, c := range []struct {
		name    string
		system  string       // default good
		entry   bundle.Entry // default uses
		other   bool         // it is encrypted for somebody else
		before  string
		at      string // a condition, at which the power fails
		checks  error
		outcome string // "" after a power cut: of no interest
		words   string
		is      string
	}{
		{name: "it changes", outcome: "changed", is: "new"},
		{name: "the system fails", system: "fail2", outcome: "rolled-back", words: "the activation failed", is: "old"},
		{name: "the checks fail", checks: errors.New("no"), outcome: "rolled-back", words: "checks failed", is: "old"},
		{name: "for another key", other: true, outcome: "failed", words: "secret 'a' does not open with the key of this machine", is: "old"},
		{name: "an owner that nobody makes", entry: bundle.Entry{User: "nobodyhasthis", Restart: uses.Restart}, outcome: "rolled-back", words: "the host has no owner nobodyhasthis:root", is: "old"},
		{name: "the service does not start with it", before: "touch /run/fault-uses-fails", outcome: "rolled-back", words: "fault-uses.service does not start with its new secret", is: "old"},
		{name: "no way to the destination", entry: bundle.Entry{Destination: "/etc/hostname/a"}, outcome: "rolled-back", words: "secret 'a'", is: "old"},
		{name: "full /run", before: "mount -o remount,size=16m /run; dd if=/dev/zero of=/run/filler bs=64k 2>/dev/null; true", outcome: "failed", words: "are free in /run", is: "old"},
		{name: "the power fails when it is tried", at: `[ "$(readlink /run/godwit/secrets/.release)" = NEW ]`, is: "old"},
		{name: "the power fails when it runs", at: activated, is: "old"},
		{name: "the power fails when it is kept", before: "echo 5 >/var/lib/fault/boot-slow", at: `[ "$(readlink -f /var/lib/godwit/secrets/secrets)" = NEW ]`, is: "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k.machine.t, k.t = t, t
			k.reset("old")
			k.must("rm -rf /etc/systemd/system.attached; umount /run/godwit/secrets.d 2>/dev/null; rm -rf /run/godwit /run/fault-uses-fails")
			one := k.release(uses, "one")
			// It was deployed, with the system that runs.
			k.must(one + "/godwit-secrets deliver " + one + " && cd /var/lib/godwit/secrets && ln -s " + one + " secrets-1-link && ln -s secrets-1-link secrets && " +
				one + "/godwit-secrets keep " + one + " " + k.systems["old"])
			k.must(`cat >/run/systemd/system/fault-uses.service <<'END'
[Service]
ExecStartPre=/bin/sh -c '[ ! -e /run/fault-uses-fails ] || ! grep -q two /run/godwit/secrets/a'
ExecStart=/bin/sh -c 'cat /run/godwit/secrets/a >/run/fault-uses; exec sleep 10000'
END
systemctl daemon-reload; systemctl start fault-uses; until [ -s /run/fault-uses ]; do sleep 0.1; done`)
			if c.entry.Name == "" && c.entry.User == "" && c.entry.Destination == "" {
				c.entry = uses
			}
			two := ""
			if c.other {
				text := k.bundle(stranger.Recipient(), c.entry, "two")
				var b bundle.Bundle
				_ = json.Unmarshal([]byte(text), &b)
				two = onhost.State + "/" + b.ID()
				if r := k.RunInput(t.Context(), "root", "mkdir -m 700 "+two+" && cp -p "+theProgram+" "+two+" && cat >"+two+"/bundle.json", text); !r.OK() {
					t.Fatal(r)
				}
			} else {
				two = k.release(c.entry, "two")
			}
			if c.before != "" {
				k.must(c.before)
			}
			req := k.request(map[bool]string{true: "good", false: c.system}[c.system == ""])
			req.ActivateTimeout, req.ConfirmTimeout = 15*time.Second, 8*time.Second
			req.Profiles = []activate.Change{{Name: "secrets", Kind: "secrets", New: two}, {Name: "system", Kind: "nixos", New: req.NewSystem}}
			if c.checks != nil {
				req.Checks = func(context.Context, activate.Phase) error { return c.checks }
			} else if c.at != "" {
				req.Checks = func(context.Context, activate.Phase) error { time.Sleep(time.Second); return nil }
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cut := make(chan error, 1)
			if c.at == "" {
				cut <- nil
			} else {
				go func() {
					at := strings.ReplaceAll(c.at, "NEW", two)
					k.Exec(ctx, "n=0; until "+at+" || [ $n = 300 ]; do sleep 0.05; n=$((n + 1)); done")
					cut <- errors.Join(k.PowerCut(ctx), k.Boot(ctx))
				}()
			}
			l := &listener{t: t}
			res, err := activate.Run(ctx, &network{Conn: k.r}, req, l)
			if err := <-cut; err != nil {
				t.Fatal(err)
			}
			said := strings.Join(l.logs, "\n")
			if err != nil {
				said += fault.Render(err)
			}
			if c.outcome != "" && (string(res.Outcome) != c.outcome || !strings.Contains(said, c.words)) {
				t.Errorf("outcome %q, want %q, with %q\n%s\n%s", res.Outcome, c.outcome, c.words, said, k.must("tail -n 30 /run/godwit/*/log 2>/dev/null; true"))
			}
			k.must("rm -f /run/filler; mount -o remount,size=50% /run")
			want := map[string]string{"old": one, "new": two}[c.is]
			text := map[string]string{"old": "one", "new": "two"}[c.is]
			if got := k.must("cat /run/godwit/secrets/a; echo; readlink /run/godwit/secrets/.release"); got != text+"\n"+want {
				t.Errorf("the secret is %q, want %q of %s\n%s", got, text, want, said)
			}
			if c.at == "" {
				if got := k.must("sleep 0.3; cat /run/fault-uses"); got != text {
					t.Errorf("the service read %q, want %q\n%s", got, text, said)
				}
				if kept := k.must("readlink -f /var/lib/godwit/secrets/secrets; ls -d /var/lib/godwit/secrets/secrets-*-link | wc -l"); kept != want+"\n"+map[string]string{"old": "1", "new": "2"}[c.is] {
					t.Errorf("kept is %q, want %s", kept, want)
				}
			}
			if left := k.must("ls -d /run/godwit/secrets.d/*/ | wc -l; ls -A /run/godwit/secrets.d | grep -v '^[0-9]*$'; true"); left != "1" {
				t.Errorf("generations: %q", left)
			}
			// The next deployment puts right what a power cut left.
			if c.at != "" {
				req.Checks = nil
				res, err := activate.Run(ctx, &network{Conn: k.r}, req, l)
				if err != nil || k.must("cat /run/godwit/secrets/a; readlink -f /var/lib/godwit/secrets/secrets") != "two"+two {
					t.Errorf("the next one: %s %v %s", res.Outcome, err, k.must("cat /run/godwit/secrets/a; readlink -f /var/lib/godwit/secrets/secrets"))
				}
			}
		})
	}
}
