package nix

import (
	"strings"

	"godwit/internal/fault"
)

// Explain turns what a Nix program wrote on stderr into an error that a person
// reads. It gives nil when stderr holds no error of Nix's.
func Explain(stderr string) *fault.Error {
	for _, l := range strings.Split(stderr, "\n") {
		if m, ok := strings.CutPrefix(strings.TrimSpace(l), "error: "); ok {
			return fault.New("%s", m)
		}
	}
	return nil
}

// Explain is the function Explain, with the whole trace as facts when the
// settings ask for it.
func (t *Tool) Explain(stderr string) *fault.Error {
	f := Explain(stderr)
	if f != nil && t.settings.ShowTrace {
		f.Lines = strings.Split(strings.TrimRight(stderr, "\n"), "\n")
	}
	return f
}
