package deploy

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/builder"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/store"
)

const (
	appDrv, app = "/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-app.drv", "/nix/store/1c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-app"
	sysDrv, sys = "/nix/store/2c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-sys.drv", "/nix/store/3c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-sys"
	anaDrv, ana = "/nix/store/4c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-home.drv", "/nix/store/5c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-home"
)

// several is a host with a profile before its system, and one after it.
func several() fleet.Host {
	return fleet.Host{Name: "web", Profiles: []fleet.Profile{
		{Name: "app", Kind: fleet.Custom, User: "root", Link: "/nix/var/nix/profiles/app", Drv: appDrv, Activate: []string{"bin/go"}},
		fleet.System(sysDrv, ""),
		{Name: "ana", Kind: fleet.Home, User: "ana", Drv: anaDrv},
	}}
}

// made is a builder whose derivations are made already.
type made struct {
	builder.Builder
	asked  []builder.Request
	failed map[string]error
	in     func(drv string) store.Endpoint
}

func (m *made) Name() string { return "made" }

func (m *made) Build(_ context.Context, req builder.Request, _ event.Sink) (*builder.Built, error) {
	m.asked = append(m.asked, req)
	b := &builder.Built{Outputs: map[string]builder.Output{}, Failed: m.failed}
	for _, it := range req.Items {
		b.Outputs[it.Drv] = builder.Output{Path: map[string]string{appDrv: app, sysDrv: sys, anaDrv: ana}[it.Drv], In: m.in(it.Drv)}
	}
	return b, nil
}

// TestBuildProfiles: all profiles of a host are built by one request, and the last
// event says where each is.
func TestBuildProfiles(t *testing.T) {
	var events []event.Event
	sink := event.SinkFunc(func(e event.Event) { events = append(events, e) })
	b := &made{in: func(drv string) store.Endpoint {
		return store.Endpoint{Name: map[bool]string{true: "there", false: "here"}[drv == anaDrv]}
	}}
	r := &Run{Sink: sink, builds: NewGate(1)}
	h, stores, err := r.build(t.Context(), Job{Host: several(), Builder: b, Link: "/roots/web"})
	if err != nil {
		t.Fatal(err)
	}
	want := []builder.Item{{Host: "web", Drv: appDrv, Link: "/roots/web-app"}, {Host: "web", Drv: sysDrv, Link: "/roots/web"}, {Host: "web", Drv: anaDrv, Link: "/roots/web-ana"}}
	if len(b.asked) != 1 || !reflect.DeepEqual(b.asked[0].Items, want) {
		t.Errorf("asked for %+v", b.asked)
	}
	if h.Profiles[0].Path != app || h.Main().Path != sys || h.Profiles[2].Path != ana {
		t.Errorf("%+v", h.Profiles)
	}
	if several().Profiles[0].Path != "" {
		t.Error("the job was changed")
	}
	if got := loads(h, stores); len(got) != 2 || got[0].from.Name != "here" || !reflect.DeepEqual(got[0].roots, []string{app, sys}) || !reflect.DeepEqual(got[1].roots, []string{ana}) {
		t.Errorf("loads %+v", got)
	}
	if last := events[len(events)-1]; last.Kind != event.Done || last.Data["system"] != sys || last.Data["profile app"] != app {
		t.Errorf("%+v", last)
	}

	// One that is a path, and no derivation, is in this machine's store.
	ready := several()
	ready.Profiles[2].Drv, ready.Profiles[2].Path = "", ana
	if _, _, err := r.build(t.Context(), Job{Host: ready, Builder: b}); err == nil || !strings.Contains(err.Error(), "'ana' has no derivation") {
		t.Error(err)
	}
	r.Here = store.Endpoint{Name: "this machine", Dial: func(context.Context, bool) (*store.Stream, error) { return nil, nil }}
	h, stores, err = r.build(t.Context(), Job{Host: ready, Builder: b})
	if got := loads(h, stores); err != nil || len(got) != 2 || got[1].from.Name != "this machine" {
		t.Errorf("%+v %v", got, err)
	}

	b.failed = map[string]error{appDrv: fault.New("no app")}
	if _, _, err := r.build(t.Context(), Job{Host: several(), Builder: b}); err == nil || !strings.Contains(err.Error(), "no app") {
		t.Error(err)
	}
	if last := events[len(events)-2]; last.Profile != "app" || !strings.Contains(last.Text, "'app' was not built") {
		t.Errorf("%+v", last)
	}
}

// TestChanges: the guard is told of every profile, in order; of a system that is alone
// it is told as ever.
func TestChanges(t *testing.T) {
	h := several()
	h.Profiles[0].Path, h.Profiles[1].Path, h.Profiles[2].Path = app, sys, ana
	want := []activate.Change{
		{Name: "app", Kind: "custom", Link: "/nix/var/nix/profiles/app", New: app, Command: []string{"bin/go"}},
		{Name: "system", Kind: "nixos", New: sys},
		{Name: "ana", Kind: "home", Owner: "ana", New: ana},
	}
	if got := activate.Changes(h, activate.PathOf); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := activate.Changes(fleet.Host{Profiles: []fleet.Profile{fleet.System("", sys)}}, activate.PathOf); got != nil {
		t.Errorf("%+v", got)
	}
	// Back go those that there was something of before.
	o := Outcome{Activation: activate.Result{Profiles: []activate.Changed{{Name: "app"}, {Name: "system", Old: "/nix/store/old"}, {Name: "ana", Old: "/nix/store/home"}}}}
	if got := o.before(h); len(got) != 2 || got[0].Name != "system" || got[0].New != "/nix/store/old" || got[1].New != "/nix/store/home" || got[1].Owner != "ana" {
		t.Errorf("%+v", got)
	}
	r := &Run{Options: Options{Reboot: true}}
	if err := errors.Join(r.boots(h), r.boots(fleet.Host{Profiles: []fleet.Profile{fleet.System("", sys)}})); err != nil {
		t.Error(err)
	}
	h.Profiles = slices.Delete(h.Profiles, 1, 2)
	if err := r.boots(h); err == nil || !strings.Contains(err.Error(), "the profiles app, ana alone") {
		t.Error(err)
	}
}
