package ui

import "strings"

// A style is the parameter of an SGR sequence. Only the eight basic colours
// and dim and bold are used: a terminal's theme makes them readable on dark
// and on light.
type style string

const (
	plainText style = ""
	bold      style = "1"
	dim       style = "2"
	red       style = "31"
	green     style = "32"
	yellow    style = "33"
	cyan      style = "36"
)

// ours are the sequences that paint makes, and the only ones that an Output lets pass.
var ours = func() (all [][]byte) {
	for _, s := range []style{"0", bold, dim, red, green, yellow, cyan} {
		all = append(all, []byte("\x1b["+string(s)+"m"))
	}
	return all
}()

type palette struct{ on bool }

func (p palette) paint(s style, txt string) string {
	if !p.on || s == plainText || txt == "" {
		return txt
	}
	return "\x1b[" + string(s) + "m" + txt + "\x1b[0m"
}

// A symbol carries the meaning of a line without colour.
type symbol struct {
	utf8, ascii string
	style       style
}

var (
	symOK      = symbol{"✓", "+", green}
	symFailed  = symbol{"✗", "x", red}
	symWarning = symbol{"⚠", "!", yellow}
	symBack    = symbol{"↺", "<", yellow}
	symRunning = symbol{"●", "*", cyan}
	symWaiting = symbol{"○", "-", dim}
)

func (u *UI) sym(s symbol) string {
	if u.ascii {
		return s.ascii
	}
	return s.utf8
}

func (u *UI) ellipsis() string {
	if u.ascii {
		return ".."
	}
	return "…"
}

func (u *UI) join(parts []string) string {
	if u.ascii {
		return strings.Join(parts, " - ")
	}
	return strings.Join(parts, " · ")
}

// symbol of a host as it stands.
func (h *host) symbol() symbol {
	switch h.state {
	case waiting:
		return symWaiting
	case running:
		if h.waits != "" {
			return symWaiting
		}
		return symRunning
	}
	switch h.outcome {
	case "":
		if h.err != "" {
			return symFailed
		}
	case "failed", "unreachable":
		return symFailed
	case "rolled-back":
		return symBack
	case "interrupted":
		return symWarning
	case "skipped", "not-started":
		return symWaiting
	}
	return symOK
}
