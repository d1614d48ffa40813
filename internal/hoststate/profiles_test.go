package hoststate

import (
	"testing"

	"godwit/internal/activate"
	"godwit/internal/fleet"
)

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
