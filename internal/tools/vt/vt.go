// Package vt is a small terminal emulator: bytes in, a screen of cells out. It
// understands what godwit's live view writes and the usual sequences of other
// programs; tests compare its screens, and internal/tools/termshot draws them.
package vt

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// Color is a colour of a cell: Default, an index into the 256 colours, or RGB.
type Color int32

// Default is the terminal's own foreground or background.
const Default Color = -1

// RGB makes a direct colour.
func RGB(r, g, b uint8) Color { return 1<<24 | Color(r)<<16 | Color(g)<<8 | Color(b) }

// Style is how a cell looks.
type Style struct {
	FG, BG                                         Color
	Bold, Dim, Italic, Underline, Reverse, Crossed bool
}

// Normal is the style without any attribute.
var Normal = Style{FG: Default, BG: Default}

// Cell is one column of a line. The second column of a wide character has the
// width 0 and no text.
type Cell struct {
	Text  string
	Width int
	Style Style
}

// Line is one row.
type Line []Cell

// String is the text of a line without blanks at the end.
func (l Line) String() string {
	var b strings.Builder
	for _, c := range l {
		switch {
		case c.Text != "":
			b.WriteString(c.Text)
		case c.Width != 0:
			b.WriteByte(' ')
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Screen is a terminal.
type Screen struct {
	W, H       int
	X, Y       int  // the cursor
	Cursor     bool // it is visible
	Wrap       bool // automatic wrapping is on
	Sync       bool // inside of a synchronized update
	Updates    int  // how many synchronized updates have ended
	Lines      []Line
	Scrollback []Line

	style       Style
	pendingWrap bool
	top, bottom int // scroll region
	savedX      int
	savedY      int
	savedStyle  Style
	main        []Line // while the alternate screen is on
	rest        []byte // an unfinished sequence or character
	// Unknown collects sequences that were not understood.
	Unknown []string
}

// New makes a screen of w columns and h rows.
func New(w, h int) *Screen {
	s := &Screen{W: w, H: h}
	s.reset()
	return s
}

func (s *Screen) reset() {
	s.X, s.Y, s.Cursor, s.Wrap, s.pendingWrap = 0, 0, true, true, false
	s.style, s.savedStyle = Normal, Normal
	s.top, s.bottom = 0, s.H-1
	s.Lines = make([]Line, s.H)
	for i := range s.Lines {
		s.Lines[i] = s.blank()
	}
}

func (s *Screen) blank() Line {
	l := make(Line, s.W)
	bg := Normal
	bg.BG = s.style.BG
	for i := range l {
		l[i] = Cell{Width: 1, Style: bg}
	}
	return l
}

// Text is the screen as text, without blank lines at the end.
func (s *Screen) Text() string { return join(s.Lines) }

// All is the scrollback and the screen.
func (s *Screen) All() []Line {
	lines := s.Lines
	if s.main != nil {
		lines = s.main
	}
	return append(append([]Line(nil), s.Scrollback...), lines...)
}

// AllText is All as text, without blank lines at the end.
func (s *Screen) AllText() string { return join(s.All()) }

func join(lines []Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.String())
	}
	return strings.TrimRight(strings.Join(out, "\n"), "\n")
}

// Write takes output of a program in. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	in := append(s.rest, p...)
	s.rest = nil
	for len(in) > 0 {
		n := s.one(in)
		if n == 0 {
			s.rest = append([]byte(nil), in...)
			if len(s.rest) > 1<<16 {
				s.rest = nil
			}
			break
		}
		in = in[n:]
	}
	return len(p), nil
}

// one handles what in begins with and gives its length; 0 when more is needed.
func (s *Screen) one(in []byte) int {
	switch c := in[0]; {
	case c == 0x1b:
		return s.escape(in)
	case c < 0x20 || c == 0x7f:
		s.control(c)
		return 1
	}
	// A run of text.
	end := 0
	for end < len(in) && in[end] >= 0x20 && in[end] != 0x7f {
		if !utf8.FullRune(in[end:]) {
			break
		}
		_, n := utf8.DecodeRune(in[end:])
		end += n
	}
	g := displaywidth.BytesGraphemes(in[:end])
	for g.Next() {
		s.put(string(g.Value()), g.Width())
	}
	return end
}

