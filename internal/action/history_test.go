package action

import (
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host/hosttest"
	"godwit/internal/source/all"
)

func TestHistory(t *testing.T) {
	record := `{"id":"20261103T100412-4f2a91","action":"switch","mode":"guard","old":"` + sysA + `","new":"` + sysB + `","result":"committed","started":1762000000,"ended":1762000060,"meta":{"user":"bo"}}`
	hosts := append(web("web", "db"), fleet.Host{Name: "image", BuildOnly: true})
	e, _ := fleetOf(t, hosts, machine{generations: []string{sysB}, records: []string{record}}.on(t, "web"),
		hosttest.New(t, "db", hosttest.Call{Want: hosttest.Connect, Err: noAnswer, Again: true}))
	named := Where{Wish: all.Wish{File: "fleet.nix"}}
	r := HistoryRequest{Where: named, Selection: everyHost, Last: 20}
	past, err := History(t.Context(), e, r)
	if err != nil || len(past.Entries) != 1 || past.Entries[0].User != "bo" || past.Entries[0].Host != "web" || len(past.Missing) != 1 {
		t.Fatalf("%+v, %v", past, err)
	}
	// What a host said is remembered here.
	entries, err := history.Deployment(t.Context(), "20261103T100412-4f2a91")
	if err != nil || len(entries) != 1 {
		t.Errorf("%+v, %v", entries, err)
	}
	if _, err := history.Deployment(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "no deployment other is known here") {
		t.Error(err)
	}
	r.Local = true
	if past, err := History(t.Context(), e, r); err != nil || len(past.Entries) != 1 || len(past.Missing) != 0 {
		t.Errorf("%+v, %v", past, err)
	}
	r.Where = Where{Hosts: []string{"db"}}
	if past, err := History(t.Context(), e, r); err != nil || len(past.Entries) != 0 {
		t.Errorf("%+v, %v", past, err)
	}
	r.Where = Where{Hosts: []string{"@tag"}}
	if _, err := History(t.Context(), e, r); err == nil || !strings.Contains(err.Error(), "does not know which tags a host had") {
		t.Error(err)
	}
}
