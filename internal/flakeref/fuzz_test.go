package flakeref

import (
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/ui/text/texttest"
)

// FuzzRead: whatever Nix prints of a flake, it is an error or a flake that can be
// entered, and what the person is told harms no terminal.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"locked":{"type":"git","rev":"e5","narHash":"sha256-hO4w7HFD3OTkUbRYtYgE4infTGMbTgX3EV/j7AKIlYA=","dir":"a","url":"file:///a"},"locks":{"nodes":{"root":{}},"root":"root","version":7},"path":"/nix/store/4cjr28jdlyalrwk0xp2ips80mg49fzbv-source","resolved":{"type":"git","url":"file:///a"},"resolvedUrl":"git+file:///a","url":"git+file:///a?rev=e5"}`), "")
	f.Add([]byte(`{"locked":{"type":"path"},"locks":{"nodes":{"a":{"locked":{"narHash":"sha256-x"}}}},"path":"/nix/store/x","resolved":{"type":"path","path":"/a"}}`),
		"warning: not writing modified lock file of flake 'git+file:///a':\n\u2022 Added input 'nixpkgs':\n    'path:/a' (2026-11-28)\nwarning: input 'x' has an override for a non-existent input 'y'\n")
	f.Fuzz(func(t *testing.T, out []byte, stderr string) {
		var said []string
		sink := event.SinkFunc(func(e event.Event) { said = append(said, e.Text) })
		l, err := read(out, stderr, Options{Scope: event.On(sink, "", event.StepEvaluate)})
		if err == nil {
			if l.Expr == "" || l.Key == "" || l.Path == "" {
				t.Errorf("%+v", l)
			}
			said = append(said, l.Notes()...)
		}
		for _, line := range said {
			if err := texttest.Harmless(line); err != nil || strings.Contains(line, "\n") {
				t.Errorf("%q: %v", line, err)
			}
		}
	})
}
