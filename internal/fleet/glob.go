package fleet

import (
	"fmt"
	"regexp"
	"strings"
)

// Glob matches names as morph's --on does (github.com/gobwas/glob without
// separators): `*` is any run of characters, `?` one character, `[abc]`,
// `[a-z]` and `[!a]` one of a set, `{a,b*}` one of several patterns, and a
// backslash takes the next character as it is.
type Glob struct {
	pattern string
	re      *regexp.Regexp
	literal bool
}

// CompileGlob reads a pattern.
func CompileGlob(pattern string) (*Glob, error) {
	g := &Glob{pattern: pattern, literal: !strings.ContainsAny(pattern, `*?[{\`)}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	depth := 0
	rs := []rune(pattern)
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; {
		case r == '\\':
			i++
			if i == len(rs) {
				return nil, fmt.Errorf("nothing follows the backslash at its end")
			}
			b.WriteString(regexp.QuoteMeta(string(rs[i])))
		case r == '*':
			b.WriteString(`.*`)
		case r == '?':
			b.WriteString(`.`)
		case r == '{':
			depth++
			b.WriteString(`(?:`)
		case r == '}' && depth > 0:
			depth--
			b.WriteString(`)`)
		case r == ',' && depth > 0:
			b.WriteString(`|`)
		case r == '[':
			end, class, err := class(rs[i+1:])
			if err != nil {
				return nil, err
			}
			b.WriteString(class)
			i += end
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("a '{' is not closed")
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("it cannot be read")
	}
	g.re = re
	return g, nil
}

// class reads the inside of [...] and says how many runes it took, with the "]".
func class(rs []rune) (int, string, error) {
	var b strings.Builder
	b.WriteString("[")
	i := 0
	if i < len(rs) && rs[i] == '!' {
		b.WriteString("^")
		i++
	}
	member := func(r rune) string {
		if strings.ContainsRune(`\]^[-&~`, r) {
			return `\` + string(r)
		}
		return string(r)
	}
	take := func() (rune, bool) {
		if i < len(rs) && rs[i] == '\\' {
			i++
		}
		if i >= len(rs) {
			return 0, false
		}
		i++
		return rs[i-1], true
	}
	empty := true
	for i < len(rs) && rs[i] != ']' {
		lo, ok := take()
		if !ok {
			break
		}
		empty = false
		if i+1 < len(rs) && rs[i] == '-' && rs[i+1] != ']' {
			i++
			hi, ok := take()
			if !ok {
				break
			}
			if hi < lo {
				return 0, "", fmt.Errorf("the range %c-%c is empty", lo, hi)
			}
			b.WriteString(member(lo) + "-" + member(hi))
			continue
		}
		b.WriteString(member(lo))
	}
	if i >= len(rs) {
		return 0, "", fmt.Errorf("a '[' is not closed")
	}
	if empty {
		return 0, "", fmt.Errorf("there is nothing between '[' and ']'")
	}
	b.WriteString("]")
	return i + 1, b.String(), nil
}

// Match says whether the whole name matches.
func (g *Glob) Match(name string) bool {
	if g.literal {
		return name == g.pattern
	}
	return g.re.MatchString(name)
}

// Literal says whether the pattern is a plain name.
func (g *Glob) Literal() bool { return g.literal }
