package host

import (
	"strings"

	"godwit/internal/shell"
)

// Line is the command as one line for sh, without the line break at its end. It can be
// sent over a pipe before the command's input: a sh that reads one line (IFS= read -r _g;
// eval "$_g") then leaves the rest to the command, and nobody's process list shows it.
func (c Cmd) Line() string {
	var b strings.Builder
	b.WriteString(`_n=$(printf '\nx'); _n=${_n%x}; `)
	switch {
	case c.Script != "":
		b.WriteString("( _s=" + lineQuote(c.Script) + "; set --")
		for _, a := range c.Args {
			b.WriteString(" " + lineQuote(a))
		}
		b.WriteString(`; eval "$_s" )`)
	case c.Shell != "":
		sh := `"${SHELL:-/bin/sh}"`
		if c.Elevate {
			sh = "/bin/sh"
		}
		b.WriteString("( exec " + sh + " -c " + lineQuote(c.Shell) + " )")
	default:
		b.WriteString("(")
		for _, a := range c.Argv {
			b.WriteString(" " + lineQuote(a))
		}
		b.WriteString(" )")
	}
	return b.String()
}

// lineQuote is shell.Quote in one line: the shell variable _n holds a line break.
func lineQuote(s string) string {
	return strings.ReplaceAll(shell.Quote(s), "\n", `'"$_n"'`)
}