func (s *Screen) control(c byte) {
	switch c {
	case '\n', 0x0b, 0x0c:
		s.lineFeed()
	case '\r':
		s.X, s.pendingWrap = 0, false
	case '\b':
		s.X, s.pendingWrap = max(s.X-1, 0), false
	case '\t':
		s.X = min((s.X/8+1)*8, s.W-1)
	}
}

func (s *Screen) lineFeed() {
	s.pendingWrap = false
	if s.Y == s.bottom {
		s.scrollUp(1)
		return
	}
	s.Y = min(s.Y+1, s.H-1)
}

func (s *Screen) scrollUp(n int) {
	for range min(n, s.bottom-s.top+1) {
		if s.top == 0 && s.main == nil {
			s.Scrollback = append(s.Scrollback, s.Lines[0])
		}
		copy(s.Lines[s.top:s.bottom], s.Lines[s.top+1:s.bottom+1])
		s.Lines[s.bottom] = s.blank()
	}
}

func (s *Screen) scrollDown(n int) {
	for range min(n, s.bottom-s.top+1) {
		copy(s.Lines[s.top+1:s.bottom+1], s.Lines[s.top:s.bottom])
		s.Lines[s.top] = s.blank()
	}
}

func (s *Screen) put(g string, w int) {
	if w == 0 {
		x := s.X - 1
		if s.pendingWrap {
			x = s.X
		}
		for x > 0 && s.Lines[s.Y][x].Width == 0 {
			x--
		}
		if x >= 0 {
			s.Lines[s.Y][x].Text += g
		}
		return
	}
	if s.pendingWrap {
		if s.Wrap {
			s.X = 0
			s.lineFeed()
		}
		s.pendingWrap = false
	}
	if s.X+w > s.W {
		if !s.Wrap || w > s.W {
			return
		}
		s.X = 0
		s.lineFeed()
	}
	s.clearWide(s.X)
	s.Lines[s.Y][s.X] = Cell{g, w, s.style}
	for i := 1; i < w; i++ {
		s.clearWide(s.X + i)
		s.Lines[s.Y][s.X+i] = Cell{"", 0, s.style}
	}
	s.X += w
	if s.X >= s.W {
		s.X = s.W - 1
		s.pendingWrap = true
	}
}

// clearWide blanks the other half of a wide character that loses column x.
func (s *Screen) clearWide(x int) {
	l := s.Lines[s.Y]
	if l[x].Width == 0 && x > 0 {
		for i := x - 1; i >= 0; i-- {
			wide := l[i].Width > 1
			if wide || l[i].Width == 0 {
				l[i] = Cell{Width: 1, Style: l[i].Style}
			}
			if wide {
				break
			}
		}
	}
	for i := x + 1; i < len(l) && l[x].Width > 1 && l[i].Width == 0; i++ {
		l[i] = Cell{Width: 1, Style: l[i].Style}
	}
}

func (s *Screen) escape(in []byte) int {
	if len(in) < 2 {
		return 0
	}
	switch in[1] {
	case '[':
		for i := 2; i < len(in); i++ {
			if in[i] >= 0x40 && in[i] <= 0x7e {
				s.csi(string(in[2:i]), in[i])
				return i + 1
			}
			if in[i] < 0x20 || in[i] > 0x7e {
				return i // broken off
			}
		}
		return 0
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(in); i++ {
			if in[i] == 0x07 {
				return i + 1
			}
			if in[i] == 0x1b {
				if i+1 == len(in) {
					return 0
				}
				if in[i+1] == '\\' {
					return i + 2
				}
			}
		}
		return 0
	case '7':
		s.savedX, s.savedY, s.savedStyle = s.X, s.Y, s.style
	case '8':
		s.X, s.Y, s.style = s.savedX, s.savedY, s.savedStyle
		s.pendingWrap = false
	case 'D':
		s.lineFeed()
	case 'E':
		s.X = 0
		s.lineFeed()
	case 'M':
		if s.Y == s.top {
			s.scrollDown(1)
		} else {
			s.Y = max(s.Y-1, 0)
		}
	case 'c':
		s.reset()
	case '=', '>':
	default:
		if in[1] >= 0x20 && in[1] <= 0x2f { // character sets and the like
			if len(in) < 3 {
				return 0
			}
			return 3
		}
		s.Unknown = append(s.Unknown, string(in[:2]))
	}
	return 2
}

