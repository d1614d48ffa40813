package closure

import (
	"fmt"
	"slices"
	"strings"

	"godwit/internal/ui/text"
)

// shownDelta is the least change of size that is worth a word.
const shownDelta = 8 << 10

// Text is a change as a person reads it: "nginx 1.26.1 → 1.26.2", "htop 3.3.0
// added", "nano removed".
func (c Change) Text() string {
	old, now := strings.Join(c.Old, ", "), strings.Join(c.New, ", ")
	switch c.Kind {
	case Added:
		return words(c.Name, now, "added")
	case Removed:
		return words(c.Name, old, "removed")
	case Rebuilt:
		return c.Name
	}
	switch {
	case old == "":
		return c.Name + " " + now + " added"
	case now == "":
		return c.Name + " " + old + " removed"
	}
	return c.Name + " " + old + " → " + now
}

func words(w ...string) string {
	return strings.Join(slices.DeleteFunc(w, func(s string) bool { return s == "" }), " ")
}

// Bytes writes a change of size: "+2.1 MiB", "-310 KiB", "+0 B".
func Bytes(n int64) string {
	switch {
	case n > 0:
		return "+" + text.Size(n)
	case n < 0:
		return "-" + text.Size(-n)
	}
	return "+0 B"
}

// packages are the changes that a person would name first: other versions,
// packages that come and go; not the files of the configuration.
func (d Difference) packages() []Change {
	var out []Change
	for _, c := range d.Changes {
		if c.Versioned() && !isSystem(c) {
			out = append(out, c)
		}
	}
	return out
}

// isSystem knows the toplevel itself: that it differs says nothing, unless it
// is of another NixOS.
func isSystem(c Change) bool {
	return c.Kind != Version && strings.HasPrefix(c.Name, "nixos-system-")
}

// Short is one line with at most most packages (0: all): "nginx 1.26.1 →
// 1.26.2, openssl 3.0.14 → 3.0.15 and 3 more". Changes of versions come first.
func (d Difference) Short(most int) string {
	if d.Empty() {
		return "no change"
	}
	list := d.packages()
	slices.SortStableFunc(list, func(a, b Change) int { return rank(a) - rank(b) })
	if len(list) == 0 {
		return "configuration only"
	}
	var parts []string
	for i, c := range list {
		if most > 0 && i == most {
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(list)-i)
		}
		parts = append(parts, c.Text())
	}
	return strings.Join(parts, ", ")
}

func rank(c Change) int {
	if c.Kind == Version {
		return 0
	}
	return 1
}

// Text is the whole difference, a package a line, with the sizes that matter;
// with all also what is only rebuilt.
func (d Difference) Text(all bool) string {
	if d.Empty() {
		return "no difference\n"
	}
	var b strings.Builder
	width := 0
	var lines []Change
	rest := map[bool][]Change{} // files of the configuration, rebuilt packages
	for _, c := range d.Changes {
		named := c.Kind != Rebuilt && (c.Versioned() || abs(c.Delta) >= shownDelta) || abs(c.Delta) >= shownDelta
		if !named && !all || isSystem(c) {
			if !isSystem(c) {
				rest[c.Kind == Rebuilt] = append(rest[c.Kind == Rebuilt], c)
			}
			continue
		}
		lines = append(lines, c)
		width = max(width, text.Width(line(c)))
	}
	for _, c := range lines {
		size := ""
		if abs(c.Delta) >= shownDelta {
			size = Bytes(c.Delta)
		}
		b.WriteString(strings.TrimRight(text.Pad(line(c), width)+"  "+size, " ") + "\n")
	}
	for _, rebuilt := range []bool{false, true} {
		if list := rest[rebuilt]; len(list) > 0 {
			b.WriteString(summary(list, rebuilt) + "\n")
		}
	}
	fmt.Fprintf(&b, "closure %s → %s (%s), %s new, %d gone\n", text.Size(d.OldSize), text.Size(d.NewSize), Bytes(d.Delta()), text.Count(d.Added, "path"), d.Removed)
	return b.String()
}

func line(c Change) string {
	if c.Kind == Rebuilt {
		return c.Name + " rebuilt"
	}
	return c.Text()
}

func summary(list []Change, rebuilt bool) string {
	const most = 6
	var names []string
	for i, c := range list {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		name := c.Name
		if !rebuilt {
			name += " " + string(c.Kind)
		}
		names = append(names, name)
	}
	what := "small files come and go"
	if rebuilt {
		what = "same version, other contents"
	}
	return what + ": " + strings.Join(names, ", ")
}

func abs(n int64) int64 { return max(n, -n) }
