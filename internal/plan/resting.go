package plan

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/secrets"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/ship"
	"godwit/internal/ui/text"
)

// Removed is the Resting.State of a secret that goes away; the others are secrets.New
// and secrets.Changed.
const Removed = "removed"

// Resting is a secret that rests on a host as ciphertext and would be brought, changed or
// removed. One that stays as it is has no entry.
type Resting struct {
	Name string `json:"name"`
	// State is "new", "changed" or "removed".
	State string `json:"state"`
	// Differs says in what a changed one differs: content (which was encrypted anew),
	// path, owner, mode, phase, restart.
	Differs []string `json:"differs,omitempty"`
	// Restart are the units that restart if its content is another one.
	Restart []string `json:"restart,omitempty"`
}

// Rests is what is known of the secrets that are to rest on a host.
type Rests struct {
	// ID is that of the release that is to be there.
	ID string
	// Changes are the secrets that change. Otherwise, when it is not empty, says what
	// else about the release changes.
	Changes   []Resting
	Otherwise string
	// Err is why the host could not tell.
	Err error
}

// changes tells whether the release is, or may be, another one than that of the host.
func (r *Rests) changes() bool {
	return r != nil && (len(r.Changes) > 0 || r.Otherwise != "" || r.Err != nil)
}

// compareRests asks a host what rests on it and compares that with b.
func compareRests(ctx context.Context, conn host.Conn, h fleet.Host, b *bundle.Bundle, o Options) *Rests {
	boot := o.Action == "boot"
	is, err := ship.Rests(ctx, conn, h.Name, b.ID(), boot)
	if err == nil && is.Bundle != nil {
		b, err = sameContent(ctx, conn, h, b, is.Bundle)
	}
	if err != nil {
		return &Rests{ID: b.ID(), Err: err}
	}
	return judgeRests(b, is, o)
}

// sameContent is b as the host will make it: where an entry was encrypted for this run alone,
// and the host has the same content, it keeps what it has.
func sameContent(ctx context.Context, conn host.Conn, h fleet.Host, b, was *bundle.Bundle) (*bundle.Bundle, error) {
	asked := h
	asked.Secrets = nil
	for _, s := range h.Secrets {
		i := slices.IndexFunc(b.Entries, func(e bundle.Entry) bool { return e.Name == s.Name && e.Fresh })
		if i < 0 {
			continue
		}
		s.Rest, s.Destination = false, bundle.Folder+"/"+s.Name
		asked.Secrets = append(asked.Secrets, s)
	}
	found, err := secrets.Compare(ctx, conn, asked)
	if err != nil {
		return b, err
	}
	as := *b
	as.Entries = slices.Clone(b.Entries)
	for i := range as.Entries {
		e := &as.Entries[i]
		if !e.Fresh {
			continue
		}
		e.Fresh = false
		c := slices.IndexFunc(found, func(c secrets.Comparison) bool { return c.Name == e.Name })
		old := slices.IndexFunc(was.Entries, func(o bundle.Entry) bool { return o.Name == e.Name })
		if c >= 0 && old >= 0 && was.Recipient == b.Recipient && found[c].Result != secrets.New && !slices.Contains(found[c].Differs, secrets.Content) && !slices.Contains(found[c].Differs, secrets.Kind) {
			e.Age = was.Entries[old].Age
		}
	}
	return &as, nil
}

// judgeRests says what a deploy makes of the secrets that rest on a host.
func judgeRests(b *bundle.Bundle, is ship.Rest, o Options) *Rests {
	r := &Rests{ID: b.ID()}
	now := is.Running
	if o.Action == "boot" {
		now = is.Kept
	}
	switch {
	case now == "" && len(b.Entries) == 0: // nothing is there, and nothing is to be
	case now != r.ID:
		r.Changes = restingChanges(b, is.Bundle, o.Action != "boot" || o.Reboot)
		if len(r.Changes) == 0 {
			r.Otherwise = "its secrets are the same, for another key of the host"
		}
	case o.Action == "switch" && is.Kept != r.ID:
		r.Otherwise = "the next boot would have other secrets than it has now: that is corrected"
	}
	return r
}

// restingChanges compares the release that is to be on a host with the one that is; nil:
// none is. They are sorted by name. restarts says that units restart now.
func restingChanges(next, was *bundle.Bundle, restarts bool) []Resting {
	var out []Resting
	old := map[string]bundle.Entry{}
	if was != nil {
		for _, e := range was.Entries {
			old[e.Name] = e
		}
	}
	for _, e := range next.Entries {
		o, there := old[e.Name]
		delete(old, e.Name)
		r := Resting{Name: e.Name, State: secrets.New}
		if there {
			r.State, r.Differs = secrets.Changed, entryDiffers(o, e)
			if len(r.Differs) == 0 {
				continue
			}
		}
		// Where no release was, a unit that runs had its secret from somewhere else.
		if restarts && was != nil && (!there || r.Differs[0] == secrets.Content) {
			r.Restart = e.Restart
		}
		out = append(out, r)
	}
	for name := range old {
		out = append(out, Resting{Name: name, State: Removed})
	}
	slices.SortFunc(out, func(a, b Resting) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// entryDiffers says in what two entries of one name differ, the content first.
func entryDiffers(a, b bundle.Entry) (out []string) {
	for _, d := range []struct {
		what string
		is   bool
	}{
		{secrets.Content, !bytes.Equal(a.Age, b.Age)},
		{"path", a.Path() != b.Path()},
		{secrets.Owner, a.User != b.User || a.Group != b.Group},
		{secrets.Mode, a.Mode != b.Mode},
		{"phase", a.Phase != b.Phase},
		{"restart", !slices.Equal(a.Restart, b.Restart)},
	} {
		if d.is {
			out = append(out, d.what)
		}
	}
	return out
}

// line is "secret 'wifi' changes (mode), may restart NetworkManager".
func (r Resting) line() string {
	s := "secret '" + text.Clean(r.Name) + "' "
	switch r.State {
	case secrets.New:
		s += "is new"
	case Removed:
		s += "goes away"
	default:
		s += "changes"
		if !slices.Equal(r.Differs, []string{secrets.Content}) {
			s += " (" + strings.Join(r.Differs, ", ") + ")"
		}
	}
	if len(r.Restart) > 0 {
		units := make([]string, len(r.Restart))
		for i, u := range r.Restart {
			units[i] = strings.TrimSuffix(u, ".service")
		}
		s += ", may restart " + listing(units, 4)
	}
	return text.Clean(s)
}

// restingLines are the lines of the short plan, of which there are at most a few more than most.
func restingLines(list []Resting, most int) []string {
	var out []string
	for i, r := range list {
		if i == most && len(list) > most+1 {
			return append(out, fmt.Sprintf("and %d more secrets", len(list)-most))
		}
		out = append(out, r.line())
	}
	return out
}
