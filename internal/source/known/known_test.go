package known

import (
	"slices"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/source"
)

func TestKnown(t *testing.T) {
	hosts := []fleet.Host{{Name: "web1", Tags: []string{"web"}}, {Name: "web2", Tags: []string{"web"}}, {Name: "db"}}
	s := New(source.About{At: source.Location{File: "/x"}, NixConfig: map[string]string{"a": "b"}, Settings: fleet.Settings{Batch: "1"}}, hosts, "three hosts\n")
	var told []string
	res, err := s.Load(t.Context(), source.Request{
		Selection: fleet.Selection{On: []string{"web*"}, Every: 1, Skip: 1}, Outputs: true,
		OnHost: func(h fleet.Host) { told = append(told, h.Name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Fleet.Hosts) != 1 || res.Fleet.Hosts[0].Name != "web2" || !slices.Equal(told, []string{"web2"}) ||
		res.Counts != (fleet.Counts{Total: 3, Named: 2, Chosen: 1}) || res.Fleet.NixConfig["a"] != "b" || res.Fleet.Settings.Batch != "1" || len(res.Failed) > 0 || res.Rooted() != nil {
		t.Errorf("%+v, told of %v", res, told)
	}
	if len(hosts) != 3 || s.Header(nil, fleet.Counts{}) != "three hosts\n" || s.About().At.File != "/x" {
		t.Error(s)
	}
	if _, err := s.Load(t.Context(), source.Request{Selection: fleet.Selection{On: []string{"nobody"}, Every: 1}}); err == nil {
		t.Error("no such host")
	}
}
