package show

import (
	"strings"

	"godwit/internal/doctor"
	"godwit/internal/ui/text"
)

// Checkup is a line for each finding, with its remedies below.
func Checkup(c *doctor.Checkup) string {
	mark := map[doctor.Level]string{doctor.OK: "✓", doctor.Warn: "⚠", doctor.Fail: "✗"}
	var b strings.Builder
	host := "\x00"
	for _, f := range c.Findings {
		if f.Host != host {
			if host != "\x00" {
				b.WriteString("\n")
			}
			if host = f.Host; host == "" {
				b.WriteString("this machine\n")
			} else {
				b.WriteString(text.Clean(host) + "\n")
			}
		}
		b.WriteString("  " + mark[f.Level] + " " + text.Pad(f.Check, 13) + " " + text.Clean(f.Text) + "\n")
		if f.Level != doctor.OK {
			for _, r := range f.Remedies {
				b.WriteString("      " + text.Clean(r) + "\n")
			}
		}
	}
	return b.String()
}
