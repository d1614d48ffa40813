// Package docs holds the documentation against itself: links, the style of docs/style.md, and
// the site.
package docs

import (
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

const top = "../.."

// pages are all pages of Markdown, by their path from the top.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		if d.IsDir() && (slices.Contains([]string{".git", "testdata", "site", "dist", "dist-extra", ".demo"}, d.Name())) {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && strings.HasSuffix(name, ".md") {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out[name] = string(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("%d pages", len(out))
	}
	return out
}

// anchors are what links into a page can name: its headings as forges and mkdocs spell them.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, line := range strings.Split(page, "\n") {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				b.WriteRune(r)
			case r == ' ':
				b.WriteByte('-')
			}
		}
		out[b.String()] = true
	}
	return out
}

// TestLinks: no page leads to where nothing is.
func TestLinks(t *testing.T) {
	all := pages(t)
	md := goldmark.New(goldmark.WithExtensions(extension.GFM))
	links := 0
	for name, page := range all {
		source := []byte(page)
		err := ast.Walk(md.Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			var to string
			switch n := n.(type) {
			case *ast.Link:
				to = string(n.Destination)
			case *ast.Image:
				to = string(n.Destination)
			}
			if !entering || to == "" {
				return ast.WalkContinue, nil
			}
			links++
			u, err := url.Parse(to)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return ast.WalkContinue, nil
			}
			if u.Scheme != "" {
				return ast.WalkContinue, nil // no test asks the internet
			}
			target := name
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(name), u.Path)
				if strings.HasPrefix(name, "changelog/unreleased") {
					target = u.Path
				}
			}
			if _, err := os.Stat(filepath.Join(top, target)); err != nil {
				t.Errorf("%s: %s leads nowhere", name, to)
			} else if u.Fragment != "" && !anchors(all[target])[u.Fragment] {
				t.Errorf("%s: %s has no heading #%s", name, target, u.Fragment)
			}
			return ast.WalkContinue, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if links < 100 {
		t.Errorf("found %d links", links)
	}
}

// TestSite: every page of docs/ can be found, and the site can be built.
func TestSite(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(top, "mkdocs.yml"))
	if err != nil {
		t.Fatal(err)
	}
	_, nav, _ := strings.Cut(string(data), "\nnav:")
	listed := regexp.MustCompile(`[a-z/A-Z-]+\.md`).FindAllString(nav, -1)
	all := pages(t)
	for name := range all {
		page, ok := strings.CutPrefix(name, "docs/")
		if !ok || strings.HasPrefix(page, "reference/") || slices.Contains(listed, page) {
			continue
		}
		linked := false
		for from, text := range all {
			linked = linked || from != name && regexp.MustCompile(`\]\((docs/)?`+regexp.QuoteMeta(page)+`[)#]`).MatchString(text)
		}
		if !linked {
			t.Errorf("%s is neither in the nav of mkdocs.yml nor does a page lead to it", name)
		}
	}
	for _, page := range listed {
		if _, err := os.Stat(filepath.Join(top, "docs", page)); err != nil {
			t.Errorf("mkdocs.yml names %s: %v", page, err)
		}
	}
	if testing.Short() {
		return
	}
	mkdocs, err := exec.LookPath("mkdocs")
	if err != nil {
		t.Fatalf("%v: test/setup.sh installs it", err)
	}
	site := t.TempDir()
	cmd := exec.Command(mkdocs, "build", "--strict", "--quiet", "--site-dir", site)
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkdocs: %v\n%s", err, out)
	}
	for _, file := range []string{"guide.html", "reference/godwit-deploy.html", "search/search_index.json"} {
		if st, err := os.Stat(filepath.Join(site, file)); err != nil || st.Size() < 1000 {
			t.Errorf("the site lacks %s: %v", file, err)
		}
	}
}

// refused are phrases that docs/style.md advises against. Each stands for what a reader had to
// read twice.
var refused = []string{
	"takes nobody with it", "behind its back", "a line a host", "one line a host", "a host each", "in the event that", "with regard to", "in excess of", "utilise",
	"everything that was asked for holds", "has no end", "for want of", "whoever comes", "beside the point", "is nobody's business", "wherefore", "thereof", "hitherto",
	"as the case may be", "so to speak", "thither", "whence",
}

// TestStyle: pages, help and messages do without them.
func TestStyle(t *testing.T) {
	check := func(name, s string) {
		s = strings.ToLower(strings.Join(strings.Fields(s), " "))
		for _, phrase := range refused {
			if strings.Contains(s, phrase) {
				t.Errorf("%s says %q: docs/style.md has better words", name, phrase)
			}
		}
	}
	for name, page := range pages(t) {
		if name != "docs/style.md" && name != "CHANGELOG.md" {
			check(name, page)
		}
	}
}
