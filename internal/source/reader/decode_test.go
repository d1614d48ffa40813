package reader

import (
	"encoding/json"
	"testing"
)

// TestPathAlone: a profile may be a store path that is there already; whatever else
// stands in its place is refused.
func TestPathAlone(t *testing.T) {
	const name = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-app"
	for profile, ok := range map[string]bool{
		`{"name":"app","kind":"custom","out":"` + name + `"}`:                          true,
		`{"name":"app","kind":"custom","drv":"` + name + `.drv","out":"` + name + `"}`: true,
		`{"name":"app","kind":"custom","out":"/nix/store/../../etc/passwd"}`:           false,
		`{"name":"app","kind":"custom","out":"/etc/passwd"}`:                           false,
		`{"name":"app","kind":"custom","drv":"/etc/passwd","out":"` + name + `"}`:      false,
	} {
		var j hostJSON
		if err := json.Unmarshal([]byte(`{"profiles":[`+profile+`]}`), &j); err != nil {
			t.Fatal(err)
		}
		if err := j.check(); (err == nil) != ok {
			t.Errorf("%s: %v", profile, err)
		}
	}
}
