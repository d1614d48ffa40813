package hoststate

import (
	"encoding/json"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host/hosttest"
	"godwit/internal/profile/nixos"
	"godwit/internal/ui/text/texttest"
)

// FuzzLook reads what a host says of what it runs, boots, keeps and did.
func FuzzLook(f *testing.F) {
	f.Add([]byte("version 24.05\nclock 1730628000\ndiffers kernel\nkernel /nix/store/x-linux-6.6.51/bzImage\ndisk /nix/store /dev/vda1 1000 10\ngeneration system-41-link 1730628000.0000000000 /nix/store/a\nbootctl Current Entry: nixos-generation-41.conf\ndefault-file /nix/store/a\nend\n"))
	f.Add([]byte("::godwit fact current /nix/store/a\n::godwit fact profile /nix/store/b\n::godwit end\nend\n{\"id\":\"x\",\"new\":\"/nix/store/a\"}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := Look(t.Context(), hosttest.Says("web", b), fleet.Host{Name: "web"})
		if err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
			facts, _ = parse(string(b), nixos.Kind)
		}
		st := Assess("web", facts, Wanted{System: "/nix/store/a", Source: history.Source{Commit: "a"}, Behind: func(string) (int, bool) { return 1, true }})
		if _, err := json.Marshal(st); err != nil {
			t.Error(err)
		}
		facts.Previous()
		facts.Find(41)
	})
}
