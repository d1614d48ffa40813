package morph

import (
	"encoding/json"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/ui/text/texttest"
)

// FuzzHost reads what the Nix side says of a host: the contract between network.nix
// and decode.go.
func FuzzHost(f *testing.F) {
	f.Add([]byte(`{"name":"web","targetHost":"web","targetPort":22,"targetUser":null,"buildOnly":false,"tags":["a"],"platform":{"system":"x86_64-linux","from":"told"},"toplevel":{"drv":"/nix/store/00000000000000000000000000000000-a.drv","out":"/nix/store/00000000000000000000000000000000-a"},"secrets":{"a":{"source":"./s","destination":"/run/../s","user":"root","group":"root","permissions":"0400","action":["x"]}},"healthChecks":{"cmd":[{"description":"x","cmd":["a"],"period":1,"timeout":99999999999}],"http":[{"scheme":"http","port":80,"path":"/"}],"tcp":[{"port":1}],"unit":[{"unit":"x"}]},"selected":true}`))
	f.Add([]byte(`{"network":{"description":"x","ordering":{"tags":["a"]},"nixConfig":{"a":"b"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &Network{File: "/n/network.nix"}
		h, targets, _, err := n.decode(json.RawMessage(b))
		if err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
			return
		}
		_ = targets
		for _, s := range h.Secrets {
			if s.Name == "" && s.Source == "" {
				t.Errorf("%+v", s)
			}
		}
		if _, err := json.Marshal(h); err != nil {
			t.Error(err)
		}
	})
}
