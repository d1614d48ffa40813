// Command publish puts the project's public home in place, once there is one. Until then
// nothing in the tree names any.
//
//	publish MODULE [DIRECTORY]
//
// MODULE is where the repository is, without a scheme: forge.example/team/godwit. It becomes the
// module's path, and what the flake, the packages, the formula, the README and the policies link to.
// DIRECTORY (default: this one) is the tree, which is changed in place; `git diff` shows how. A second
// run with another MODULE moves it there.
package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: publish MODULE [DIRECTORY]")
		os.Exit(1)
	}
	dir := "."
	if len(os.Args) == 3 {
		dir = os.Args[2]
	}
	if err := publish(os.Args[1], dir); err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
}

var home = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*\.[a-z]{2,}(/[A-Za-z0-9][A-Za-z0-9._-]*){2,}$`)

func publish(module, dir string) error {
	if !home.MatchString(module) {
		return fmt.Errorf("%s is no home such as forge.example/team/godwit: no scheme, and at least an owner and a name", module)
	}
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	old, _, _ := strings.Cut(strings.TrimPrefix(string(data), "module "), "\n")
	if err := rename(old, module, dir); err != nil {
		return err
	}
	parts := strings.Split(module, "/")
	host, owner, name := parts[0], parts[len(parts)-2], parts[len(parts)-1]
	url := "https://" + module
	for file, put := range map[string]func(string) string{
		"README.md": func(s string) string {
			s = between(s, "<!-- badges -->", "<!-- /badges -->", "\n[![Go reference](https://pkg.go.dev/badge/"+module+".svg)](https://pkg.go.dev/"+module+
				") [![Licence](https://img.shields.io/badge/licence-Apache--2.0-blue)]("+url+"/blob/main/LICENSE)\n")
			return between(s, "<!-- install -->", "<!-- /install -->", "\n    go install "+module+"/cmd/godwit@latest\n"+
				"    nix run "+flakeref(host, owner, name, url)+"\n"+
				"    brew install "+owner+"/tap/godwit\n"+
				"    # Debian, Fedora, Alpine: the packages of a release, "+url+"/releases\n")
		},
		"SECURITY.md": func(s string) string {
			return between(s, "<!-- home -->", "<!-- /home -->", " ("+url+"/security)")
		},
		"packaging/package.nix": func(s string) string { return setLine(s, "    homepage = ", `    homepage = "`+url+`";`) },
		"packaging/nfpm.yaml":   func(s string) string { return setLine(s, "homepage: ", "homepage: "+url) },
		"mkdocs.yml":            func(s string) string { return setLine(s, "repo_url: ", "repo_url: "+url) },
		".goreleaser.yaml": func(s string) string {
			s = setLine(s, "    homepage: ", "    homepage: "+url)
			return between(s, "# brews: begin", "# brews: end", ` (internal/tools/publish fills this in, with the project's home)
homebrew_casks:
  - name: godwit
    homepage: `+url+`
    description: deploys NixOS fleets from any laptop
    license: Apache-2.0
    url: { template: "`+downloads(host, url)+`" }
    repository: { owner: `+owner+`, name: homebrew-tap }
    manpages: [man/godwit.1.gz]
    completions: { bash: completions/godwit.bash, zsh: completions/godwit.zsh, fish: completions/godwit.fish }
`)
		},
	} {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		done := put(string(text))
		if !strings.Contains(done, module) && !strings.Contains(done, owner) {
			return fmt.Errorf("%s has no place for the project's home any more", file)
		}
		if err := os.WriteFile(path, []byte(done), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// flakeref is how Nix calls a repository: forges that it knows have a short form.
func flakeref(host, owner, name, url string) string {
	switch host {
	case "github.com":
		return "github:" + owner + "/" + name
	case "gitlab.com":
		return "gitlab:" + owner + "/" + name
	}
	return "git+" + url
}

// downloads is where a forge has the files of a release, for goreleaser.
func downloads(host, url string) string {
	if strings.Contains(host, "gitlab") {
		return url + "/-/releases/{{ .Tag }}/downloads/{{ .ArtifactName }}"
	}
	return url + "/releases/download/{{ .Tag }}/{{ .ArtifactName }}"
}

// rename gives the module another path, wherever an import or a build names it.
func rename(old, module, dir string) error {
	if old == module {
		return nil
	}
	// A package's path stands behind a quote, a blank, a backquote or the like, never behind a
	// part of another path.
	path := regexp.MustCompile(`(^|[^\w./-])` + regexp.QuoteMeta(old) + `/(internal|cmd|test|bench)([/"'` + "`" + `\s.)])`)
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "dist", "dist-extra", "site"}, d.Name()) {
			return fs.SkipDir
		}
		ext := filepath.Ext(file)
		base := filepath.Base(file)
		if !d.Type().IsRegular() || !slices.Contains([]string{".go", ".md", ".nix", ".yaml", ".yml", ".sh", ".mod", ".txtar"}, ext) && base != "prepare" && base != "demo" && base != "record" {
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		done := path.ReplaceAll(data, []byte("${1}"+module+"/${2}${3}"))
		if base == "go.mod" && filepath.Dir(file) == filepath.Clean(dir) {
			done = bytes.Replace(done, []byte("module "+old+"\n"), []byte("module "+module+"\n"), 1)
		}
		if bytes.Equal(done, data) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, done, info.Mode().Perm()); err != nil {
			return err
		}
		if ext != ".go" {
			return nil
		}
		// Imports are sorted by their paths, which others have now.
		if out, err := exec.Command("gofmt", "-w", file).CombinedOutput(); err != nil {
			return fmt.Errorf("gofmt %s: %w\n%s", file, err, out)
		}
		return nil
	})
}

// between replaces what stands between two marks.
func between(s, begin, end, what string) string {
	head, rest, ok := strings.Cut(s, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return ""
	}
	return head + begin + what + end + tail
}

// setLine replaces the line that begins so, or what stands for it: the same commented out.
func setLine(s, begin, line string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, begin) || strings.HasPrefix(l, "# "+begin) {
			lines[i] = line
			return strings.Join(lines, "\n")
		}
	}
	return ""
}
