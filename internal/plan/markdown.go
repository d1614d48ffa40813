package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/ui/text"
)

// MarkdownLimit is the size in bytes that a comment may have on every common forge:
// GitHub and Forgejo take 65,536 characters, GitLab 1,000,000. A character has at least
// one byte, so counting bytes is safe whatever a forge calls a character.
const MarkdownLimit = 65536

// MarkdownMark is the first line of a plan in Markdown. A CI job finds the comment by it
// that it wrote before.
const MarkdownMark = "<!-- godwit plan -->"

// leastMarkdown is the smallest limit in which the headline and the notes about what was
// left out fit.
const leastMarkdown = 1024

// Markdown is the plan as a comment for a pull request, of at most limit bytes (0:
// MarkdownLimit, and never less than 1,024): the risks, a table of hosts, and the details of
// each host, folded. What does not fit is left out from the end, and that is said.
//
// Whatever others wrote (names, packages, error messages) stands in code: nothing in it can
// be markup, mention a person, or become a link.
func (p *Plan) Markdown(limit int, now time.Time) string {
	if limit <= 0 {
		limit = MarkdownLimit
	}
	m := &markdown{room: max(limit, leastMarkdown) - noteRoom}
	m.put(MarkdownMark + "\n### " + strings.TrimSuffix(p.headline(), "\n") + "\n\n" + p.markdownFacts() + "\n\n")
	l := Layout{Width: 110, Verbose: true, Now: now, names: 6}

	entries := p.entries(l)
	if lines := p.markdownRisks(); len(lines) > 0 {
		m.put("**Risks**\n\n")
		m.list(lines, "\n*%s more not shown.*\n", "risk")
		m.put("\n")
	}
	if len(entries) > 0 {
		m.put("| host | result | what changes | to copy |\n|---|---|---|---|\n")
		rows := make([]string, len(entries))
		for i, e := range entries {
			rows[i] = p.markdownRow(e)
		}
		m.list(rows, "\n*%s more not shown.*\n", "line")
		m.put("\n")
	}
	var details []string
	for i := range p.Hosts {
		h := &p.Hosts[i]
		if h.Status == Unchanged || h.Status == BuildOnly {
			continue
		}
		var b strings.Builder
		p.whole(&b, h, l)
		body := strings.TrimRight(b.String(), "\n")
		fence := strings.Repeat("`", max(3, longestRun(body, '`')+1))
		details = append(details, "<details><summary>"+mdCode(h.Name)+"</summary>\n\n"+fence+"text\n"+body+"\n"+fence+"\n\n</details>\n")
	}
	m.list(details, "\n*The details of %s more are not shown: `godwit plan --verbose` has them.*\n", "host")
	return m.b.String()
}

// noteRoom is kept for the notes about what was left out.
const noteRoom = 400

// markdown is text that grows until its room is used up.
type markdown struct {
	b    strings.Builder
	room int // bytes
}

func (m *markdown) put(s string) { m.b.WriteString(s) }

// list writes parts as long as there is room, and then how many it left out.
func (m *markdown) list(parts []string, note, noun string) {
	for i, s := range parts {
		if m.b.Len()+len(s) > m.room {
			m.put(fmt.Sprintf(note, text.Count(len(parts)-i, noun)))
			m.room = 0 // nothing of less weight takes the place of what was left out
			return
		}
		m.put(s)
	}
}

// markdownFacts is the line below the headline.
func (p *Plan) markdownFacts() string {
	words := []string{"action " + mdCode(p.Options.Action)}
	if p.Options.Reboot {
		words = append(words, "with a reboot")
	}
	if s := p.sourceText(); s != "" {
		words = append(words, s)
	}
	if p.Hash != "" {
		words = append(words, "plan "+mdCode(p.Hash))
	}
	return strings.Join(words, " · ")
}

// markdownRisks are the risks of all hosts, those that nobody accepted first. Hosts that
// share one stand together.
func (p *Plan) markdownRisks() []string {
	type risk struct {
		Risk
		hosts []string
	}
	var all []*risk
	for _, h := range p.Hosts {
		for _, r := range h.Risks {
			i := slices.IndexFunc(all, func(o *risk) bool { return o.Risk == r })
			if i < 0 {
				i = len(all)
				all = append(all, &risk{Risk: r})
			}
			all[i].hosts = append(all[i].hosts, h.Name)
		}
	}
	slices.SortStableFunc(all, func(a, b *risk) int {
		return cmp.Compare(len(a.Accepted), len(b.Accepted))
	})
	lines := make([]string, len(all))
	for i, r := range all {
		end := "needs " + mdCode("--accept-risk="+r.Name)
		if r.Accepted != "" {
			end = "accepted by " + mdCode(r.Accepted)
		}
		lines[i] = fmt.Sprintf("- ⚠ **%s** on %s: %s (%s)\n", r.Name, mdCode(names(r.hosts, 6)), mdCode(shortened(r.Text)), end)
	}
	return lines
}

// markdownRow is a line of the table. The risks stand above it already.
func (p *Plan) markdownRow(e *entry) string {
	first := strings.TrimPrefix(e.first, "✗ ")
	cell := mdCode(shortened(first))
	for _, line := range e.more {
		if !e.risk(line) {
			cell += "<br>" + mdCode(shortened(line))
		}
	}
	size := "–"
	if e.right != "" {
		size = mdCode(e.right)
	}
	status := map[Status]string{Change: "changes", Unchanged: "unchanged", Unreachable: "✗ unreachable", Blocked: "✗ blocked", Failed: "✗ failed", BuildOnly: "build only"}
	return "| " + mdCode(names(e.names, 6)) + " | " + status[e.status] + " | " + cell + " | " + size + " |\n"
}

// shortened bounds one text of a table or a list: the details have all of it.
func shortened(s string) string {
	const most = 240
	s = text.Clean(s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// mdCode is foreign text as code inside a line. It is an element of HTML and not a code
// span of Markdown: forges split the cells of a table before they look for spans, and do not
// agree on what a backslash does there. Each letter that could be markup is a character
// reference, which never is.
func mdCode(s string) string {
	var b strings.Builder
	b.WriteString("<code>")
	for i, r := range text.Clean(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r > 0x7f, strings.ContainsRune(" ,-+/=%;", r):
			b.WriteRune(r)
		case r == '.' && !strings.HasSuffix(strings.ToLower(s[:min(i, len(s))]), "www"): // a name of the web becomes a link
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	b.WriteString("</code>")
	return b.String()
}

// longestRun is the length of the longest run of c in s.
func longestRun(s string, c byte) int {
	most, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		most = max(most, run)
	}
	return most
}
