package plan

import (
	"bytes"
	"cmp"
	_ "embed" // page.html
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"godwit/internal/closure"
	"godwit/internal/ui/text"
)

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// Page is the plan as one page of HTML. It holds all that it needs: nothing is loaded from
// anywhere, there is no script, and its policy forbids both.
func (p *Plan) Page(now time.Time) ([]byte, error) {
	type box struct {
		X, Y, W, H float64
		Name, Size string
		Grows      bool
		Label      bool
	}
	type host struct {
		Name, Status, What, Sizes, Units, Error string
		Hints, More                             []string
		Risks                                   []Risk
		Open                                    bool
		Boxes                                   []box
		Details                                 string
		rank                                    int
	}
	data := struct {
		Title, Facts, Made string
		Hosts              []host
	}{Title: strings.TrimPrefix(p.headline(), "Plan: "), Made: p.Created.UTC().Format(time.RFC3339)}
	data.Facts = strings.Join(append([]string{"action " + p.Options.Action}, strings.Fields(p.sourceText())...), " ")
	l := Layout{Width: 110, Verbose: true, Now: now, names: 6}
	for i := range p.Hosts {
		h := &p.Hosts[i]
		v := host{rank: p.rank(h.Name), Name: text.Clean(h.Name), Status: string(h.Status), Error: text.Clean(h.Error), Risks: h.Risks, Open: len(h.Risks) > 0 || h.Status == Failed || h.Status == Blocked || h.Status == Unreachable}
		e := p.entry(h, l)
		v.What, v.Sizes = text.Clean(strings.TrimPrefix(e.first, "✗ ")), text.Clean(e.right)
		for _, line := range e.more {
			if !e.risk(line) {
				v.More = append(v.More, text.Clean(line))
			}
		}
		if h.Closure != nil && h.Status == Change {
			for _, t := range treemap(h.Closure.Changes, 600, 240) {
				v.Boxes = append(v.Boxes, box{t.x, t.y, t.w, t.h, text.Clean(t.change.Name), closure.Bytes(t.change.Delta), t.change.Delta > 0, t.w > 60 && t.h > 16})
			}
		}
		var b strings.Builder
		p.whole(&b, h, l)
		v.Details = b.String()
		data.Hosts = append(data.Hosts, v)
	}
	slices.SortStableFunc(data.Hosts, func(a, b host) int { return cmp.Compare(a.rank, b.rank) })
	var out bytes.Buffer
	if err := page.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("the page of the plan: %w", err)
	}
	return out.Bytes(), nil
}

// tile is a change in a treemap.
type tile struct {
	change     closure.Change
	x, y, w, h float64
}

// maxTiles keeps a page readable: what is smaller than the biggest so many is left out.
const maxTiles = 60

// treemap divides a rectangle among changes, by how much they add or take away. The biggest
// half of what is left gets the longer side, again and again, so that no tile is a thin line.
func treemap(changes []closure.Change, w, h float64) []tile {
	size := func(c closure.Change) float64 { return float64(max(c.Delta, -c.Delta)) }
	list := slices.DeleteFunc(slices.Clone(changes), func(c closure.Change) bool { return c.Delta == 0 })
	slices.SortStableFunc(list, func(a, b closure.Change) int { return cmp.Compare(size(b), size(a)) })
	list = list[:min(len(list), maxTiles)]
	var out []tile
	var divide func(list []closure.Change, x, y, w, h float64)
	divide = func(list []closure.Change, x, y, w, h float64) {
		switch len(list) {
		case 0:
			return
		case 1:
			out = append(out, tile{list[0], x, y, w, h})
			return
		}
		total, first, n := 0.0, 0.0, 0
		for _, c := range list {
			total += size(c)
		}
		for n = 0; n < len(list)-1 && (n == 0 || first+size(list[n])/2 < total/2); n++ {
			first += size(list[n])
		}
		part := first / total
		if w >= h {
			divide(list[:n], x, y, w*part, h)
			divide(list[n:], x+w*part, y, w-w*part, h)
		} else {
			divide(list[:n], x, y, w, h*part)
			divide(list[n:], x, y+h*part, w, h-h*part)
		}
	}
	divide(list, 0, 0, w, h)
	return out
}
