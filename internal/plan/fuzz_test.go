package plan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/profile"
	"godwit/internal/ui/text/texttest"
)

// FuzzSaved reads a saved plan, as it is and as if its sum were right.
func FuzzSaved(f *testing.F) {
	f.Add([]byte(`{"schema":"godwit-plan","version":1,"created":"2026-01-01T00:00:00Z","file":"/n.nix","hosts":[{"name":"web","status":"change","drv":"/nix/store/00000000000000000000000000000000-a.drv","system":"/nix/store/00000000000000000000000000000000-a","config":{"Name":"web"},"risks":[{"name":"x","text":"y"}]}]}`))
	file := filepath.Join(f.TempDir(), "plan")
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Plan
		if json.Unmarshal(b, &p) == nil {
			// What follows sees plans that a person could have made.
			p.Schema, p.Version = Schema, Version
			p.Hash = p.Sum()
			if whole, err := json.Marshal(p); err == nil {
				b = whole
			}
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(file)
		if err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, verbose := range []bool{false, true} {
			for _, width := range []int{0, 20, 200} {
				if text := loaded.Text(Layout{Width: width, Verbose: verbose}); len(text) > 100*len(b)+10000 {
					t.Errorf("%d bytes of %d", len(text), len(b))
				}
			}
		}
		loaded.Open()
		loaded.JSON()
		if len(loaded.Question()) > 4096 {
			t.Error("a long question")
		}
	})
}

// FuzzFacts reads what a host says of the profiles that a plan compares, and judges it.
func FuzzFacts(f *testing.F) {
	f.Add("sys cur /nix/store/a\npart cur kernel /nix/store/k\nsys new /nix/store/b\nunit a.service x\nsize boot 99\ndry rc 1\nprofile 7\nsys new /nix/store/c\nend\n")
	f.Add("dry rc 0\ndry line would stop the following units: a.service, b.service\ndry line would NOT restart the following changed units: c\ndry line would restart systemd\nend\n")
	f.Fuzz(func(t *testing.T, s string) {
		facts := &Facts{Seen: map[string]profile.Seen{}}
		facts.parse(s, Ask{}.closer())
		for _, action := range []string{"switch", "boot", "test"} {
			h := Build(Options{Action: action}, Source{}, Input{Host: hostOf("web1"), System: newSystem, Facts: facts})
			h.what()
		}
	})
}
