// Package shell writes and reads words as a POSIX shell does.
package shell

import (
	"errors"
	"strings"
)

// Quote makes s one word of a POSIX shell.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Join quotes words for a POSIX shell, those that need it.
func Join(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = Word(w)
	}
	return strings.Join(q, " ")
}

// Word makes s one word, quoted where it must be.
func Word(s string) string {
	if s == "" {
		return "''"
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("@%+=:,./-_", r):
		default:
			return Quote(s)
		}
	}
	return s
}

// Split splits s as a shell does, without any expansion: blanks separate,
// single quotes, double quotes and backslashes keep.
func Split(s string) ([]string, error) {
	var words []string
	var b strings.Builder
	in := false // inside a word
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case ' ', '\t', '\n', '\r':
			if in {
				words = append(words, b.String())
				b.Reset()
				in = false
			}
		case '\'':
			in = true
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("a single quote is not closed")
			}
			b.WriteString(s[i+1 : i+1+end])
			i += end + 1
		case '"':
			in = true
			for i++; ; i++ {
				if i >= len(s) {
					return nil, errors.New("a double quote is not closed")
				}
				if s[i] == '"' {
					break
				}
				if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`\n", s[i+1]) >= 0 {
					i++
					if s[i] == '\n' {
						continue
					}
				}
				b.WriteByte(s[i])
			}
		case '\\':
			if i+1 == len(s) {
				return nil, errors.New("a backslash at the end")
			}
			in = true
			i++
			if s[i] != '\n' {
				b.WriteByte(s[i])
			}
		default:
			in = true
			b.WriteByte(c)
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words, nil
}
