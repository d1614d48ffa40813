package secrets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// TestContents: text and commands, all or nothing.
func TestContents(t *testing.T) {
	w := newWorld(t)
	log := filepath.Join(w.local, "ran")
	key := func(name string, from fleet.Content) fleet.Secret {
		s := w.secret(name, "")
		s.FileGiven, s.From = "", from
		return s
	}
	script := "echo once >>" + log + "; printf 'from a command\n'"
	text, empty := key("text", fleet.Content{Text: "from text"}), key("empty", fleet.Content{})
	command := key("command", fleet.Content{Command: []string{"sh", "-c", script}})
	hosts := []fleet.Host{{Name: "web1", Secrets: []fleet.Secret{text, empty, command}}}
	if err := Preflight(t.Context(), hosts, ""); err != nil {
		t.Fatal(fault.Render(err))
	}
	r, err := w.upload(Options{}, text, empty, command)
	if err != nil || w.results(r) != "command=new empty=new text=new" || w.content("text") != "from text" || w.content("empty") != "" || w.content("command") != "from a command\n" {
		t.Fatal(w.results(r), err, w.files())
	}
	if c, err := Compare(t.Context(), w.r, hosts[0]); err != nil || c[0].Result != Unchanged || c[2].Result != Unchanged {
		t.Error(c, err)
	}
	if r, err = w.upload(Options{}, text, empty, command); err != nil || r.Changes() != 0 {
		t.Error(w.results(r), err)
	}
	if ran, err := os.ReadFile(log); string(ran) != "once\n" {
		t.Errorf("the command ran %q %v", ran, err)
	}

	// What fails changes nothing, and is said without what may be secret.
	for _, c := range []struct {
		command []string
		want    []string
	}{
		{[]string{"sh", "-c", "echo hush; echo locked >&2; exit 3"}, []string{`secret "command": its command sh failed: exit status 3`, "locked"}},
		{[]string{"sh", "-c", ": hush"}, []string{"prints nothing"}},
		{[]string{"no-such-program", "hush"}, []string{"no-such-program is not installed here"}},
		{[]string{"/etc", "hush"}, []string{"cannot be run"}},
	} {
		bad := key("command", fleet.Content{Command: c.command})
		text.From.Text = "changed, hush"
		host := fleet.Host{Name: "web1", Secrets: []fleet.Secret{text, bad}}
		for what, err := range map[string]error{"preflight": Preflight(t.Context(), []fleet.Host{host}, ""), "upload": func() error { _, err := w.upload(Options{}, host.Secrets...); return err }()} {
			if err == nil {
				t.Errorf("%s: %v is taken", what, c.command)
				continue
			}
			said := fault.Render(err)
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("%s: %s\nlacks %q", what, said, want)
				}
			}
			if strings.Contains(said, "hush") {
				t.Errorf("%s says the secret: %s", what, said)
			}
		}
	}
	if w.content("text") != "from text" || w.content("command") != "from a command\n" {
		t.Error("a failed upload changed something")
	}
	saved := key("text", fleet.Content{Withheld: "text"})
	if _, err := w.upload(Options{}, saved); err == nil || !strings.Contains(err.Error(), "a saved plan does not contain") {
		t.Error(err)
	}
}

// TestLateOwner: an owner that the activation will make. Before it, and only then, the
// file stays root's.
func TestLateOwner(t *testing.T) {
	w := newWorld(t)
	s := w.secret("late", "x")
	s.User, s.LateOwner, s.Permissions = "nobody-of-that-name", true, "0640"
	if r, err := w.upload(Options{Phase: fleet.PreActivation}, s); err != nil || w.results(r) != "late=new" || w.files() != "late -rw-r-----" {
		t.Fatal(err, w.files())
	}
	if r, err := w.upload(Options{Phase: fleet.PreActivation}, s); err != nil || w.results(r) != "late=unchanged" {
		t.Error(err)
	}
	if _, err := w.upload(Options{}, s); err == nil || !strings.Contains(err.Error(), "has no owner") {
		t.Error(err)
	}
	s.LateOwner = false
	other := w.secret("other", "y")
	if r, err := w.upload(Options{Phase: fleet.PreActivation, Late: true}, s, other); err != nil || w.results(r) != "late=unchanged other=new" || strings.Join(r.Late, " ") != "late" {
		t.Error(err, r)
	}
	if _, err := w.upload(Options{Phase: fleet.PreActivation, Only: []string{"late"}}, s, other); err == nil || !strings.Contains(err.Error(), "has no owner") {
		t.Error(err)
	}
	if r, err := w.upload(Options{Phase: fleet.PreActivation, Only: []string{"other"}}, s, other); err != nil || w.results(r) != "other=unchanged" || r.Late != nil {
		t.Error(err, r)
	}
	if _, err := w.upload(Options{Phase: fleet.PreActivation}, s); err == nil || !strings.Contains(err.Error(), "has no owner") {
		t.Error(err)
	}
}
