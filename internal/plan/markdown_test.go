package plan

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	gmhtml "github.com/yuin/goldmark/renderer/html"

	"godwit/internal/closure"
)

func TestMarkdown(t *testing.T) {
	p := sample()
	golden(t, "plan.md.golden", []byte(p.Markdown(0, now)))
}

// forge renders Markdown as forges do, with the HTML that stands in it.
func forge(t *testing.T, md string) string {
	t.Helper()
	var b bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(gmhtml.WithUnsafe())).Convert([]byte(md), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var tags = regexp.MustCompile(`</?([a-zA-Z!][a-zA-Z0-9]*|--)[^>]*>`)

// shape is what is left of a page without its text: the elements, in order.
func shape(html string) string {
	return strings.Join(tags.FindAllString(html, -1), "")
}

// hostile is the sample in which all words of others are s.
func hostile(s string) *Plan {
	p := sample()
	for i := range p.Hosts {
		h := &p.Hosts[i]
		h.Name = fmt.Sprintf("h%d%s", i, s)
		if h.Error != "" {
			h.Error = s
			h.Hints = []string{s}
		}
		for j := range h.Risks {
			h.Risks[j].Text = s
		}
		for j := range h.Secrets {
			h.Secrets[j].Name, h.Secrets[j].Destination = s, s
		}
		if h.Units != nil {
			u := *h.Units
			u.Restart, u.Stop = []string{s}, []string{s}
			h.Units = &u
		}
		if h.Closure != nil {
			d := *h.Closure
			d.Changes = append([]closure.Change{}, d.Changes...)
			for j := range d.Changes {
				d.Changes[j].Name = s
			}
			h.Closure = &d
		}
		h.Notes = append(h.Notes, Note{Text: s})
	}
	return p
}

// hostileWords are what somebody might call a host or a package to make a page something else.
var hostileWords = []string{
	"a|b", `a\|b`, `\`, "`", "``` ", "````````````", "*bold*", "_x_", "~~s~~", "[a](http://evil.example)", "![a](http://evil.example/x.png)",
	"<script>alert(1)</script>", "</code></details>", "</pre>", "<!--", "-->", "<b", "&lt;b&gt;", "http://evil.example/", "www.evil.example", "WWW.evil.example",
	"me@evil.example", "@team", "#12", "!12", "$x$", ":smile:", "\n\n# title", "\r\n- a", "- a", "1. a", "> q", "\x1b[31mred", "a\x00b", "\u202eabc", "</summary><img src=x>",
	"<https://evil.example>", "[^1]", "- [ ] task", "  \n|a|b|", "ftp://a", "mailto:a@b.example", "xmpp:a@b.example",
}

// TestMarkdownHostile: no text that others wrote changes what the comment is made of.
func TestMarkdownHostile(t *testing.T) {
	want := shape(forge(t, hostile("plain").Markdown(0, now)))
	if !strings.Contains(want, "<table>") || strings.Count(want, "<details>") < 4 || !strings.Contains(want, "<pre>") {
		t.Fatalf("not the comment that it should be: %s", want)
	}
	for _, s := range hostileWords {
		md := hostile(s).Markdown(0, now)
		if got := shape(forge(t, md)); got != want {
			t.Errorf("%q changes the comment:\n%s\n%s", s, got, md)
		}
		if len(s) > 3 && strings.ContainsRune(s, '@') && strings.Contains(outsideFences(md), s) {
			t.Errorf("%q may mention somebody", s)
		}
	}
}

// outsideFences is the comment without the blocks of code.
func outsideFences(md string) string {
	var out []string
	fence := ""
	for line := range strings.Lines(md) {
		switch {
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = line[:len(line)-len(strings.TrimLeft(line, "`"))]
		case fence != "" && strings.TrimRight(line, "\n") == fence:
			fence = ""
		case fence == "":
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// TestMarkdownLimit: the comment of any fleet fits, and says what it lacks.
func TestMarkdownLimit(t *testing.T) {
	p := sample()
	one, risky := p.Hosts[0], p.Hosts[2]
	p.Hosts = nil
	for i := range 800 {
		h := one
		if i%2 == 0 {
			h = risky
		}
		h.Name = fmt.Sprintf("host-%03d-with-a-name", i)
		h.Notes = []Note{{Text: fmt.Sprintf("note %d", i)}} // no two are alike
		p.Hosts = append(p.Hosts, h)
	}
	for _, limit := range []int{1, 1024, 2000, 10000, MarkdownLimit, 1000000} {
		md := p.Markdown(limit, now)
		if len(md) > max(limit, leastMarkdown) {
			t.Errorf("%d bytes with a limit of %d", len(md), limit)
		}
		if !strings.Contains(md, "800 hosts change") || limit < 1000000 && !strings.Contains(md, "not shown") {
			t.Errorf("limit %d:\n%s", limit, md)
		}
		html := forge(t, md)
		if n, m := strings.Count(html, "<details>"), strings.Count(html, "</details>"); n != m {
			t.Errorf("limit %d: %d details begin and %d end", limit, n, m)
		}
		if limit >= 10000 && !strings.Contains(md, KernelChange) {
			t.Errorf("limit %d: the risks are not on top", limit)
		}
	}
	if md := (&Plan{}).Markdown(0, now); !strings.Contains(md, "no hosts") {
		t.Error(md)
	}
}
