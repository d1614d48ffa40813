package all

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for path, want := range map[string][]string{
		"web":                       {"web"},
		"web.system":                {"web", "system"},
		"a.b.c":                     {"a", "b", "c"},
		`"web.example".system`:      {"web.example", "system"},
		`web."a\"b"`:                {"web", `a"b`},
		`"with a blank"`:            {"with a blank"},
		`"back\\slash".a`:           {`back\slash`, "a"},
		`web-1_x'.home-manager@web`: {"web-1_x'", "home-manager@web"},
	} {
		if got, err := split(path); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
	for path, want := range map[string]string{
		".":        "a part is empty",
		"a.":       "a part is empty",
		"a..b":     "a part is empty",
		`""`:       "a part is empty",
		`"a`:       "a quote is not closed",
		`"a\`:      "a quote is not closed",
		`"a"b`:     "right behind a quote",
		`a"b"`:     "has to be quoted",
		"a b":      "has to be quoted",
		`web."a".`: "a part is empty",
	} {
		if got, err := split(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
}

// What was read is written again, and read as the same.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "web", "web.system", `"a.b".c`, `"a\"b"`, `"\\"`, "a.b.c", `"`} {
		f.Add(s)
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := split(s)
		if err != nil || len(got) == 0 {
			return
		}
		var parts []string
		for _, p := range got {
			parts = append(parts, `"`+quote.Replace(p)+`"`)
		}
		if again, err := split(strings.Join(parts, ".")); err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q is %q, which is written %q, which is %q %v", s, got, parts, again, err)
		}
	})
}
