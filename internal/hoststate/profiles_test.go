package hoststate

import (
	"slices"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/fleet"
)

// TestUndone: what a rollback of several profiles goes back to.
func TestUndone(t *testing.T) {
	app := func(old, new string) activate.RecordProfile {
		return activate.RecordProfile{Name: "app", Kind: "custom", Owner: "ana", Link: "/var/app", Command: "Z28=", Old: old, New: new}
	}
	system := func(old, new string) activate.RecordProfile {
		return activate.RecordProfile{Name: "system", Kind: "nixos", Old: old, New: new}
	}
	rec := func(id, result string, profiles ...activate.RecordProfile) activate.Record {
		return activate.Record{ID: id, Action: activate.Switch, Result: result, Profiles: profiles}
	}
	both := rec("1", "committed", system("s1", "s2"), app("a1", "a2"))
	for name, c := range map[string]struct {
		records     []activate.Record
		profile     string
		id          string // "": not known
		back, first string
	}{
		"nothing":                 {},
		"both":                    {records: []activate.Record{both}, id: "1", back: "system s1, app a1"},
		"what failed is no step":  {records: []activate.Record{both, rec("2", "rolled-back 0", system("s2", "s3"), app("a2", "a3")), rec("3", "failed 1", app("a2", "a4"))}, id: "1", back: "system s1, app a1"},
		"without a guard":         {records: []activate.Record{both, rec("2", "done 0", app("a2", "a3"))}, id: "2", back: "app a2"},
		"what it did not change":  {records: []activate.Record{rec("2", "committed", system("s2", "s2"), app("a1", "a2"))}, id: "2", back: "app a1"},
		"the first":               {records: []activate.Record{rec("2", "committed", system("s1", "s2"), app("", "a2"))}, id: "2", back: "system s1", first: "app"},
		"the system alone":        {records: []activate.Record{both, rec("2", "committed", system("s2", "s3"))}},
		"an older godwit's":       {records: []activate.Record{both, {ID: "2", Action: activate.Switch, Result: "committed", Old: "s2", New: "s3"}}},
		"one of them":             {records: []activate.Record{both, rec("2", "committed", system("s2", "s3"))}, profile: "app", id: "1", back: "app a1"},
		"one that never changed":  {records: []activate.Record{both}, profile: "other"},
		"the system, by its name": {records: []activate.Record{both}, profile: "system", id: "1", back: "system s1"},
	} {
		rec, back, first, ok := Facts{Records: c.records}.Undone(c.profile, nil)
		var words []string
		for _, b := range back {
			words = append(words, b.Name+" "+b.New)
			if b.Name == "app" && (b.Owner != "ana" || b.Link != "/var/app" || !slices.Equal(b.Command, []string{"go"})) {
				t.Errorf("%s: %+v", name, b)
			}
		}
		if ok != (c.id != "") || ok && rec.ID != c.id || strings.Join(words, ", ") != c.back || strings.Join(first, ", ") != c.first {
			t.Errorf("%s: %q %q %q %v", name, rec.ID, words, first, ok)
		}
	}
	// A record of the first versions does not say whose it is: the configuration does.
	known := []activate.Change{{Name: "app", Kind: "custom", Owner: "bob", Link: "/home/app", Command: []string{"run"}}}
	_, back, _, _ := Facts{Records: []activate.Record{rec("1", "committed", activate.RecordProfile{Name: "app", Kind: "custom", Old: "a1", New: "a2"})}}.Undone("", known)
	if len(back) != 1 || back[0].Owner != "bob" || back[0].Link != "/home/app" || back[0].New != "a1" {
		t.Errorf("%+v", back)
	}
}

// TestProfiles: each profile is compared with the configuration, besides the system,
// which Assess has compared already.
func TestProfiles(t *testing.T) {
	h := fleet.Host{Name: "web", Profiles: []fleet.Profile{
		{Name: "app", Kind: fleet.Custom, Path: "/nix/store/a"}, {Name: "system", Kind: fleet.NixOS, Path: "/nix/store/s"}, {Name: "ana", Kind: fleet.Home, Path: "/nix/store/h"},
	}}
	look := func(app, system, home string) activate.State {
		return activate.State{Profiles: []activate.ProfileState{{Name: "app", Current: app, Profile: app}, {Name: "system", Current: system, Profile: system}, {Name: "ana", Current: home, Profile: home}}}
	}
	for _, c := range []struct {
		found   activate.State
		summary string
	}{
		{look("/nix/store/a", "/nix/store/s", "/nix/store/h"), "healthy"},
		{look("/nix/store/x", "/nix/store/s", ""), "profile 'app' differs from the repository · profile 'ana' is not there"},
		{look("/nix/store/a", "/nix/store/x", "/nix/store/h"), "healthy"}, // Assess says it
	} {
		s := Status{Host: "web", Answers: true}
		s.AssessProfiles(h, c.found)
		if s.Summary() != c.summary || s.OK != (c.summary == "healthy") || len(s.Profiles) != 3 {
			t.Errorf("%q, want %q: %+v", s.Summary(), c.summary, s)
		}
	}
	home := fleet.Host{Name: "pc", Profiles: h.Profiles[2:]}
	s := Status{Host: "pc", Answers: true}
	s.AssessProfiles(home, activate.State{Profiles: []activate.ProfileState{{Name: "ana", Current: "/nix/store/h", Profile: "/nix/store/h"}}})
	if s.Summary() != "as in repository" || s.InSync == nil || !*s.InSync {
		t.Errorf("%q %+v", s.Summary(), s)
	}
}
