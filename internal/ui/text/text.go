// Package text holds what a terminal line needs: cleaning foreign output,
// measuring and cutting by display columns, and writing numbers the way
// godwit writes them.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"

	"godwit/internal/redact"
)

// Width is the number of terminal columns that s takes.
func Width(s string) int { return displaywidth.String(s) }

// Cut shortens s to at most width columns; tail (such as "…") ends a line that
// was cut. It never splits a wide or a combined character.
func Cut(s string, width int, tail string) string {
	if width <= 0 {
		return ""
	}
	if len(s) <= width && isASCII(s) {
		return s
	}
	if Width(s) <= width {
		return s
	}
	if Width(tail) > width {
		tail = ""
	}
	room := width - Width(tail)
	g := displaywidth.StringGraphemes(s)
	end, used := 0, 0
	for g.Next() {
		w := g.Width()
		if used+w > room {
			break
		}
		used += w
		end += len(g.Value())
	}
	return strings.TrimRight(s[:end], " ") + tail
}

// Wrap breaks s between words into lines of at most width columns. A word that
// is longer than a line has one of its own, uncut: it may be a path.
func Wrap(s string, width int) []string {
	if width < 20 || Width(s) <= width {
		return []string{s}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case Width(line)+1+Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// Pad adds blanks on the right until s takes width columns.
func Pad(s string, width int) string {
	if n := width - Width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// MaxLine is the number of bytes of one line that Clean keeps.
const MaxLine = 4096

// Clean makes one harmless line of text that somebody else wrote: a host, a builder,
// Nix, a repository. Sequences that format or move (colours, titles, links) are
// dropped, and so are the bell, backspaces and what a carriage return had
// overwritten; tabs are expanded. Whatever else a terminal would obey or not show
// (see Hidden) is written out, as in \u202e; bytes that are no UTF-8 become U+FFFD.
// A line longer than MaxLine bytes is cut and says how much of it is missing.
//
// The secrets of this run are hidden in it (redact). It is the one cleaner: what it gives it leaves alone when it gets it again.
func Clean(s string) string {
	s = redact.String(s)
	if plain(s) {
		return s
	}
	whole := len(s)
	if len(s) > 4*MaxLine {
		s = s[:4*MaxLine]
	}
	s = strings.TrimRight(s, "\r\n")
	var b strings.Builder
	cols, visible, cut := 0, false, -1
	for i := 0; i < len(s); {
		if cut < 0 && b.Len() > MaxLine-cutRoom {
			cut = i // should it turn out too long
		}
		if b.Len() > MaxLine {
			break
		}
		c := s[i]
		switch {
		case c == 0x1b:
			if n := escape(s[i:]); n > 0 {
				i += n
				continue
			}
		case c == '\r':
			// The rest overwrites the line, as a progress bar does.
			b.Reset()
			cols, visible, cut = 0, false, -1
			i++
			continue
		case c == '\n':
			b.WriteByte(' ')
			cols++
			i++
			continue
		case c == '\t':
			n := 8 - cols%8
			b.WriteString("        "[:n])
			cols += n
			i++
			continue
		case c == 0, c == '\a', c == '\b', c == 0x0e, c == 0x0f: // padding, bell, spinners, shifts
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if r == 0x9b { // CSI as one C1 character
			if n := csi(s[i:]); n > 0 {
				i += n
				continue
			}
		}
		if Hidden(r) {
			b.WriteString(Escape(r))
		} else {
			b.WriteRune(r)
		}
		visible = visible || r != ' '
		cols++
	}
	if !visible {
		return ""
	}
	out := b.String()
	if len(out) > MaxLine || whole > 4*MaxLine {
		at := min(MaxLine-cutRoom, len(out))
		for at > 0 && at < len(out) && !utf8.RuneStart(out[at]) {
			at--
		}
		if cut < 0 {
			cut = len(s)
		}
		return out[:at] + "… (" + Size(int64(whole-cut)) + " more)"
	}
	return out
}

// cutRoom is what the note about a cut may take.
const cutRoom = 32

// Strip drops the sequences that format or move, and nothing else, for those who look
// for words in a text. It is not for people to see before it is cleaned.
func Strip(s string) string {
	if !strings.Contains(s, "\x1b") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == 0x1b {
			if n := escape(s[i:]); n > 0 {
				i += n
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// OneLine is Clean for a message of many lines: its words, one blank apart.
func OneLine(s string) string { return Clean(strings.Join(strings.Fields(s), " ")) }

// Lines makes harmless lines (Clean) of a text of many. Of more than most lines the
// first and the last are kept, and a line between them says how many are missing:
// the reason stands at one of the ends.
func Lines(s string, most int) []string {
	return Most(strings.Split(strings.TrimRight(s, "\r\n"), "\n"), most)
}

// Most is Lines for a text that has been split.
func Most(lines []string, most int) []string {
	out := make([]string, 0, min(len(lines), most+1))
	for i, l := range lines {
		if over := len(lines) - most; over > 0 {
			if i == most/2 {
				out = append(out, "… ("+Count(over, "line")+" left out)")
			}
			if i >= most/2 && i < most/2+over {
				continue
			}
		}
		out = append(out, strings.TrimRight(Clean(l), " "))
	}
	return out
}

func plain(s string) bool {
	if len(s) > MaxLine {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Hidden says whether r has no place in a line that a person reads: control
// characters of both sets, line and paragraph separators, marks that are not seen or
// turn the direction of text around, characters that are none. The joiners that
// scripts and emoji need are not among them.
func Hidden(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r < 0x300:
		return r == 0xad
	case r == 0x200c, r == 0x200d:
		return false
	case r == 0x2028, r == 0x2029, r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
		return true
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// Escape writes a character so that it is seen, the way JSON does: \u202e.
func Escape(r rune) string {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		return fmt.Sprintf(`\u%04x\u%04x`, hi, lo)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// escape gives the length of the escape sequence that s begins with; 0 when it is
// none, or has no end.
func escape(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '[':
		if n := csi(s[2:]); n > 0 {
			return 2 + n
		}
		return 0
	case ']', 'P', 'X', '^', '_': // strings that end in BEL or ST
		for i := 2; i < min(len(s), 2048); i++ { // an address is not longer
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return 0
	}
	i := 1
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
		return i + 1
	}
	return 0
}

// csi gives the length of a control sequence after its introducer; 0 when it does
// not end as one.
func csi(s string) int {
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x3f {
		i++
	}
	if i < len(s) && s[i] >= 0x40 && s[i] <= 0x7e {
		return i + 1
	}
	return 0
}

// sizes are binary, because that is what Nix and df -h count in.
var sizes = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// And is "a, b and c", of two names at least.
func And(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// Count writes a number of things: "1 path", "3 paths".
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// Size writes a number of bytes: "67 MiB", "2.1 MiB", "310 MiB", "12 B".
func Size(n int64) string {
	v, u := scale(n)
	return number(v, u) + " " + sizes[u]
}

// SizeOf writes done of total in one unit: "61/148 MiB". A total of 0 is not
// known and left out.
func SizeOf(done, total int64) string {
	if total <= 0 {
		return Size(done)
	}
	_, u := scale(total)
	f := math.Pow(1024, float64(u))
	if done > total {
		done = total
	}
	return number(float64(done)/f, u) + "/" + Size(total)
}

func scale(n int64) (float64, int) {
	v, u := float64(max(n, 0)), 0
	for u < len(sizes)-1 && (u == 0 && v >= 1024 || u > 0 && math.Round(v) >= 1000) {
		v /= 1024
		u++
	}
	return v, u
}

func number(v float64, unit int) string {
	switch {
	case unit == 0, v == 0:
		return fmt.Sprintf("%.0f", v)
	case v < 0.995:
		return fmt.Sprintf("%.2g", v)
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Elapsed writes how long something took: "420ms", "9.2s", "41s", "1m 04s",
// "2h 07m", "3d 04h".
func Elapsed(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch {
	case d < 995*time.Millisecond:
		ms := d.Round(time.Millisecond)
		if ms >= 100*time.Millisecond {
			ms = d.Round(10 * time.Millisecond)
		}
		return fmt.Sprintf("%dms", ms.Milliseconds())
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	}
	m := int64(d.Round(time.Minute) / time.Minute)
	if m < 24*60 {
		return fmt.Sprintf("%dh %02dm", m/60, m%60)
	}
	h := int64(d.Round(time.Hour) / time.Hour)
	return fmt.Sprintf("%dd %02dh", h/24, h%24)
}

// Ticking writes the time of something that still runs, in whole seconds, and
// nothing during the first: what is shown changes once a second at most.
func Ticking(d time.Duration) string {
	d = d.Truncate(time.Second)
	switch {
	case d < time.Second:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	}
	if d < time.Hour {
		return Elapsed(d)
	}
	return Elapsed(d.Truncate(time.Minute))
}
