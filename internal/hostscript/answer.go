package hostscript

import (
	"iter"
	"strings"
)

// Answer are the names and values of what a script for hosts answers: lines of a name and,
// behind a blank, a value, up to a line that is "end". whole becomes true there: an answer
// without it was cut off.
func Answer(out string, whole *bool) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		*whole = false
		for line := range strings.Lines(out) {
			line = strings.TrimRight(line, "\r\n")
			if line == "end" {
				*whole = true
				return
			}
			if name, value, _ := strings.Cut(line, " "); !yield(name, value) {
				return
			}
		}
	}
}
