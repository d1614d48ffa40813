package all

import (
	"errors"
	"fmt"
	"strings"
)

// split takes an attribute path apart: names with dots are in double quotes, as in Nix.
func split(path string) (parts []string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s is not HOST, HOST.PROFILE or OUTPUT.HOST: %w (a name with dots is quoted: '\"a.b\".c')", path, err)
		}
	}()
	for rest := path; rest != ""; {
		var part string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			part, rest, ok = unquote(quoted)
			if !ok {
				return nil, errors.New("a quote is not closed")
			}
			if rest != "" && rest[0] != '.' {
				return nil, fmt.Errorf("'%s' stands right behind a quote", rest)
			}
		} else {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				i = len(rest)
			}
			part, rest = rest[:i], rest[i:]
			if strings.ContainsAny(part, `"\ `+"\t\n") {
				return nil, fmt.Errorf("'%s' has to be quoted", part)
			}
		}
		if part == "" {
			return nil, errors.New("a part is empty")
		}
		parts = append(parts, part)
		var more bool
		if rest, more = strings.CutPrefix(rest, "."); more && rest == "" {
			return nil, errors.New("a part is empty")
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
