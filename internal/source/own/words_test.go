package own

import (
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/source"
)

// A word that there is no place for is told with the one that was meant, or all there are.
func TestUnknown(t *testing.T) {
	at := source.Location{Flake: "/fleet", Attr: "godwit"}
	for want, args := range map[string][]string{
		"there is no godwit.hosts.web.adress (did you mean address?)": {"godwit.hosts.web", "adress", "address", "user"},
		"godwit.hosts.web takes address, user":                        {"godwit.hosts.web", "xyzzy", "address", "user"},
		"/fleet#godwit' has nothing that godwit knows":                nil,
	} {
		if text := fault.Render(unknown(at, "unknown", args)); !strings.Contains(text, want) {
			t.Errorf("%v: %s, want %s", args, text, want)
		}
	}
}

func TestSettings(t *testing.T) {
	for name, want := range map[string]string{"godwit": "godwit", "targetHost": "godwit.hosts.HOST.address", "targetUser": "godwit.hosts.HOST.user", "targetPort": "godwit.hosts.HOST.port", "tags": "godwit.hosts.HOST.tags"} {
		if got := Dialect.Setting(name); got != want {
			t.Errorf("%s is spelt %s, want %s", name, got, want)
		}
	}
	if err := Dialect.Kept(source.Location{Flake: "/fleet", Attr: "godwit", Given: "."}); err == nil || !strings.Contains(err.Error(), "is godwit's own format already") {
		t.Error(err)
	}
}
