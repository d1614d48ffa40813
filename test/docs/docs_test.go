// Package docs holds the documentation against itself: links, the style of docs/style.md, and
// the site.
package docs

import (
	goast "go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

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
	"takes nobody with it", "behind its back", "a line a host", "one line a host", "a host each", "object a line", "in the event that", "with regard to", "in excess of", "utilise",
	"everything that was asked for holds", "has no end", "for want of", "whoever comes", "beside the point", "is nobody's business", "wherefore", "thereof", "hitherto",
	"as the case may be", "so to speak", "thither", "whence", "lest", "upon", "herein", "of its own accord", "that which",
	"all the same", "came to harm", "comes to harm", "turned down", "lets nobody in", "is no goal", "others than root", "else than", "put right", "puts that right",
	"nobody is heard", "of use to nobody", "for ever", "is of no help", "stop talking",
}

// inPages are refused in pages alone.
var inPages = []string{"whoever", "anew", "a fault of godwit's own"}

// morphs are marks that morph puts around names. Only its own lines, and those of Nix, have them.
var morphs = regexp.MustCompile("`(%[a-z]|[A-Za-z0-9_./-]{1,30})'")

// saysRefused names the phrases that s has, as whole words without punctuation between them.
func saysRefused(s string, phrases []string) (found []string) {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\'' || r == '-' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return '|'
	}, strings.ToLower(s))
	s = " " + strings.Join(strings.Fields(strings.ReplaceAll(s, "|", " | ")), " ") + " "
	for _, phrase := range phrases {
		if strings.Contains(s, " "+phrase+" ") {
			found = append(found, phrase)
		}
	}
	return found
}

// texts are the strings of the program's own Go code that have more than one word, by where
// they are. Programs for developers (internal/tools) and what only tests link have none.
func texts(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, root := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(top, root), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools" || strings.HasSuffix(d.Name(), "test")) {
				return fs.SkipDir
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			goast.Inspect(file, func(n goast.Node) bool {
				lit, ok := n.(*goast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				s, err := strconv.Unquote(lit.Value)
				if err == nil && strings.Contains(strings.TrimSpace(s), " ") {
					out[strings.TrimPrefix(files.Position(lit.Pos()).String(), top+"/")] = s
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 2000 {
		t.Fatalf("%d texts", len(out))
	}
	return out
}

// TestStyle: pages, help, messages and hints do without the refused phrases, and messages quote
// with 'x'.
func TestStyle(t *testing.T) {
	for name, page := range pages(t) {
		if name == "docs/style.md" || strings.HasPrefix(name, "CHANGELOG") || strings.HasPrefix(name, "changelog/") {
			continue
		}
		for _, phrase := range append(saysRefused(page, refused), saysRefused(page, inPages)...) {
			t.Errorf("%s says %q: docs/style.md has better words", name, phrase)
		}
	}
	for at, s := range texts(t) {
		for _, phrase := range saysRefused(s, refused) {
			t.Errorf("%s says %q: docs/style.md has better words", at, phrase)
		}
		if m := morphs.FindString(s); m != "" {
			t.Errorf("%s quotes as morph does: %s. Write '%s'", at, m, strings.Trim(m, "`'"))
		}
	}
	if got := saysRefused("It goes on all\nthe same. Hence, lest of a host, each", refused); !slices.Equal(got, []string{"lest", "all the same"}) || len(saysRefused("the latest host", refused)) > 0 {
		t.Errorf("finds %q", got)
	}
}
