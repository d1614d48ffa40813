// Package same compares what documents show of a run with a run.
package same

import (
	"regexp"
	"strings"
)

var quantities = regexp.MustCompile(`/nix/store/[0-9a-z]{32}|[0-9]+(\.[0-9]+)?(ms|s|m| [KM]iB)?( [0-9]+s)?`)

// Line is what a line of godwit's output says in every run: without numbers, sizes, times and
// hashes, and without the time in parentheses that it ends with where a step took a second or more.
func Line(l string) string {
	return strings.TrimSuffix(quantities.ReplaceAllString(l, "N"), " (N)")
}
