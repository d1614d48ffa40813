package plan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
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

// FuzzFacts reads what a host says of the systems that a plan compares.
func FuzzFacts(f *testing.F) {
	f.Add("sys cur /nix/store/a\npart cur kernel /nix/store/k\nsys new /nix/store/b\nunit new a.service x\nfree 100 99\nend\n")
	f.Add("would stop the following units: a.service, b.service\nwould NOT restart the following changed units: c\nwould restart systemd\n")
	f.Fuzz(func(t *testing.T, s string) {
		var facts Facts
		facts.parse(s)
		u := ParseDryActivate(strings.Split(s, "\n"))
		u.Empty()
		compareUnits(map[string]string{"a.service": "x"}, facts.New.Prints)
	})
}
