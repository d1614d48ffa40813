package deployrs

import (
	"strings"

	"godwit/internal/fault"
)

// Target is what deploy-rs calls a target: a node, and one of its profiles.
type Target struct {
	Node    string // "": all nodes
	Profile string // "": all profiles of the node
}

// ParseTarget reads what stands behind the # of a reference: "", NODE or NODE.PROFILE.
// A part with dots is quoted as Nix does it: "web.example".system.
func ParseTarget(fragment string) (Target, error) {
	parts, err := split(fragment)
	if err != nil {
		return Target{}, fault.New("'%s' names no node: %w", fragment, err).
			Hint("a target is NODE or NODE.PROFILE; a name with dots is quoted: '\"web.example\".system'")
	}
	switch len(parts) {
	case 0:
		return Target{}, nil
	case 1:
		return Target{Node: parts[0]}, nil
	case 2:
		return Target{Node: parts[0], Profile: parts[1]}, nil
	}
	return Target{}, fault.New("'%s' has %d parts; a target is NODE or NODE.PROFILE", fragment, len(parts)).
		Hint("a name with dots is quoted: '%q.%s'", strings.Join(parts[:len(parts)-1], "."), parts[len(parts)-1])
}

// split takes an attribute path apart.
func split(path string) ([]string, error) {
	var parts []string
	for rest := path; rest != ""; {
		var part string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			part, rest, ok = unquote(quoted)
			if !ok {
				return nil, fault.New("a quote is open")
			}
			if rest != "" && rest[0] != '.' {
				return nil, fault.New("'%s' stands right behind a quote", rest)
			}
		} else {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				i = len(rest)
			}
			part, rest = rest[:i], rest[i:]
			if strings.ContainsAny(part, `"\ `+"\t\n") {
				return nil, fault.New("'%s' has to be quoted", part)
			}
		}
		if part == "" {
			return nil, fault.New("a part is empty")
		}
		parts = append(parts, part)
		var more bool
		if rest, more = strings.CutPrefix(rest, "."); more && rest == "" {
			return nil, fault.New("a part is empty")
		}
	}
	return parts, nil
}

// unquote reads up to the quote that ends a part.
func unquote(s string) (part, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
