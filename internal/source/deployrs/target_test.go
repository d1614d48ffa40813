package deployrs

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for fragment, want := range map[string]Target{
		"":                         {},
		"web":                      {Node: "web"},
		"web.system":               {Node: "web", Profile: "system"},
		`"web.example".system`:     {Node: "web.example", Profile: "system"},
		`"web.example"."a.b"`:      {Node: "web.example", Profile: "a.b"},
		`web."a\"b"`:               {Node: "web", Profile: `a"b`},
		`web-1_x'.home-manager`:    {Node: "web-1_x'", Profile: "home-manager"},
		`"with a blank"`:           {Node: "with a blank"},
		`"back\\slash".a`:          {Node: `back\slash`, Profile: "a"},
		`"quoted".unquoted-at-end`: {Node: "quoted", Profile: "unquoted-at-end"},
	} {
		if got, err := ParseTarget(fragment); err != nil || got != want {
			t.Errorf("%s: %+v %v", fragment, got, err)
		}
	}
	for fragment, want := range map[string]string{
		"a.b.c":    "has 3 parts",
		".":        "a part is empty",
		"a.":       "a part is empty",
		"a..b":     "a part is empty",
		`""`:       "a part is empty",
		`"a`:       "a quote is open",
		`"a\`:      "a quote is open",
		`"a"b`:     "right behind a quote",
		`a"b"`:     "has to be quoted",
		"a b":      "has to be quoted",
		`web."a".`: "a part is empty",
	} {
		if got, err := ParseTarget(fragment); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v %v", fragment, got, err)
		}
	}
}

// What was read is written again, and read as the same.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"", "web", "web.system", `"a.b".c`, `"a\"b"`, `"\\"`, "a.b.c", `"`} {
		f.Add(s)
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTarget(s)
		if err != nil || got == (Target{}) {
			return
		}
		text := `"` + quote.Replace(got.Node) + `"`
		if got.Profile != "" {
			text += `."` + quote.Replace(got.Profile) + `"`
		}
		if again, err := ParseTarget(text); err != nil || again != got {
			t.Fatalf("%q is %+v, which is written %q, which is %+v %v", s, got, text, again, err)
		}
	})
}
