package secrets

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/ssh"
	"godwit/test/lab"
)

//go:embed testdata/hostile.pl
var hostile string

// TestHostileOwner: a user of the host who owns, or can write to, a directory on the way
// to a secret does what he can while root puts it there. Nothing of root's changes,
// nothing that only root may read is read, and what is honest still works afterwards.
func TestHostileOwner(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Docker")
	}
	host := lab.New(t, lab.Spec{})
	config := filepath.Join(t.TempDir(), "config")
	if err := lab.WriteSSHConfig(config, host); err != nil {
		t.Fatal(err)
	}
	ask := func(t *testing.T, line string) string {
		t.Helper()
		res := host.Exec(t.Context(), line)
		if !res.OK() {
			t.Fatal(res.String())
		}
		return strings.TrimSpace(res.Stdout)
	}
	const canaries = `cd /root && stat -c '%n %U %G %a' canary canaries secret canaries/* canaries/.[!.]* 2>/dev/null;  cat canary; ls -A canaries; ls none 2>/dev/null || echo nothing was made`
	ask(t, `cd /root && chmod 700 . && umask 077 && echo canary >canary && mkdir canaries canaries/app && echo "ROOT ONLY" >secret && useradd -m app && useradd other`)
	want := ask(t, canaries)
	for _, c := range []struct {
		name, dir, make string // make: as root
		warns           []string
	}{
		{"its own directory", "/home/app/data/app", "install -d -o app -g app /home/app/data /home/app/data/app",
			[]string{`secret "root": /home/app belongs to app, who can put another file in its place`, `secret "root": /home/app/data/app belongs to app,`}},
		{"a directory of root's in its own", "/home/app/roots/app", "install -d -o app -g app /home/app/roots && install -d /home/app/roots/app",
			[]string{`secret "root": /home/app/roots belongs to app,`}},
		{"a directory that everybody can write to", "/srv/open/app", "install -d -m 777 /srv/open /srv/open/app",
			[]string{`secret "own": /srv/open can be written to by everybody, who can put another file in its place`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask(t, c.make)
			pool, err := ssh.NewPool(ssh.Options{ConfigFile: config, ConnectTimeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			w := &world{t: t, r: pool.Host(ssh.Target{Name: "lab", Host: host.Name, User: lab.Root}), local: t.TempDir(), dir: c.dir, user: "app", group: "app"}
			secrets := func(n int) []fleet.Secret {
				own, root := w.secret("own", fmt.Sprint("for app ", n)), w.secret("root", fmt.Sprint("ROOT ONLY ", n))
				root.User, root.Group = "root", "root"
				own.Permissions = "0640"
				return []fleet.Secret{own, root}
			}
			done := make(chan lab.Result, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			stop := c.dir + ".stop"
			ask(t, "rm -f "+stop)
			go func() {
				done <- host.Exec(ctx, "cat >/tmp/hostile.pl <<'EOF'\n"+hostile+"EOF\nchmod 755 /tmp/hostile.pl; exec setpriv --reuid app --regid app --clear-groups perl /tmp/hostile.pl "+c.dir)
			}()
			placed, words := 0, map[string]int{}
			for n := range 25 {
				_, err := w.upload(Options{}, secrets(n)...)
				if err == nil {
					placed++
				} else {
					words[firstLine(fault.Render(err))]++
				}
				if got := ask(t, canaries); got != want {
					t.Fatalf("round %d: root's own was changed:\n%s\nwant\n%s", n, got, want)
				}
			}
			ask(t, "touch "+stop)
			res := <-done
			t.Logf("%d of 25 placed; %s; %v", placed, strings.TrimSpace(res.Stdout), words)
			if !res.OK() || !strings.Contains(res.Stdout, "rounds ") || strings.Contains(res.Stdout, "read ") {
				t.Errorf("%s", res.String())
			}

			// Nobody is hostile any more.
			ask(t, "rm -rf "+c.dir+" "+filepath.Dir(c.dir)+".side "+filepath.Dir(c.dir)+"/.way; "+c.make)
			if _, err := w.upload(Options{}, secrets(99)...); err != nil {
				t.Fatal(fault.Render(err))
			}
			for _, warning := range c.warns {
				if !strings.Contains(strings.Join(w.warnings, "\n"), warning) {
					t.Errorf("no %q in %q", warning, w.warnings)
				}
			}
			if got := ask(t, "cd "+c.dir+" && ls -A && stat -c '%n %U %G %a' own root && cat own"); got != "own\nroot\nown app app 640\nroot root root 400\nfor app 99" {
				t.Errorf("%s", got)
			}
		})
	}
}

// TestWay: which links on the way to a secret are followed, by an upload and by a
// comparison alike; and what a killed upload left is swept.
func TestWay(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Docker")
	}
	host := lab.New(t, lab.Spec{})
	config := filepath.Join(t.TempDir(), "config")
	if err := lab.WriteSSHConfig(config, host); err != nil {
		t.Fatal(err)
	}
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: config, ConnectTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ask := func(line string) string {
		t.Helper()
		res := host.Exec(t.Context(), line)
		if !res.OK() {
			t.Fatal(res.String())
		}
		return strings.TrimSpace(res.Stdout)
	}
	w := &world{t: t, r: pool.Host(ssh.Target{Name: "lab", Host: host.Name, User: lab.Root}), local: t.TempDir(), user: "app", group: "app"}
	ask(`useradd -m app
		install -d /persist/app && ln -s /persist /srv/p && ln -s ../srv/p/app /var/app       # of root's, in root's
		install -d -o app -g app /home/app/real && ln -s real /home/app/link && chown -h app:app /home/app/link
		ln -s real /home/app/rootlink                                                       # of root's, where app can exchange it
		ln -s /nix/store /srv/store && mkfifo /srv/fifo && ln -s loop /srv/loop
		install -d -m 700 /srv/swept/.godwit-secret.AAAAAAAA && echo x >/srv/swept/.godwit-secret.AAAAAAAA/0
		install -d -m 700 -o app /srv/swept/.godwit-secret.BBBBBBBB && install -d -m 700 /srv/swept/.godwit-secret.CCCCCCCC
		touch -d yesterday /srv/swept/.godwit-secret.AAAAAAAA /srv/swept/.godwit-secret.BBBBBBBB`)
	for _, c := range []struct{ dest, is, want string }{
		{"/var/app/a", "/persist/app/a", ""},
		{"/home/app/real/a", "/home/app/real/a", ""},
		{"/srv/swept/a", "/srv/swept/a", ""},
		{"/home/app/link/a", "", `secret "a": /home/app/link is a link of app`},
		{"/home/app/rootlink/a", "", `secret "a": /home/app/rootlink is a link of root, or in a directory that users other than root can change`},
		{"/srv/store/a", "", `secret "a": /srv/store is in the Nix store of the host` + "|that is /nix/store"},
		{"/srv/loop/a", "", `secret "a": /srv/loop is a link`},
	} {
		s := w.secret("a", "content")
		s.Destination = c.dest
		compare := func() string {
			t.Helper()
			all, err := Compare(t.Context(), w.r, fleet.Host{Name: "lab", Secrets: []fleet.Secret{s}})
			if err != nil {
				return fault.Render(err)
			}
			return all[0].Result
		}
		before := compare()
		_, err := w.upload(Options{}, s)
		if c.want == "" {
			if err != nil || before != New || compare() != Unchanged {
				t.Errorf("%s: %s before, %s after, %s", c.dest, before, compare(), fault.Render(err))
			} else if got := ask("cat " + c.is); got != "content" {
				t.Errorf("%s: %q", c.dest, got)
			}
			continue
		}
		for _, want := range strings.Split(c.want, "|") {
			if text := fault.Render(err); !strings.Contains(text, want) || !strings.Contains(before, want) {
				t.Errorf("%s: no %q in\n%s\nor\n%s", c.dest, want, text, before)
			}
		}
	}
	if got := ask("ls -A /srv/swept /home/app/real"); got != "/home/app/real:\na\n\n/srv/swept:\n.godwit-secret.BBBBBBBB\n.godwit-secret.CCCCCCCC\na" {
		t.Errorf("left: %s", got)
	}

	// What is at the destination may be anything.
	fifo := w.secret("a", "content")
	fifo.Destination = "/srv/fifo"
	if got := compared(t, w.r, fifo); got != "a=changed,kind" {
		t.Errorf("a FIFO: %s", got)
	}
	if _, err := w.upload(Options{}, fifo); err != nil || ask("cat /srv/fifo") != "content" {
		t.Errorf("a FIFO: %v", err)
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