func (s *Screen) csi(params string, final byte) {
	private := strings.HasPrefix(params, "?")
	if strings.ContainsAny(params, "<=>") || strings.ContainsAny(params, " !\"#$%&'()*+,-./") {
		return // keyboard protocols, cursor shapes, queries
	}
	var ps []int
	for _, f := range strings.FieldsFunc(strings.TrimPrefix(params, "?"), func(r rune) bool { return r == ';' }) {
		main, _, _ := strings.Cut(f, ":")
		n, _ := strconv.Atoi(main)
		ps = append(ps, max(0, min(n, 1<<16)))
	}
	if strings.HasPrefix(params, ";") {
		ps = append([]int{0}, ps...)
	}
	arg := func(i, def int) int {
		if i < len(ps) && ps[i] > 0 {
			return ps[i]
		}
		return def
	}
	if final != 'm' {
		s.pendingWrap = false
	}
	switch final {
	case 'A':
		s.Y = max(s.Y-arg(0, 1), 0)
	case 'B', 'e':
		s.Y = min(s.Y+arg(0, 1), s.H-1)
	case 'C', 'a':
		s.X = min(s.X+arg(0, 1), s.W-1)
	case 'D':
		s.X = max(s.X-arg(0, 1), 0)
	case 'E':
		s.X, s.Y = 0, min(s.Y+arg(0, 1), s.H-1)
	case 'F':
		s.X, s.Y = 0, max(s.Y-arg(0, 1), 0)
	case 'G', '`':
		s.X = min(arg(0, 1), s.W) - 1
	case 'H', 'f':
		s.Y, s.X = min(arg(0, 1), s.H)-1, min(arg(1, 1), s.W)-1
	case 'd':
		s.Y = min(arg(0, 1), s.H) - 1
	case 'J':
		switch arg(0, 0) {
		case 0:
			s.eraseIn(s.Y, s.X, s.W)
			for y := s.Y + 1; y < s.H; y++ {
				s.Lines[y] = s.blank()
			}
		case 1:
			for y := range s.Y {
				s.Lines[y] = s.blank()
			}
			s.eraseIn(s.Y, 0, s.X+1)
		case 2:
			for y := range s.Lines {
				s.Lines[y] = s.blank()
			}
		case 3:
			s.Scrollback = nil
		}
	case 'K':
		switch arg(0, 0) {
		case 0:
			s.eraseIn(s.Y, s.X, s.W)
		case 1:
			s.eraseIn(s.Y, 0, s.X+1)
		case 2:
			s.eraseIn(s.Y, 0, s.W)
		}
	case 'X':
		s.eraseIn(s.Y, s.X, min(s.X+arg(0, 1), s.W))
	case 'P':
		n := min(arg(0, 1), s.W-s.X)
		l := s.Lines[s.Y]
		copy(l[s.X:], l[s.X+n:])
		s.eraseIn(s.Y, s.W-n, s.W)
	case '@':
		n := min(arg(0, 1), s.W-s.X)
		l := s.Lines[s.Y]
		copy(l[s.X+n:], l[s.X:])
		s.eraseIn(s.Y, s.X, s.X+n)
	case 'L', 'M':
		if s.Y >= s.top && s.Y <= s.bottom {
			top := s.top
			s.top = s.Y
			if final == 'L' {
				s.scrollDown(arg(0, 1))
			} else if s.top == 0 {
				// Deleted lines are not history.
				keep := s.Scrollback
				s.scrollUp(arg(0, 1))
				s.Scrollback = keep
			} else {
				s.scrollUp(arg(0, 1))
			}
			s.top = top
		}
	case 'S':
		s.scrollUp(arg(0, 1))
	case 'T':
		s.scrollDown(arg(0, 1))
	case 'r':
		if !private {
			s.top, s.bottom = min(arg(0, 1), s.H)-1, min(arg(1, s.H), s.H)-1
			if s.top >= s.bottom {
				s.top, s.bottom = 0, s.H-1
			}
			s.X, s.Y = 0, 0
		}
	case 's':
		s.savedX, s.savedY = s.X, s.Y
	case 'u':
		s.X, s.Y = min(s.savedX, s.W-1), min(s.savedY, s.H-1)
	case 'm':
		s.sgr(params)
	case 'h', 'l':
		if private {
			for _, p := range ps {
				s.mode(p, final == 'h')
			}
		}
	case 'n', 'c', 't', 'q', 'p', 'g':
	default:
		s.Unknown = append(s.Unknown, params+string(final))
	}
}

