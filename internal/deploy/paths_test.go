package deploy

import (
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/store/storetest"
)

// A host whose profiles are all store paths needs no builder: they are in this
// machine's store, as what they are.
func TestOnlyPaths(t *testing.T) {
	here := storetest.New()
	path := here.Add("app", "x")
	j := Job{Host: fleet.Host{Name: "web1", Profiles: []fleet.Profile{{Name: "app", Kind: fleet.Custom, User: "ana", Path: path}}}}
	var said []event.Event
	r := Run{Here: here.Endpoint("this machine's store"), Sink: event.SinkFunc(func(e event.Event) { said = append(said, e) })}
	h, stores, err := r.build(t.Context(), j)
	if err != nil || len(stores) != 1 || stores[0].Name != "this machine's store" || h.Profiles[0].Kind != fleet.Custom || h.Profiles[0].Path != path {
		t.Errorf("%+v %+v %v", h, stores, err)
	}
	if len(said) != 1 || said[0].Kind != event.Skipped || len(j.sources()) != 0 {
		t.Errorf("%+v", said)
	}
	j.Host.Profiles[0].Path = ""
	if _, _, err := r.build(t.Context(), j); err == nil || !strings.Contains(err.Error(), "web1: profile 'app' has no derivation") {
		t.Error(err)
	}
}
