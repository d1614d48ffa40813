package hostscript

import "testing"

func TestAnswer(t *testing.T) {
	for out, want := range map[string]struct {
		said  string
		whole bool
	}{
		"":                                {"", false},
		"end\n":                           {"", true},
		"end":                             {"", true},
		"a b c\r\nd\n\nend\nx y\n":        {"a=b c;d=;=;", true},
		"a b\nending\n":                   {"a=b;ending=;", false},
		"log the end\nend of it\nen":      {"log=the end;end=of it;en=;", false},
		"boot 1\nlog  two  blanks \nend ": {"boot=1;log= two  blanks ;end=;", false},
	} {
		said, whole := "", true
		for name, value := range Answer(out, &whole) {
			said += name + "=" + value + ";"
		}
		if said != want.said || whole != want.whole {
			t.Errorf("%q: %q, %v", out, said, whole)
		}
	}
}
