// Package closure compares two closures package by package, as a person would
// tell it: "nginx 1.26.1 → 1.26.2". It is pure: what the closures hold is read
// by others (internal/store).
package closure

import (
	"cmp"
	"slices"
	"strings"

	"godwit/internal/store"
)

// Path is a store path and the size of its contents.
type Path struct {
	Path string
	Size int64
}

// Of makes paths of what a store says.
func Of(infos []*store.Info) []Path {
	out := make([]Path, len(infos))
	for i, info := range infos {
		out[i] = Path{info.Path, info.NarSize}
	}
	return out
}

// Kind is how a package differs.
type Kind string

// Kinds of change.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	// Version: other versions than before.
	Version Kind = "version"
	// Rebuilt: the same versions (or none, as configuration files have), other contents.
	Rebuilt Kind = "rebuilt"
)

// Change is one package that differs.
type Change struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Old and New are versions that only one side has; all of them for an added
	// or removed package. A package without a version has none.
	Old []string `json:"old,omitempty"`
	New []string `json:"new,omitempty"`
	// Delta is by how many bytes the package grew.
	Delta int64 `json:"delta"`
	// OldPaths and NewPaths are the store paths that only one side has.
	OldPaths []string `json:"oldPaths,omitempty"`
	NewPaths []string `json:"newPaths,omitempty"`
}

// Versioned tells whether the change is about a package with a version, rather
// than about a file of the configuration.
func (c Change) Versioned() bool { return len(c.Old)+len(c.New) > 0 }

// Difference is how one closure differs from another.
type Difference struct {
	// Changes are sorted by name.
	Changes []Change `json:"changes"`
	OldSize int64    `json:"oldSize"`
	NewSize int64    `json:"newSize"`
	// Added and Removed count store paths.
	Added   int `json:"addedPaths"`
	Removed int `json:"removedPaths"`
}

// Empty tells whether the closures are the same.
func (d Difference) Empty() bool { return d.Added == 0 && d.Removed == 0 }

// Delta is by how many bytes the closure grew.
func (d Difference) Delta() int64 { return d.NewSize - d.OldSize }

// group is one package on one side.
type group struct {
	versions map[string]bool
	size     int64
	only     []string // paths that the other side lacks
	paths    int
}

// Diff compares two closures.
func Diff(before, after []Path) Difference {
	d := Difference{Changes: []Change{}} // in JSON a list, also when it is empty
	inOld, inNew := set(before), set(after)
	collect := func(paths []Path, other map[string]bool, size *int64, only *int) map[string]*group {
		groups := map[string]*group{}
		for _, p := range paths {
			name, version := Split(p.Path)
			g := groups[name]
			if g == nil {
				g = &group{versions: map[string]bool{}}
				groups[name] = g
			}
			if version != "" {
				g.versions[version] = true
			}
			g.size += p.Size
			g.paths++
			*size += p.Size
			if !other[p.Path] {
				g.only = append(g.only, p.Path)
				*only++
			}
		}
		return groups
	}
	olds := collect(before, inNew, &d.OldSize, &d.Removed)
	news := collect(after, inOld, &d.NewSize, &d.Added)
	for name, o := range olds {
		n := news[name]
		if n == nil {
			d.Changes = append(d.Changes, Change{Name: name, Kind: Removed, Old: sorted(o.versions, nil), Delta: -o.size, OldPaths: order(o.only)})
			continue
		}
		if len(o.only)+len(n.only) == 0 {
			continue
		}
		c := Change{
			Name: name, Kind: Rebuilt, Old: sorted(o.versions, n.versions), New: sorted(n.versions, o.versions),
			Delta: n.size - o.size, OldPaths: order(o.only), NewPaths: order(n.only),
		}
		if len(c.Old)+len(c.New) > 0 {
			c.Kind = Version
		}
		d.Changes = append(d.Changes, c)
	}
	for name, n := range news {
		if olds[name] == nil {
			d.Changes = append(d.Changes, Change{Name: name, Kind: Added, New: sorted(n.versions, nil), Delta: n.size, NewPaths: order(n.only)})
		}
	}
	slices.SortFunc(d.Changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

func set(paths []Path) map[string]bool {
	m := make(map[string]bool, len(paths))
	for _, p := range paths {
		m[p.Path] = true
	}
	return m
}

func order(paths []string) []string {
	slices.Sort(paths)
	return paths
}

// sorted are the versions of m that without lacks, oldest first.
func sorted(m, without map[string]bool) []string {
	var out []string
	for v := range m {
		if !without[v] {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, CompareVersions)
	return out
}

// outputs are names of outputs that end a store path's name. Nix does not
// write them apart from a version ("1.26.1-doc", "2024-unstable"), so only the
// names that Nixpkgs uses are known.
var outputs = []string{
	"bin", "data", "debug", "dev", "devdoc", "devman", "dist", "doc", "getent", "info", "installedTests", "jsonpp", "lib", "libgcc", "man",
	"modules", "nc", "out", "py", "scripts", "static", "terminfo", "udev", "zoneinfo",
}

// files are endings of files of a configuration: "10-lan.network" and
// "etc-60-local.conf" have no version, whatever Nix would say.
var files = []string{
	"conf", "ini", "json", "key", "link", "mount", "netdev", "network", "nft", "path", "pem", "rules", "service", "sh", "slice", "socket", "target",
	"timer", "toml", "txt", "xml", "yaml", "yml",
}

// Split takes a store path's name apart as Nix does: the version begins after
// the first dash that a digit follows. The name of an output is left out.
func Split(path string) (name, version string) {
	base := path[strings.LastIndexByte(path, '/')+1:]
	if len(base) > 33 && base[32] == '-' {
		base = base[33:] // the hash
	}
	if i := strings.LastIndexByte(base, '-'); i > 0 && slices.Contains(outputs, base[i+1:]) {
		base = base[:i]
	}
	if slices.Contains(files, base[strings.LastIndexByte(base, '.')+1:]) {
		return base, ""
	}
	for i := 1; i+1 < len(base); i++ {
		if base[i] == '-' && base[i+1] >= '0' && base[i+1] <= '9' {
			return base[:i], base[i+1:]
		}
	}
	return base, ""
}

// CompareVersions orders versions as Nix does: number by number and word by
// word; a word sorts before a number, "pre" before the end.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = component(a)
		y, b = component(b)
		if x == y {
			continue
		}
		if less(x, y) {
			return -1
		}
		if less(y, x) {
			return 1
		}
	}
	return 0
}

// component is the next run of digits or of other characters, without the
// dots and dashes before it.
func component(s string) (word, rest string) {
	s = strings.TrimLeft(s, ".-")
	if s == "" {
		return "", ""
	}
	number := digit(s[0])
	i := 1
	for i < len(s) && s[i] != '.' && s[i] != '-' && digit(s[i]) == number {
		i++
	}
	return s[:i], s[i:]
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func less(x, y string) bool {
	xn, yn := x != "" && digit(x[0]), y != "" && digit(y[0])
	switch {
	case xn && yn:
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		return len(x) < len(y) || len(x) == len(y) && x < y
	case x == "" && yn:
		return true
	case x == "pre" && y != "pre":
		return true
	case y == "pre":
		return false
	case yn: // a word against a number
		return true
	case xn:
		return false
	}
	return x < y
}
