package convert

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"godwit/internal/nix"
)

// What a Nix value is written from: a set, a list, or a word, which is its text.
type (
	set  map[string]any
	list []any
	word string
)

func quote(s string) word { return word(nix.Quote(s)) }

func words(all []string) list {
	out := list{}
	for _, w := range all {
		out = append(out, quote(w))
	}
	return out
}

// What is not said is not written.

func (s set) text(key, value string) {
	if value != "" {
		s[key] = quote(value)
	}
}

func (s set) words(key string, value []string) {
	if len(value) > 0 {
		s[key] = words(value)
	}
}

func (s set) number(key string, value int) {
	if value != 0 {
		s[key] = word(fmt.Sprint(value))
	}
}

func (s set) truth(key string, value bool) {
	if value {
		s[key] = word("true")
	}
}

// plainName is a name that needs no quotes and is no keyword of Nix.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_'-]*$`)

var keywords = []string{"assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"}

func name(s string) string {
	if plainName.MatchString(s) && !slices.Contains(keywords, s) {
		return s
	}
	return nix.Quote(s)
}

// write writes a value; indent is that of the line it begins on.
func write(b *strings.Builder, v any, indent string) {
	switch v := v.(type) {
	case word:
		b.WriteString(string(v))
	case list:
		if len(v) == 0 {
			b.WriteString("[ ]")
			return
		}
		flat := !slices.ContainsFunc(v, func(x any) bool { _, ok := x.(word); return !ok })
		b.WriteString("[")
		for _, x := range v {
			if flat {
				b.WriteString(" ")
				write(b, x, indent)
				continue
			}
			b.WriteString("\n" + indent + "  ")
			write(b, x, indent+"  ")
		}
		if flat {
			b.WriteString(" ]")
		} else {
			b.WriteString("\n" + indent + "]")
		}
	case set:
		if len(v) == 0 {
			b.WriteString("{ }")
			return
		}
		b.WriteString("{\n")
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b.WriteString(indent + "  " + name(key) + " = ")
			write(b, v[key], indent+"  ")
			b.WriteString(";\n")
		}
		b.WriteString(indent + "}")
	}
}
