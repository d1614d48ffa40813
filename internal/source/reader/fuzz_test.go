package reader

import (
	"encoding/json"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/source"
	"godwit/internal/ui/text/texttest"
)

// FuzzHost reads what a dialect's Nix says of a host: docs/dialects.md.
func FuzzHost(f *testing.F) {
	f.Add([]byte(`{"name":"web","at":{"host":"web","port":22,"user":null},"buildOnly":false,"tags":["a"],"platform":{"system":"x86_64-linux","from":"told"},"profiles":[{"name":"system","kind":"nixos","drv":"/nix/store/00000000000000000000000000000000-a.drv","out":"/nix/store/00000000000000000000000000000000-a"}],"secrets":{"a":{"from":{"file":"./s"},"destination":"/run/../s","user":"root","group":"root","permissions":"0400","action":["x"]}},"healthChecks":{"cmd":[{"description":"x","cmd":["a"],"period":1,"timeout":99999999999}],"http":[{"scheme":"http","port":80,"path":"/"}],"tcp":[{"port":1}],"unit":[{"unit":"x"}]},"selected":true}`))
	f.Add([]byte(`{"name":"web","at":{"host":"web"},"profiles":[{"name":"system","kind":"nixos","sealed":[{"tool":"agenix","name":"a","file":"/s/a.age","only":true},{"tool":"sops-nix","name":"b","file":"/s/b.yaml","format":"yaml","key":"a/b"}]}],"secrets":{"t":{"from":{"text":"x"}},"c":{"from":{"command":["a","b"]}}}}`))
	f.Add([]byte(`{"network":{"description":"x","ordering":{"tags":["a"]},"nixConfig":{"a":"b"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Reader{dialect: &source.Dialect{}, about: source.About{At: source.Location{File: "/n/network.nix"}}}
		h, targets, _, err := r.decode(json.RawMessage(b))
		if err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
			return
		}
		_ = targets
		for _, s := range h.Secrets {
			n := 0 // of a text, which may be empty, a command and a file there is one
			for _, has := range []bool{s.From.Text != "", len(s.From.Command) > 0, s.From.File != ""} {
				if has {
					n++
				}
			}
			if n > 1 {
				t.Errorf("%+v", s)
			}
		}
		if _, err := json.Marshal(h); err != nil {
			t.Error(err)
		}
	})
}
