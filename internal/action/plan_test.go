package action

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
	"godwit/internal/identity"
	"godwit/internal/nix"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
	"godwit/internal/store/storetest"
	"godwit/internal/vault"
)

// planned is a fleet of one host that answers whoever plans: it is to get top, which is in
// src. dst is the store of the host.
func planned(t *testing.T, src, dst *storetest.Store, top string) (*Env, *seen) {
	calls := []hosttest.Call{
		{Want: `^nix-store --serve$`, Again: true, EitherWay: true, Serve: dst.Serve},
		{Want: `(?s)^\{\nSTATE=/var/lib/godwit\n.*\nNEW='` + top, Root: true, Again: true, Out: "sys cur " + sysB + "\nsys booted " + sysB + "\nsys new " + top + "\nend\n"},
		{Want: `(?s)^# shellcheck shell=sh\n# rests.sh `, Root: true, Again: true, Out: "running \nkept \nend\n"},
	}
	h := machine{generations: []string{sysA, sysB}, more: calls}.on(t, "web").Greets(sysB + "\n" + sysB)
	hosts := []fleet.Host{{Name: "web", Profiles: []fleet.Profile{fleet.System("", top)}}, {Name: "image", BuildOnly: true, Profiles: []fleet.Profile{fleet.System("", top)}}}
	e, v := fleetOf(t, hosts, h, hosttest.New(t, "image"), hosttest.New(t, "db", hosttest.Call{Want: hosttest.Connect, Err: noAnswer, Again: true}))
	file := filepath.Join(t.TempDir(), "fleet.nix")
	if err := os.WriteFile(file, []byte("{ }"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := source.Location{Dialect: "morph", File: file}
	hosts = append(hosts, fleet.Host{Name: "db", Profiles: []fleet.Profile{fleet.System("", top)}})
	before := e.fakes
	e.fakes = func(s *session) {
		before(s)
		s.at, s.tool, s.ready = &all.Found{At: at}, &nix.Tool{}, src.Endpoint("this machine's store")
		s.source = known.New(source.About{At: at, Names: []string{"web", "image", "db"}, Settings: fleet.Settings{AcceptRisks: []string{"low-space"}}}, hosts, "")
	}
	return e, v
}

// TestPlan plans and saves, and copies nothing.
func TestPlan(t *testing.T) {
	src, dst := storetest.New(), storetest.New()
	top := src.Add("nixos-system-web-24.11", "new", src.Add("dep", "x"))
	e, _ := planned(t, src, dst, top)
	file := filepath.Join(t.TempDir(), "today.plan")
	p, err := Plan(t.Context(), e, PlanRequest{Configured: Configured{Selection: everyHost}, Options: plan.Options{Action: "switch"}, Save: file})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range p.Hosts {
		got = append(got, h.Name+" "+string(h.Status))
	}
	if s := strings.Join(got, ", "); s != "web change, image build-only, db unreachable" || dst.Has(top) {
		t.Errorf("%s; copied %t", s, dst.Has(top))
	}

	// It is not applied after the configuration has moved.
	const drv = "/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-nixos-system-web.drv"
	for i := range p.Hosts {
		if h := &p.Hosts[i]; h.Name == "web" {
			h.Drv, h.Config.Profiles[0].Drv = drv, drv
		}
	}
	p.Seal([]string{"web", "image", "db"})
	if err := errors.Join(p.Save(file), os.WriteFile(p.File, []byte("{ web = 1; }"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Deploy(t.Context(), e, DeployRequest{Hosts: SavedPlan(file)}); err == nil || !strings.HasPrefix(err.Error(), "the configuration has changed since the plan was made") {
		t.Error(err)
	}
	if _, err := Deploy(t.Context(), e, DeployRequest{Hosts: SavedPlan(p.File)}); err == nil {
		t.Error("a file that is no plan")
	}
}

// TestBuild: what exists already is not built, and hosts are not asked for anything.
func TestBuild(t *testing.T) {
	src := storetest.New()
	top := src.Add("nixos-system-web-24.11", "new")
	e, v := planned(t, src, storetest.New(), top)
	sum, err := Build(t.Context(), e, BuildRequest{Configured: Configured{Selection: fleet.Selection{Every: 1, On: []string{"image"}}}})
	if err != nil || !strings.HasPrefix(ends(sum), "image: built") {
		t.Errorf("%v %v %s", ends(sum), err, v.said("image"))
	}
	if _, err := Build(t.Context(), e, BuildRequest{Configured: Configured{Selection: everyHost}, Target: "n: n.x"}); err == nil || err.Error() != "the target builds nothing for the selected hosts" {
		t.Error(err)
	}
	if _, err := Build(t.Context(), e, BuildRequest{TargetFile: "/nowhere"}); err == nil {
		t.Error("there is no such file")
	}
}

// TestPlanResting: a plan tells of secrets that rest on a host; one that was not encrypted
// for its machine ends plan and deploy before any host is asked or anything is built.
func TestPlanResting(t *testing.T) {
	src, dst := storetest.New(), storetest.New()
	top := src.Add("nixos-system-web-24.11", "new", src.Add("dep", "x"))
	e, v := planned(t, src, dst, top)
	dir := ""
	var web *hosttest.Host
	before := e.fakes
	e.fakes = func(s *session) {
		before(s)
		dir = filepath.Join(s.at.At.Dir(), "secrets")
		web = s.conns.(hosttest.Pool)["web"]
	}
	e.open().close()
	key := filepath.Join(t.TempDir(), "operator.txt")
	operator, err := identity.NewOwn(key, false)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := identity.NewOwn(filepath.Join(t.TempDir(), "machine.txt"), false)
	if err != nil {
		t.Fatal(err)
	}
	me, err := identity.Load([]string{key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("recipients.toml", "version = 1\n[operators]\nalice = ['"+operator+"']\n")
	write("machines/web/age.pub", machine+"\n")
	repo, err := identity.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	vlt, err := vault.Open(repo, vault.Options{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := vlt.Begin()
	if err != nil {
		t.Fatal(err)
	}
	tls := vault.Secret{Name: "tls", For: []string{"web"}}
	if err := errors.Join(tx.Declare(tls), tx.Set(tls, []byte("hello there"), nil), tx.Commit(me)); err != nil {
		t.Fatal(err)
	}
	tx.Close()

	r := PlanRequest{Configured: Configured{Selection: everyHost}, Options: plan.Options{Action: "switch"}}
	p, err := Plan(t.Context(), e, r)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Hosts, func(h plan.Host) bool { return h.Name == "web" })
	if h := p.Hosts[i]; len(h.RestingSecrets) != 1 || h.RestingSecrets[0].Name != "tls" || h.RestingSecrets[0].State != "new" || len(h.SecretsRelease) != 32 {
		t.Errorf("%+v", h.RestingSecrets)
	}

	other, err := identity.NewOwn(filepath.Join(t.TempDir(), "other.txt"), false)
	if err != nil {
		t.Fatal(err)
	}
	write("machines/web/age.pub", other+"\n")
	made, said := len(web.Made()), len(v.said("web"))
	if _, err := Plan(t.Context(), e, r); err == nil || !strings.Contains(err.Error(), "was not encrypted for the machine 'web' yet") {
		t.Errorf("plan: %v", err)
	}
	if _, err := Deploy(t.Context(), e, DeployRequest{Hosts: Configured{Selection: everyHost}, Action: "switch"}); err == nil || !strings.Contains(err.Error(), "was not encrypted for the machine 'web' yet") {
		t.Errorf("deploy: %v", err)
	}
	if now := web.Made(); len(now) != made || len(v.said("web")) != said {
		t.Errorf("something was done before: %q\n%s", now[made:], v.said("web")[said:])
	}
}
