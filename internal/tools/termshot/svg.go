package main

import (
	"fmt"
	"html"
	"math"
	"strings"

	"godwit/internal/tools/vt"
)

// Sizes in pixels.
const (
	fontSize   = 14.0
	cellWidth  = 8.43 // of most monospace fonts at that size
	lineHeight = 19.0
	padding    = 16.0
	barHeight  = 34.0
)

// The picture brings its own background, so that it can be read on any page,
// and follows the reader's preference for dark or light.
const css = `
  text { font-family: ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: 14px; white-space: pre; fill: #1f2328; }
  .w { fill: #ffffff; stroke: #d0d7de; } .bar { fill: #f6f8fa; } .t { fill: #59636e; text-anchor: middle; }
  .b { font-weight: 700; } .d { opacity: .62; } .i { font-style: italic; } .u { text-decoration: underline; } .x { text-decoration: line-through; }
  .f0 { fill: #24292f; } .f1 { fill: #cf222e; } .f2 { fill: #116329; } .f3 { fill: #7d4e00; } .f4 { fill: #0969da; } .f5 { fill: #8250df; } .f6 { fill: #1b7c83; } .f7 { fill: #6e7781; }
  .f8 { fill: #57606a; } .f9 { fill: #a40e26; } .f10 { fill: #1a7f37; } .f11 { fill: #633c01; } .f12 { fill: #218bff; } .f13 { fill: #a475f9; } .f14 { fill: #3192aa; } .f15 { fill: #8c959f; }
  .inv { fill: #ffffff; } .fg { fill: #1f2328; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .w { fill: #0d1117; stroke: #30363d; } .bar { fill: #161b22; } .t { fill: #9198a1; }
    .f0 { fill: #6e7681; } .f1 { fill: #ff7b72; } .f2 { fill: #3fb950; } .f3 { fill: #d29922; } .f4 { fill: #58a6ff; } .f5 { fill: #bc8cff; } .f6 { fill: #39c5cf; } .f7 { fill: #b1bac4; }
    .f8 { fill: #8b949e; } .f9 { fill: #ffa198; } .f10 { fill: #56d364; } .f11 { fill: #e3b341; } .f12 { fill: #79c0ff; } .f13 { fill: #d2a8ff; } .f14 { fill: #56d4dd; } .f15 { fill: #f0f6fc; }
    .inv { fill: #0d1117; } .fg { fill: #e6edf3; }
  }
`

// draw makes an SVG of lines in a window frame.
func draw(lines []vt.Line, columns int, title string) string {
	for len(lines) > 0 && lines[len(lines)-1].String() == "" {
		lines = lines[:len(lines)-1]
	}
	w := math.Ceil(float64(columns)*cellWidth + 2*padding)
	h := math.Ceil(barHeight + 2*padding + float64(len(lines))*lineHeight - (lineHeight - fontSize))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img"`, w, h, w, h)
	if title != "" {
		fmt.Fprintf(&b, ` aria-label="%s"`, html.EscapeString(title))
	}
	fmt.Fprintf(&b, ">\n<style>%s</style>\n", css)
	fmt.Fprintf(&b, `<rect class="w" x="0.5" y="0.5" width="%g" height="%g" rx="8"/>`+"\n", w-1, h-1)
	fmt.Fprintf(&b, `<path class="bar" d="M1 %g V9 a8 8 0 0 1 8 -8 H%g a8 8 0 0 1 8 8 V%g Z"/>`+"\n", barHeight, w-9, barHeight)
	for i, c := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&b, `<circle cx="%g" cy="%g" r="6" fill="%s"/>`+"\n", 20+20*float64(i), barHeight/2, c)
	}
	if title != "" {
		fmt.Fprintf(&b, `<text class="t" x="%g" y="%g">%s</text>`+"\n", w/2, barHeight/2+5, html.EscapeString(title))
	}
	for y, l := range lines {
		top := barHeight + padding + float64(y)*lineHeight
		for _, r := range runs(l) {
			x := num(padding + float64(r.x)*cellWidth)
			width := num(float64(r.cells) * cellWidth)
			if bg := r.style.BG; r.style.Reverse || bg != vt.Default {
				class, fill := colour(bg)
				if r.style.Reverse {
					if class, fill = colour(r.style.FG); r.style.FG == vt.Default {
						class = "fg"
					}
				}
				fmt.Fprintf(&b, `<rect x="%s" y="%s" width="%s" height="%s"%s/>`+"\n", x, num(top-3), width, num(lineHeight), attrs(class, fill))
			}
			if strings.TrimSpace(r.text) == "" {
				continue
			}
			class, fill := colour(r.style.FG)
			if r.style.Reverse {
				if class, fill = colour(r.style.BG); r.style.BG == vt.Default {
					class = "inv"
				}
			}
			for _, a := range []struct {
				on   bool
				name string
			}{{r.style.Bold, "b"}, {r.style.Dim, "d"}, {r.style.Italic, "i"}, {r.style.Underline, "u"}, {r.style.Crossed, "x"}} {
				if a.on {
					class = strings.TrimSpace(class + " " + a.name)
				}
			}
			fmt.Fprintf(&b, `<text x="%s" y="%s"%s textLength="%s" lengthAdjust="spacingAndGlyphs" xml:space="preserve">%s</text>`+"\n",
				x, num(top+fontSize-3), attrs(class, fill), width, html.EscapeString(r.text))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// textRun are neighbouring cells of one style.
type textRun struct {
	x, cells int
	text     string
	style    vt.Style
}

// runs cuts a line into pieces that are placed by themselves: a character that
// a font may lack gets a piece of its own, so that a substitute of another
// width moves nothing else.
func runs(l vt.Line) []textRun {
	var out []textRun
	for x, c := range l {
		if c.Width == 0 {
			continue
		}
		t := c.Text
		if t == "" {
			t = " "
		}
		odd := len(t) > 1 || t[0] >= 0x80
		if n := len(out) - 1; n >= 0 && !odd && out[n].style == c.Style && out[n].x+out[n].cells == x && isASCII(out[n].text) {
			out[n].text += t
			out[n].cells++
			continue
		}
		out = append(out, textRun{x, c.Width, t, c.Style})
	}
	// Blanks at the end of a piece without a background say nothing.
	for i := range out {
		r := &out[i]
		if r.style.BG == vt.Default && !r.style.Reverse && !r.style.Underline && strings.TrimSpace(r.text) != "" {
			t := strings.TrimRight(r.text, " ")
			r.cells -= len(r.text) - len(t)
			r.text = t
		}
	}
	return out
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// colour gives a class of the style sheet, or a fill.
func colour(c vt.Color) (class, fill string) {
	switch {
	case c == vt.Default:
		return "", ""
	case c < 16:
		return fmt.Sprintf("f%d", c), ""
	case c < 232:
		level := func(n vt.Color) int {
			if n == 0 {
				return 0
			}
			return 55 + 40*int(n)
		}
		n := c - 16
		return "", fmt.Sprintf("#%02x%02x%02x", level(n/36), level(n/6%6), level(n%6))
	case c < 256:
		g := 8 + 10*int(c-232)
		return "", fmt.Sprintf("#%02x%02x%02x", g, g, g)
	}
	return "", fmt.Sprintf("#%06x", int(c)&0xffffff)
}

func attrs(class, fill string) string {
	s := ""
	if class != "" {
		s += ` class="` + class + `"`
	}
	if fill != "" {
		s += ` style="fill:` + fill + `"`
	}
	return s
}

func num(f float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
}
