package ui

import (
	"strings"

	"godwit/internal/ui/text"
)

// Table lays rows out in columns that are as wide as their widest cell, two
// blanks apart, at most width columns in all (0 means no limit). When it is too
// wide, the widest columns give way; no row is broken. There is no blank at the
// end of a line. headers may be nil.
func Table(width int, headers []string, rows [][]string) string {
	all := rows
	if len(headers) > 0 {
		all = append([][]string{headers}, rows...)
	}
	var cols []int
	cells := make([][]string, len(all))
	for i, row := range all {
		cells[i] = make([]string, len(row))
		for j, c := range row {
			c = text.Clean(c)
			cells[i][j] = c
			if j == len(cols) {
				cols = append(cols, 0)
			}
			cols[j] = max(cols[j], text.Width(c))
		}
	}
	if width > 0 {
		shrink(cols, width-2*(len(cols)-1))
	}
	var b strings.Builder
	for _, row := range cells {
		var line strings.Builder
		for j, c := range row {
			if j > 0 {
				line.WriteString("  ")
			}
			line.WriteString(text.Pad(text.Cut(c, cols[j], "…"), cols[j]))
		}
		l := strings.TrimRight(line.String(), " ")
		if width > 0 {
			l = text.Cut(l, width, "")
		}
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

// shrink makes columns narrower, the widest first, until they sum up to room,
// but none below four columns.
func shrink(cols []int, room int) {
	total := 0
	for _, c := range cols {
		total += c
	}
	for total > room {
		widest := 0
		for j, c := range cols {
			if c >= cols[widest] {
				widest = j
			}
		}
		if cols[widest] <= 4 {
			return
		}
		cols[widest]--
		total--
	}
}
