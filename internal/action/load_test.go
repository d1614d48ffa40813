package action

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host/hosttest"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
)

// TestOnlyProfiles: --profile leaves what it names; hosts without it are left out.
func TestOnlyProfiles(t *testing.T) {
	hosts := []fleet.Host{
		{Name: "a", Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS}, {Name: "ana", Kind: fleet.Home, User: "ana"}}},
		{Name: "b", Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS}}},
	}
	got, err := fleet.OnlyProfiles(hosts, []string{"ana"})
	if err != nil || len(got) != 1 || got[0].Name != "a" || len(got[0].Profiles) != 1 || got[0].Profiles[0].Name != "ana" || len(hosts[0].Profiles) != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := fleet.OnlyProfiles(hosts, nil); err != nil || len(got) != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := fleet.OnlyProfiles(hosts, []string{"anna"}); err == nil || !strings.Contains(fault.Render(err), "none of the hosts has a profile 'anna'") || !strings.Contains(fault.Render(err), "did you mean --profile ana?") {
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
	check(Where{Hosts: []string{"moved"}}, "error: there is no file 'moved', and no host of that name was deployed from here")
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
	if err := takesAbove(above, "morph"); err == nil || !strings.HasSuffix(err.Error(), "is one of morph, and hostname, sudo can be set from the command line for deploy-rs only") {
		t.Error(err)
	}
	for dialect, above := range map[string]map[string]any{"morph": nil, "deploy-rs": above} {
		if err := takesAbove(above, dialect); err != nil {
			t.Error(err)
		}
	}
}

// asking is a fleet whose hosts do not say their platform: they are evaluated anew with the
// one that they were found to have.
type asking struct {
	*known.Source
	platforms *map[string]string
}

func (a asking) Load(ctx context.Context, r source.Request) (*source.Result, error) {
	if r.Platforms != nil {
		*a.platforms = r.Platforms
	}
	return a.Source.Load(ctx, r)
}

func TestAskHosts(t *testing.T) {
	guessed := fleet.Platform{Name: "x86_64-linux", From: "fallback"}
	if !guessed.Guessed() {
		t.Fatal("a fallback is a guess")
	}
	hosts := []fleet.Host{{Name: "nixos", Platform: guessed}, {Name: "mac", Platform: guessed}, {Name: "same", Platform: guessed}, {Name: "db", Platform: guessed}, {Name: "odd", Platform: guessed}, {Name: "image", BuildOnly: true, Platform: guessed}}
	says := func(name, out string) *hosttest.Host {
		return connects(t, name, hosttest.Call{Want: "uname -m", Out: out})
	}
	e, v := fleetOf(t, hosts, says("nixos", "aarch64-linux\n"), says("mac", "arm64\nDarwin\n"), says("same", "x86_64\nLinux\n"), says("odd", "what?"),
		hosttest.New(t, "db", hosttest.Call{Want: "uname -m", Err: noAnswer}))
	var got map[string]string
	before := e.fakes
	e.fakes = func(s *session) {
		before(s)
		s.source = asking{s.source.(*known.Source), &got}
	}
	s := e.open()
	defer s.close()
	if err := s.load(t.Context(), loadRequest{selection: everyHost, probe: true}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["nixos"] != "aarch64-linux" || got["mac"] != "aarch64-darwin" {
		t.Errorf("%v", got)
	}
	for host, want := range map[string]string{"same": "the host is x86_64-linux", "db": "the host does not answer: godwit assumes x86_64-linux", "odd": "does not answer"} {
		if said := v.said(host); !strings.Contains(said, want) {
			t.Errorf("%s: %s", host, said)
		}
	}
}

// TestMustChoose: some configurations want hosts to be chosen before they are changed.
func TestMustChoose(t *testing.T) {
	e, _ := fleetOf(t, web("web"))
	before := e.fakes
	e.fakes = func(s *session) {
		before(s)
		s.source = known.New(source.About{At: source.Location{Dialect: "colmena"}, Names: []string{"web"}, MustChoose: true}, web("web"), "")
	}
	for _, c := range []struct {
		r  loadRequest
		ok bool
	}{
		{loadRequest{selection: everyHost}, true},
		{loadRequest{selection: everyHost, change: true}, false},
		{loadRequest{selection: fleet.Selection{Every: 1, On: []string{"*"}}, change: true}, true},
	} {
		if err := e.open().load(t.Context(), c.r); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
}

// TestDeployedWith: the configuration that a host was last deployed with, when it is still
// there.
func TestDeployedWith(t *testing.T) {
	tested(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "network.nix")
	for _, f := range []string{file, filepath.Join(dir, "flake.nix")} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for host, key := range map[string]string{"web": file, "flake": dir + "#hosts", "gone": filepath.Join(dir, "gone.nix"), "path": dir, "noflake": "/nowhere#hosts", "far": "github:me/fleet#hosts"} {
		history.Record("", history.Run{File: key}, []string{host}, func(err error) { t.Error(err) }).Close()
	}
	for host, want := range map[string]string{"web": file, "flake": dir + "#hosts", "gone": "", "path": "", "noflake": "", "far": "github:me/fleet#hosts", "other": ""} {
		at, ok := DeployedWith(t.Context(), host)
		if ok != (want != "") || ok && at.Key() != want {
			t.Errorf("%s: %v %t", host, at.Key(), ok)
		}
	}
}

// TestRootLinks: what is kept is beside the configuration.
func TestRootLinks(t *testing.T) {
	e, _ := fleetOf(t, web("web"))
	e.KeepResult = true
	s := e.open()
	link, err := s.rootLinks()
	if got := link("web/x"); err != nil || !strings.HasSuffix(got, "/.gcroots/fleet.nix/web-x") {
		t.Error(got, err)
	}
	e.DryRun = true
	if link, err := s.rootLinks(); err != nil || link("web") != "" {
		t.Error(link("web"), err)
	}
}

// TestBuilderSettings: the command line counts more than the user's file.
func TestBuilderSettings(t *testing.T) {
	e, _ := tested(t)
	e.Engine, e.Image = "podman", "an/image"
	b, err := e.open().builderSettings()
	if err != nil || b.Engine != "podman" || b.Image != "an/image" || b.ImageFile != "" {
		t.Errorf("%+v %v", b, err)
	}
	e.ImageFile = "/nowhere"
	if _, err := e.open().builderSettings(); err == nil || !strings.HasPrefix(err.Error(), "cannot read --image-file /nowhere") {
		t.Error(err)
	}
}

func TestParseAction(t *testing.T) {
	if a, err := ParseAction("boot"); a != activate.Boot || err != nil {
		t.Error(a, err)
	}
	if _, err := ParseAction("swich"); err == nil || !strings.Contains(fault.Render(err), "did you mean switch?") {
		t.Error(err)
	}
}
