package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/onhost"
	"godwit/test/canary"
	"godwit/test/lab"
)

// keeper makes releases of secrets on a host.
type keeper struct {
	*machine
	to age.Recipient
}

const theProgram = "/root/" + onhost.Name

// secretsProgram is the program, built once.
var secretsProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, onhost.Name)
	build := exec.Command("go", "build", "-o", at, "godwit/cmd/"+onhost.Name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	text, err := os.ReadFile(at)
	return string(text), err
})

// newKeeper puts the program on a host.
func newKeeper(h *machine) *keeper {
	h.t.Helper()
	k := &keeper{machine: h}
	program, err := secretsProgram()
	if err != nil {
		h.t.Fatal(err)
	}
	if r := k.ExecInput(h.t.Context(), "cat >"+theProgram+" && chmod 500 "+theProgram, program); !r.OK() {
		h.t.Fatal(r)
	}
	if k.to, err = identity.ParseRecipient(k.HostKey, nil); err != nil {
		h.t.Fatal(err)
	}
	return k
}

// bundle is a release of one secret: "a", whose value has the mark and that word.
func (k *keeper) bundle(to age.Recipient, e bundle.Entry, word string) string {
	k.t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		_, _ = w.Write([]byte(canary.Value(word)))
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

// receive lets the host keep a bundle, and gives what that says.
func (k *keeper) receive(bundle string) lab.Result {
	return k.ExecInput(k.t.Context(), theProgram+" receive", bundle)
}

// release puts a release of one secret on the host.
func (k *keeper) release(e bundle.Entry, word string) string {
	k.t.Helper()
	r := k.receive(k.bundle(k.to, e, word))
	if !r.OK() {
		k.t.Fatal(r)
	}
	return strings.TrimSpace(r.Stdout)
}

// deployed makes a release what the host runs and keeps, as if it had been deployed with the
// system of that name, which runs.
func (k *keeper) deployed(release, system string) {
	k.t.Helper()
	k.must(release + "/godwit-secrets deliver " + release + " && cd /var/lib/godwit/secrets && ln -s " + release + " secrets-1-link && ln -s secrets-1-link secrets && " +
		release + "/godwit-secrets keep " + release + " " + k.systems[system])
}

// word is which value the secret has, by its word.
func (k *keeper) word() string {
	k.t.Helper()
	return strings.TrimPrefix(k.must("cat /run/godwit/secrets/a; true"), canary.Mark)
}

// mayBe are the places of these hosts that may have the value: memory, and what the service of
// TestSecrets writes of it.
var mayBe = []string{"/run/godwit/secrets.d", "/run/fault-uses"}

// nothingInClear looks for the value everywhere else.
func (k *keeper) nothingInClear(since time.Time) {
	k.t.Helper()
	found, err := canary.Host(context.WithoutCancel(k.t.Context()), k.Host, since, mayBe...)
	if err != nil {
		k.t.Error(err)
	}
	for _, line := range found {
		k.t.Errorf("a secret is in clear on %s", line)
	}
}

// pushedTo is where a file was pushed before a release had it as a destination.
const pushedTo = "/var/pushed/a"

// TestSecrets: a release of secrets is tried, kept and taken back with the system of its
// host, whatever happens: the secret, what the service that uses it read, and what the
// next boot uses are all old, or all new.
func TestSecrets(t *testing.T) {
	begin(t)
	began := time.Now()
	k := newKeeper(newHost(t, suites()[0]))
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
		{name: "the power fails where a pushed file was", entry: bundle.Entry{Destination: pushedTo, Replace: true, Restart: uses.Restart}, before: "mkdir -p /var/pushed; echo pushed >" + pushedTo, at: activated, is: "old"},
		{name: "the power fails when its units restart", before: "touch /run/fault-uses-slow", at: `[ "$(systemctl show -p ActiveState --value fault-uses)" != active ]`, is: "old"},
		{name: "the power fails when it is taken back", checks: errors.New("no"), before: "touch /run/fault-hold-old", at: `[ -e /run/fault-held-old ]`, is: "old"},
		{name: "the power fails when it was taken back", checks: errors.New("no"), before: "echo 3 >/var/lib/fault/old-slow", at: `grep -qs rolling-back /run/godwit/current/phase && [ "$(readlink /run/godwit/secrets/.release)" != NEW ]`, is: "old"},
		{name: "the power fails when it is kept", before: "touch /run/fault-hold-boot", at: `[ -e /run/fault-held-boot ] && [ "$(readlink -f /var/lib/godwit/secrets/secrets)" = NEW ]`, is: "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k.t = t
			k.reset("old")
			one := k.release(uses, "one")
			k.deployed(one, "old")
			k.must(`cat >/run/systemd/system/fault-uses.service <<'END'
[Service]
ExecStartPre=/bin/sh -c '[ ! -e /run/fault-uses-slow ] || sleep 3'
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
				if r := k.ExecInput(t.Context(), "mkdir -m 700 "+two+" && cp -p "+theProgram+" "+two+" && cat >"+two+"/bundle.json", text); !r.OK() {
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
			if got, of := k.word(), k.must("readlink /run/godwit/secrets/.release"); got != text || of != want {
				t.Errorf("the secret is %q of %s, want %q of %s\n%s", got, of, text, want, said)
			}
			if strings.Contains(c.before, pushedTo) {
				if got := k.must("cat " + pushedTo + "; ls -A /var/pushed"); got != "pushed\na" {
					t.Errorf("the pushed file is %q", got)
				}
			}
			if c.at == "" {
				if got := strings.TrimPrefix(k.must("sleep 0.3; cat /run/fault-uses"), canary.Mark); got != text {
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
				if kept := k.must("readlink -f /var/lib/godwit/secrets/secrets"); err != nil || k.word() != "two" || kept != two {
					t.Errorf("the next one: %s %v, %s of %s", res.Outcome, err, k.word(), kept)
				}
			}
		})
	}
	for name, fn := range map[string]func(*testing.T, *keeper){
		"the power fails while a release comes":    cutWhileReceiving,
		"the power fails while a boot delivers it": cutWhileBooting,
		"full disk":                 fullDisk,
		"hostile owner of a folder": hostileOwner,
	} {
		t.Run(name, func(t *testing.T) {
			k.t = t
			k.reset("old")
			fn(t, k)
		})
	}
	k.t = t
	k.nothingInClear(began)
}

// cutWhileReceiving: what a power cut leaves of a release is all of it, or nothing that counts.
func cutWhileReceiving(t *testing.T, k *keeper) {
	one := k.release(bundle.Entry{}, "one")
	k.deployed(one, "old")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	whole := 0
	for i := range 3 {
		var more strings.Builder
		for n := range 8 {
			more.WriteString(k.bundle(k.to, bundle.Entry{}, fmt.Sprintf("more-%d-%d", i, n)) + "\n")
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.ExecInput(ctx, "touch /run/fault-receives; while read -r b; do printf %s \"$b\" | "+theProgram+" receive >/dev/null; done", more.String())
		}()
		k.Exec(ctx, fmt.Sprintf("until [ -e /run/fault-receives ]; do sleep 0.01; done; sleep 0.0%d", 1+3*i))
		if err := errors.Join(k.PowerCut(ctx), k.Boot(ctx)); err != nil {
			t.Fatal(err)
		}
		<-done
		out := k.must("cd " + onhost.State + "; for d in [0-9a-f]*/; do d=" + onhost.State + "/${d%/}; case ${#d} in 56) " + theProgram + " check $d && echo whole ;; esac; done")
		whole += strings.Count(out, "whole")
		if strings.Trim(strings.ReplaceAll(out, "whole", ""), "\n") != "" {
			t.Errorf("after the power cut: %s", out)
		}
		if k.word() != "one" {
			t.Errorf("the secret is %q", k.word())
		}
	}
	if whole < 3 { // the one that runs, each time
		t.Errorf("%d releases were looked at", whole)
	}
	k.release(bundle.Entry{}, "one more")
}

// cutWhileBooting: a boot that is cut off, whenever that is, leaves the next one what it needs.
func cutWhileBooting(t *testing.T, k *keeper) {
	one := k.release(bundle.Entry{Destination: "/etc/fault-a"}, "one")
	k.deployed(one, "old")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := k.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{100, 300, 600, 1000} {
		if out, err := exec.CommandContext(ctx, "docker", "start", k.ContainerID).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		time.Sleep(after * time.Millisecond)
		if err := k.PowerCut(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	if got := k.word(); got != "one" {
		t.Errorf("the secret is %q", got)
	}
	if got := k.must("readlink /etc/fault-a; ls -A /run/godwit/secrets.d; systemctl is-failed godwit-secrets.service; true"); got != "/run/godwit/secrets/a\n1\ninactive" {
		t.Errorf("after the boot: %q", got)
	}
	k.must("rm /etc/fault-a")
}

// fullDisk: there is no room for a release: nothing has changed, and it says why.
func fullDisk(t *testing.T, k *keeper) {
	one := k.release(bundle.Entry{}, "one")
	k.deployed(one, "old")
	k.must("mount -t tmpfs -o size=64k none /mnt && cp -a " + onhost.State + "/secrets* " + onhost.State + "/uses /mnt && mount --bind /mnt " + onhost.State + " && umount /mnt")
	before := k.must("ls -A " + onhost.State)
	r := k.receive(k.bundle(k.to, bundle.Entry{}, "two"))
	if r.OK() || !strings.Contains(r.Stderr, "no space left on device") {
		t.Errorf("%s", r)
	}
	if after := k.must("ls -A " + onhost.State); after != before {
		t.Errorf("there is now %q, before it was %q", after, before)
	}
	k.must("umount " + onhost.State)
	if k.word() != "one" {
		t.Errorf("the secret is %q", k.word())
	}
	if two := k.release(bundle.Entry{}, "two"); k.must(two+"/godwit-secrets deliver "+two+" >/dev/null; readlink /run/godwit/secrets/.release") != two {
		t.Error("with room it is not delivered")
	}
}

// hostileOwner: a user of the host owns the folder that a secret's destination is in, and moves
// whatever is on the way while root delivers: root puts nothing anywhere else, and they never read it.
func hostileOwner(t *testing.T, k *keeper) {
	k.must("rm -rf /srv/mallory /srv/goal && install -d -o " + lab.Nobody + " /srv/mallory && install -d -m 755 /srv/goal")
	one := k.release(bundle.Entry{}, "one")
	k.deployed(one, "old")
	two := k.release(bundle.Entry{Destination: "/srv/mallory/way/in/a"}, "two")
	k.must(`cat >/srv/mallory.sh <<'END'
cd /srv/mallory
n=0
while [ ! -e /srv/goal/enough ]; do # what root made there they can move, and not remove
	n=$((n + 1))
	mv way was-$n; mkdir -p way/in; cat way/in/a >>read
	mv way aside-$n; ln -s /srv/goal way; cat way/a way/in/a >>read; rm way
	mkdir way; ln -s /srv/goal way/in; cat way/in/a >>read; mv way other-$n
	mkdir -p way/in; ln -s /srv/goal/a way/in/a; cat way/in/a >>read
done
END
setsid su -s /bin/sh ` + lab.Nobody + ` -c 'sh /srv/mallory.sh' >/dev/null 2>&1 </dev/null &`)
	out := k.must(`good=0 bad=0
for i in $(seq 150); do if ` + two + `/godwit-secrets deliver ` + two + ` >/dev/null 2>&1; then good=$((good + 1)); else bad=$((bad + 1)); fi; ` + one + `/godwit-secrets deliver ` + one + ` >/dev/null; done
touch /srv/goal/enough; sleep 0.3; echo $good $bad; ls -A /srv/goal /srv/goal/a /srv/goal/in 2>/dev/null; wc -c </srv/mallory/read`)
	f := strings.Fields(out)
	if len(f) != 5 || f[0] == "0" && f[1] == "0" || f[2] != "/srv/goal:" || f[3] != "enough" || f[4] != "0" {
		t.Errorf("delivered, refused; what is in the goal; what they have read: %q", out)
	}
	t.Logf("delivered and refused: %s and %s times", f[0], f[1])
	if k.word() != "one" {
		t.Errorf("the secret is %q", k.word())
	}
	k.must("rm -rf /srv/mallory /srv/goal /srv/mallory.sh")
}
