package nixos

import (
	"path"
	"strings"

	"godwit/internal/nar"
	"godwit/internal/profile"
	"godwit/internal/storepath"
)

// Fetch looks at a system that is in another store than the host's: at its parts, and at
// its unit files.
func (s *Seen) Fetch(system string, read func(string) (nar.Tree, bool)) {
	top, ok := read(system)
	if !ok {
		return
	}
	s.New = System{Path: system, Parts: map[string]string{}, Prints: map[string]string{}}
	for _, part := range []string{profile.Kernel, profile.Initrd, profile.Modules, profile.Init} {
		s.New.Parts[part] = top[part].Target
	}
	s.New.Version = strings.TrimSpace(string(top["nixos-version"].Contents))
	s.New.elsewhere = true
	s.New.Units = unitFiles(top, read)
}

// unitFiles are the links in the folder of unit files, which other links lead to: etc ->
// …-etc/etc, etc/systemd/system -> …-system-units. nil: it cannot be read.
func unitFiles(top nar.Tree, read func(string) (nar.Tree, bool)) map[string]string {
	at, inside := top, "etc/systemd/system"
	units := map[string]string{}
	for range 8 {
		if prefix, target, rest, found := linkOn(at, inside); found {
			if !strings.HasPrefix(target, "/") {
				inside = path.Join(path.Dir(prefix), target, rest)
				continue
			}
			p := storepath.Top(target)
			var ok bool
			if at, ok = read(p); !ok {
				return nil
			}
			inside = strings.TrimPrefix(path.Join(strings.TrimPrefix(target, p), rest), "/")
			continue
		}
		for name, n := range at {
			if n.Kind != nar.Symlink {
				continue
			}
			dir, base := path.Split(name)
			if strings.TrimSuffix(dir, "/") == inside {
				units[base] = n.Target
			}
		}
		break
	}
	return units
}

// linkOn finds the first link on the way to p.
func linkOn(t nar.Tree, p string) (prefix, target, rest string, found bool) {
	if n, ok := t[""]; ok && n.Kind == nar.Symlink {
		return "", n.Target, p, true
	}
	words := strings.Split(p, "/")
	for i := range words {
		prefix = strings.Join(words[:i+1], "/")
		if n, ok := t[prefix]; ok && n.Kind == nar.Symlink {
			return prefix, n.Target, strings.Join(words[i+1:], "/"), true
		}
	}
	return "", "", "", false
}
