package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/ship"
)

func restingBundle(change func(*bundle.Bundle)) *bundle.Bundle {
	b := &bundle.Bundle{Machine: "web1", Recipient: "age1x", KeyFile: "/k", Entries: []bundle.Entry{
		{Name: "conf", Destination: "/etc/conf", Mode: 0o400, Phase: bundle.Services, Age: []byte("CIPHER-c")},
		{Name: "tls", Mode: 0o400, Phase: bundle.Services, Restart: []string{"nginx.service"}, Age: []byte("CIPHER-t")},
	}}
	change(b)
	return b
}

// TestResting: what of the secrets that rest on a host changes, what the plan says of it,
// that such a host changes though its system does not, and that the question names it.
func TestResting(t *testing.T) {
	plain := restingBundle(func(*bundle.Bundle) {})
	sw := Options{Action: "switch"}
	for _, c := range []struct {
		name   string
		opt    Options
		is     ship.Rest
		next   *bundle.Bundle
		status Status
		says   []string
		not    string
	}{
		{"nothing there, nothing to bring", sw, ship.Rest{}, &bundle.Bundle{}, Unchanged, nil, "secret"},
		{"the same", sw, ship.Rest{Running: plain.ID(), Kept: plain.ID()}, plain, Unchanged, nil, "secret"},
		{"the first", sw, ship.Rest{}, plain, Change, []string{"secret 'conf' is new", "secret 'tls' is new"}, "may restart"},
		{"another content", sw, ship.Rest{Running: "x", Kept: "x", Bundle: restingBundle(func(b *bundle.Bundle) { b.Entries[1].Age = []byte("CIPHER-old") })}, plain,
			Change, []string{"secret 'tls' changes, may restart nginx"}, "conf"},
		{"another place and owner", sw, ship.Rest{Running: "x", Kept: "x", Bundle: restingBundle(func(b *bundle.Bundle) { b.Entries[1].User, b.Entries[1].Destination = "ana", "/x" })}, plain,
			Change, []string{"secret 'tls' changes (path, owner)"}, "may restart"},
		{"one more, one less", sw, ship.Rest{Running: "x", Kept: "x", Bundle: restingBundle(func(b *bundle.Bundle) { b.Entries[1].Name = "zold" })}, plain,
			Change, []string{"secret 'tls' is new, may restart nginx", "secret 'zold' goes away"}, "conf"},
		{"all go away", sw, ship.Rest{Running: plain.ID(), Kept: plain.ID(), Bundle: plain}, &bundle.Bundle{}, Change, []string{"secret 'conf' goes away", "secret 'tls' goes away"}, "restart"},
		{"another key", sw, ship.Rest{Running: "x", Kept: "x", Bundle: restingBundle(func(b *bundle.Bundle) { b.KeyFile = "/other" })}, plain, Change, []string{"for another key of the host"}, "'"},
		{"boots others", sw, ship.Rest{Running: plain.ID(), Kept: "x"}, plain, Change, []string{"the next boot would have other secrets"}, "'"},
		{"boots others, test", Options{Action: "test"}, ship.Rest{Running: plain.ID(), Kept: "x"}, plain, Unchanged, nil, "secret"},
		{"boot looks at what boots", Options{Action: "boot"}, ship.Rest{Running: "x", Kept: plain.ID()}, plain, Unchanged, nil, "secret"},
		{"boot restarts nothing", Options{Action: "boot"}, ship.Rest{Running: plain.ID(), Kept: "x", Bundle: restingBundle(func(b *bundle.Bundle) { b.Entries[1].Age = nil })}, plain,
			Change, []string{"secret 'tls' changes"}, "may restart"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Host: hostOf("web1"), System: newSystem, Facts: facts().Facts, Rests: judgeRests(c.next, c.is, c.opt)}
			in.Facts.State.Current, in.Facts.State.Profile = newSystem, newSystem
			p := &Plan{Options: c.opt, Hosts: []Host{Build(c.opt, Source{}, in)}}
			p.Seal(nil)
			page, err := p.Page(now)
			if err != nil {
				t.Fatal(err)
			}
			if h := p.Hosts[0]; h.Status != c.status || (p.Question() == "") != (c.status == Unchanged) || len(h.Risks) > 0 || h.SecretsRelease != c.next.ID() {
				t.Errorf("%s, question %q, %v", h.Status, p.Question(), h.Risks)
			}
			for _, text := range []string{p.Text(Layout{}), p.Text(Layout{Verbose: true}), p.Markdown(0, now), strings.NewReplacer("&#39;", "'").Replace(string(page)), string(p.JSON())} {
				for _, s := range c.says {
					if !strings.Contains(text, s) && !strings.HasPrefix(text, "{") {
						t.Errorf("does not say %q:\n%s", s, text)
					}
				}
				if strings.Contains(text, "CIPHER") || strings.Contains(text, "Q0lQSEVS") {
					t.Errorf("has ciphertext:\n%s", text)
				}
			}
			if text := p.Text(Layout{}); strings.Contains(text, c.not) {
				t.Errorf("says %q:\n%s", c.not, text)
			}
		})
	}
	in := Input{Host: hostOf("web1"), System: newSystem, Facts: facts().Facts, Rests: &Rests{ID: "x", Err: errors.New("cut off")}}
	in.Facts.State.Current, in.Facts.State.Profile = newSystem, newSystem
	if h := Build(sw, Source{}, in); h.Status != Change || len(h.Notes) != 1 || !strings.Contains(h.Notes[0].Text, "could not be compared: cut off") {
		t.Errorf("a host that cannot tell: %s %v", h.Status, h.Notes)
	}
	// An activation needs what an activation needs.
	in.Facts.State.Pending = "20260101T000000-abcdef"
	if h := Build(sw, Source{}, in); h.Status != Blocked {
		t.Errorf("with another deployment under way: %s", h.Status)
	}
	var many []Resting
	for range 40 {
		many = append(many, Resting{Name: "x\x1b[31m", State: Removed})
	}
	if l := restingLines(many, 8); len(l) != 9 || l[8] != "and 32 more secrets" || strings.ContainsRune(l[0], 0x1b) {
		t.Errorf("%q", l)
	}
	if l := restingLines(many[:9], 8); len(l) != 9 || slices.Contains(l, "and 1 more secrets") {
		t.Errorf("%q", l)
	}
}

// TestRestingMoved: a saved plan is out of date when the secrets in the repository are others
// than it was made with, also for a host that has them by now.
func TestRestingMoved(t *testing.T) {
	for _, c := range []struct {
		was, is string
		status  Status
		moved   bool
	}{{"a", "a", Change, false}, {"a", "a", Unchanged, false}, {"a", "b", Change, true}, {"", "b", Change, true}, {"a", "", Change, true}, {"a", "b", Unchanged, true}} {
		p := sample()
		was, is := p.Hosts[0], p.Hosts[0]
		was.SecretsRelease, is.SecretsRelease, is.Status = c.was, c.is, c.status
		if how := was.Moved(&is); strings.Contains(how, "the secrets that rest on it have changed") != c.moved {
			t.Errorf("%+v: %q", c, how)
		}
		sum := p.Sum()
		p.Hosts[0] = is
		if c.is != "" && p.Sum() == sum {
			t.Error("the hash leaves them out")
		}
	}
}
