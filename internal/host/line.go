package host

import (
	"crypto/rand"
	"strconv"
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

// long is from which length a line is read in blocks, in bytes. A shell reads a line of a pipe
// with a system call for each byte, so that it leaves what comes behind it: 100 KiB take
// dash some 40 ms, and a small machine half a second. A process takes one or two.
const long = 8 << 10

// Sent is what is written to a sh that reads a line and evaluates it (IFS= read -r _g; eval
// "$_g"), for it to run line. blocks tells that nothing comes behind it before what it runs has
// said something, as what reads in blocks may read that, too. What arrives cut off is not run.
func Sent(line string, blocks bool) string {
	if !blocks || len(line) < long {
		return line + "\n"
	}
	end := "#" + rand.Text()
	line += " " + end + "\n"
	// Where there is no head on PATH, nothing has been read of it.
	return `_g=$(PATH=$PATH:/run/current-system/sw/bin:/usr/bin:/bin; head -c ` + strconv.Itoa(len(line)) + ` 2>/dev/null) || IFS= read -r _g; ` +
		`case $_g in *"` + end + `") eval "$_g" ;; *) exit 98 ;; esac` + "\n" + line
}

// lineQuote is shell.Quote in one line: the shell variable _n holds a line break.
func lineQuote(s string) string {
	return strings.ReplaceAll(shell.Quote(s), "\n", `'"$_n"'`)
}