func (s *Screen) mode(p int, on bool) {
	switch p {
	case 7:
		s.Wrap = on
	case 25:
		s.Cursor = on
	case 2026:
		if s.Sync && !on {
			s.Updates++
		}
		s.Sync = on
	case 47, 1047, 1049:
		if on && s.main == nil {
			s.savedX, s.savedY = s.X, s.Y
			s.main = s.Lines
			s.Lines = make([]Line, s.H)
			for i := range s.Lines {
				s.Lines[i] = s.blank()
			}
		} else if !on && s.main != nil {
			s.Lines, s.main = s.main, nil
			s.X, s.Y = s.savedX, s.savedY
		}
	}
}

func (s *Screen) eraseIn(y, from, to int) {
	bg := Normal
	bg.BG = s.style.BG
	for x := from; x < to && x < s.W; x++ {
		s.Lines[y][x] = Cell{Width: 1, Style: bg}
	}
}

func (s *Screen) sgr(params string) {
	var ps []int
	for _, f := range strings.FieldsFunc(params+";", func(r rune) bool { return r == ';' || r == ':' }) {
		n, _ := strconv.Atoi(f)
		ps = append(ps, n)
	}
	if len(ps) == 0 {
		ps = []int{0}
	}
	for i := 0; i < len(ps); i++ {
		switch p := ps[i]; {
		case p == 0:
			s.style = Normal
		case p == 1:
			s.style.Bold = true
		case p == 2:
			s.style.Dim = true
		case p == 3:
			s.style.Italic = true
		case p == 4:
			s.style.Underline = true
		case p == 7:
			s.style.Reverse = true
		case p == 9:
			s.style.Crossed = true
		case p == 22:
			s.style.Bold, s.style.Dim = false, false
		case p == 23:
			s.style.Italic = false
		case p == 24:
			s.style.Underline = false
		case p == 27:
			s.style.Reverse = false
		case p == 29:
			s.style.Crossed = false
		case p >= 30 && p <= 37:
			s.style.FG = Color(p - 30)
		case p >= 40 && p <= 47:
			s.style.BG = Color(p - 40)
		case p >= 90 && p <= 97:
			s.style.FG = Color(p - 90 + 8)
		case p >= 100 && p <= 107:
			s.style.BG = Color(p - 100 + 8)
		case p == 39:
			s.style.FG = Default
		case p == 49:
			s.style.BG = Default
		case p == 38 || p == 48:
			c, n := extended(ps[i+1:])
			i += n
			if p == 38 {
				s.style.FG = c
			} else {
				s.style.BG = c
			}
		}
	}
}

func extended(ps []int) (Color, int) {
	switch {
	case len(ps) >= 2 && ps[0] == 5:
		return Color(ps[1] & 255), 2
	case len(ps) >= 4 && ps[0] == 2:
		return RGB(uint8(ps[1]), uint8(ps[2]), uint8(ps[3])), 4
	}
	return Default, len(ps)
}
