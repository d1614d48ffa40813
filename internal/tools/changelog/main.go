// Command changelog assembles CHANGELOG.md from the files in changelog/unreleased.
//
//	changelog check             reads them all
//	changelog release VERSION   moves them into CHANGELOG.md, below VERSION and the date
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(".", os.Args[1:], time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "changelog:", err)
		os.Exit(1)
	}
}

// headings are the kinds of changes, in the order of a release.
var headings = []string{"Added", "Changed", "Fixed", "Removed", "Security"}

var version = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func run(dir string, args []string, now time.Time) error {
	switch {
	case len(args) == 1 && args[0] == "check":
		_, _, err := read(dir)
		return err
	case len(args) == 2 && args[0] == "release":
		return release(dir, args[1], now)
	}
	return fmt.Errorf("usage: changelog check | changelog release VERSION")
}

// read gives the entries of all files by heading, and the files.
func read(dir string) (map[string][]string, []string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "changelog/unreleased/*.md"))
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(files)
	all := map[string][]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, nil, err
		}
		heading := ""
		for i, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
			word, isHeading := strings.CutPrefix(line, "### ")
			switch {
			case isHeading && slices.Contains(headings, word):
				heading = word
			case isHeading:
				return nil, nil, fmt.Errorf("%s:%d: the heading is one of %s, not %s", f, i+1, strings.Join(headings, ", "), word)
			case strings.TrimSpace(line) == "":
			case heading == "":
				return nil, nil, fmt.Errorf("%s:%d: a change stands below a heading: ### %s", f, i+1, headings[0])
			case strings.HasPrefix(line, "- "):
				all[heading] = append(all[heading], line)
			case strings.HasPrefix(line, "  ") && len(all[heading]) > 0:
				n := len(all[heading]) - 1
				all[heading][n] += "\n" + line
			default:
				return nil, nil, fmt.Errorf("%s:%d: a change begins with a dash and goes on with two blanks", f, i+1)
			}
		}
	}
	return all, files, nil
}

func release(dir, v string, now time.Time) error {
	if !version.MatchString(v) {
		return fmt.Errorf("%s is not a version such as 1.2.0", v)
	}
	all, files, err := read(dir)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "CHANGELOG.md")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.Contains(string(data), "\n## "+v+" ") {
		return fmt.Errorf("%s has a release %s already", file, v)
	}
	// Before there were files, changes stood below "Unreleased" in CHANGELOG.md itself.
	head, rest, _ := strings.Cut(string(data), "\n## ")
	older := ""
	if own, after, ok := strings.Cut(rest, "\n## "); strings.HasPrefix(rest, "Unreleased") {
		older = strings.TrimSpace(strings.TrimPrefix(own, "Unreleased"))
		if rest = ""; ok {
			rest = after
		}
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(head, "\n") + "\n\n## " + v + " (" + now.Format(time.DateOnly) + ")\n")
	for _, h := range headings {
		if len(all[h]) > 0 {
			b.WriteString("\n### " + h + "\n\n" + strings.Join(all[h], "\n") + "\n")
		}
	}
	if older != "" {
		b.WriteString("\n" + older + "\n")
	}
	if len(files) == 0 && older == "" {
		return fmt.Errorf("nothing has changed: changelog/unreleased is empty")
	}
	if rest != "" {
		b.WriteString("\n## " + rest)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}
