package action

import (
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source/all"
	"os"
	"strings"
	"testing"
)

// TestOnlyProfiles: --profile leaves what it names; hosts without it are left out.
func TestOnlyProfiles(t *testing.T) {
	hosts := []fleet.Host{
		{Name: "a", Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS}, {Name: "ana", Kind: fleet.Home, User: "ana"}}},
		{Name: "b", Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS}}},
	}
	got, err := onlyProfiles(hosts, []string{"ana"})
	if err != nil || len(got) != 1 || got[0].Name != "a" || len(got[0].Profiles) != 1 || got[0].Profiles[0].Name != "ana" || len(hosts[0].Profiles) != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := onlyProfiles(hosts, nil); err != nil || len(got) != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := onlyProfiles(hosts, []string{"anna"}); err == nil || !strings.Contains(fault.Render(err), "none of the hosts has a profile 'anna'") || !strings.Contains(fault.Render(err), "did you mean --profile ana?") {
		t.Errorf("%v", err)
	}
}

func TestWhereSelects(t *testing.T) {
	got := Where{Hosts: []string{"web*"}}.selection(fleet.Selection{On: []string{"db"}, Every: 1})
	if strings.Join(got.On, " ") != "db web*" {
		t.Errorf("selects %v", got.On)
	}
}

// TestFind finds the deployment file that is meant, without Nix.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	check := func(w Where, want string) {
		t.Helper()
		e, _ := tested(t)
		s := e.open()
		defer s.close()
		got := ""
		if err := s.find(t.Context(), w); err != nil {
			got = "error: " + err.Error()
		} else {
			got = strings.TrimPrefix(s.at.At.File, dir+"/")
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", w, got, want)
		}
	}
	check(Where{Hosts: []string{"moved"}}, "error: there is no file `moved', and no host of that name was deployed from here")
	check(Where{}, "error: there is no configuration in "+dir+" or above it")
	if err := os.WriteFile("network.nix", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check(Where{}, "network.nix")
	check(Where{Hosts: []string{"moved"}}, "network.nix")
	check(Where{Wish: all.Wish{Words: []string{"./network.nix"}}}, "network.nix")
}

// TestAbove: settings of one tool's command line are for configurations of its dialect.
func TestAbove(t *testing.T) {
	above := map[string]any{"sudo": "x", "hostname": "y"}
	if err := takesAbove(above, "morph"); err == nil || !strings.HasSuffix(err.Error(), "is one of morph, and hostname, sudo can be set from the command line for deploy-rs alone") {
		t.Error(err)
	}
	for dialect, above := range map[string]map[string]any{"morph": nil, "deploy-rs": above} {
		if err := takesAbove(above, dialect); err != nil {
			t.Error(err)
		}
	}
}
