package ssh

import (
	"strings"

	"godwit/internal/shell"
)

// lineQuote is shell.Quote in one line: the shell variable _n holds a line break.
func lineQuote(s string) string {
	return strings.ReplaceAll(shell.Quote(s), "\n", `'"$_n"'`)
}
