package all

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/regular"
)

const (
	belowMost    = 3    // places that are named
	belowDepth   = 2    // folders below
	belowEntries = 2000 // names that are looked at
)

// nearby says what of dir and the folders below it may have been meant, where nothing
// was found in dir itself.
func nearby(f *fault.Error, dir string) *fault.Error {
	names := []string{"flake.nix"}
	for _, d := range Dialects {
		names = append(names, d.Files...)
	}
	seen, found := 0, 0
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if seen++; err != nil || seen > belowEntries || found == belowMost {
			return fs.SkipAll
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if e.IsDir() {
			if strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" || strings.Count(rel, "/") >= belowDepth {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case !e.Type().IsRegular():
		case !strings.Contains(rel, "/"):
			if !slices.Contains(names, rel) && strings.HasSuffix(rel, ".nix") && looksLike(path) {
				f.Hint("%s may be one: -f %s", rel, rel)
				found++
			}
		case e.Name() == "flake.nix":
			f.Hint("there is %s: --flake ./%s", rel, filepath.Dir(rel))
			found++
		case slices.Contains(names, e.Name()):
			f.Hint("there is %s: -f %s", rel, rel)
			found++
		}
		return nil
	})
	return f
}

// says are words that only files of whole fleets have.
var says = regexp.MustCompile(`(?m)\bnetwork\s*[.=]|\bmeta\s*[.=]|\bdeploy\.nodes\b`)

// looksLike tells a file of hosts from modules and packages, by its words.
func looksLike(path string) bool {
	st, err := os.Stat(path)
	if err != nil || st.Size() > 1<<20 {
		return false
	}
	text, err := regular.Read(path, 1<<20)
	return err == nil && says.Match(text)
}
