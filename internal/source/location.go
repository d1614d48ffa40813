package source

import (
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/flakeref"
)

// Location is where a configuration is: a file, or an attribute of a flake's outputs.
type Location struct {
	// Dialect is the name of the dialect that reads it.
	Dialect string
	// File is the absolute path of the deployment file; "" for a flake.
	File string
	// Flake is a reference to a flake as Nix takes it, with the path of a local one
	// absolute; "" for a file. Attr is the attribute of its outputs that holds the
	// hosts, such as "colmenaHive".
	Flake, Attr string
	// Locked is the flake as it was found, with everything that it depends on; nil
	// before it was looked at, and for a file.
	Locked *flakeref.Locked
	// Given is what a person typed, for hints that can be typed again; "" when it
	// was found.
	Given string
}

// Key names the configuration in plans, records and memory: the absolute path of a
// file, or the flake's reference with its attribute.
func (l Location) Key() string {
	if l.Flake == "" {
		return l.File
	}
	return l.Flake + "#" + l.Attr
}

// Dir is where relative paths of the configuration begin and where its git work tree
// is looked for; "" when it is not on this machine.
func (l Location) Dir() string {
	if l.Flake == "" {
		return filepath.Dir(l.File)
	}
	if l.Locked != nil {
		if l.Locked.Dir == "" {
			return ""
		}
		return filepath.Join(l.Locked.Dir, l.Locked.Subdir)
	}
	return localFlake(l.Flake)
}

// Path is the file or the directory that the configuration begins with; "" when it is
// not on this machine.
func (l Location) Path() string {
	if l.Flake == "" {
		return l.File
	}
	if dir := l.Dir(); dir != "" {
		return filepath.Join(dir, "flake.nix")
	}
	return ""
}

// ParseKey gives the location that Key named; the dialect is not known.
func ParseKey(key string) Location {
	if ref, attr, ok := strings.Cut(key, "#"); ok {
		return Location{Flake: ref, Attr: attr}
	}
	return Location{File: key}
}

// localFlake is the directory of a flake on this machine; "" for one elsewhere.
func localFlake(ref string) string {
	for _, scheme := range []string{"path:", "git+file://", "git+file:"} {
		if rest, ok := strings.CutPrefix(ref, scheme); ok {
			ref = rest
			break
		}
	}
	path, query, _ := strings.Cut(ref, "?")
	if !filepath.IsAbs(path) {
		return ""
	}
	for _, q := range strings.Split(query, "&") {
		if dir, ok := strings.CutPrefix(q, "dir="); ok {
			path = filepath.Join(path, dir)
		}
	}
	return path
}

// Name is what messages call the configuration: as it was typed, or as short as it
// can be typed from here.
func (l Location) Name() string {
	switch {
	case l.Given != "":
		return l.Given
	case l.Flake == "":
		return Here(l.File)
	}
	ref := l.Flake
	if filepath.IsAbs(ref) {
		if ref = Here(ref); !strings.HasPrefix(ref, "/") && !strings.HasPrefix(ref, ".") {
			ref = "./" + ref
		}
	}
	return ref
}

// String is the one line that a run begins with: "colmena: hive.nix".
func (l Location) String() string {
	if l.Flake != "" && l.Attr != "" {
		ref, _, _ := strings.Cut(l.Name(), "#")
		return l.Dialect + ": " + ref + "#" + l.Attr
	}
	return l.Dialect + ": " + l.Name()
}

// Here is a path as it is typed from the current directory: relative when it is
// below it or not far above.
func Here(path string) string {
	if wd, err := os.Getwd(); err == nil {
		rel, err := filepath.Rel(wd, path)
		if up := strings.Count(rel, "../"); err == nil && up <= 2 && up < strings.Count(wd, "/") {
			return rel
		}
	}
	return path
}
