// Package texttest is what tests say of text that people read.
package texttest

import (
	"fmt"
	"unicode/utf8"

	"godwit/internal/ui/text"
)

// Harmless gives an error when s holds what a terminal would obey or not show: an
// escape or control character, a mark that turns text around, bytes that are no text.
// Line feeds, tabs and the given sequences may be in it.
func Harmless(s string, but ...string) error {
next:
	for i := 0; i < len(s); {
		for _, b := range but {
			if len(s)-i >= len(b) && s[i:i+len(b)] == b {
				i += len(b)
				continue next
			}
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r != '\n' && r != '\t' && text.Hidden(r) || r == utf8.RuneError && n == 1 {
			return fmt.Errorf("%q at %d, in %q", s[i:i+n], i, s[max(0, i-60):min(len(s), i+60)])
		}
		i += n
	}
	return nil
}
