package history

import (
	"strings"
	"testing"
)

func TestCheckMessage(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"", "", ""},
		{"new certificates, OPS-412\n", "new certificates, OPS-412", ""},
		{`it's "quoted" & <b>`, `it's "quoted" & <b>`, ""},
		{"zażółć", "zażółć", ""},
		{strings.Repeat("a", MaxMessage), strings.Repeat("a", MaxMessage), ""},
		{strings.Repeat("a", MaxMessage+1), "", "has 1001 bytes, and may have 1000"},
		{"one\ntwo", "", "more than one line"},
		{"one\rtwo", "", "more than one line"},
		{"\x1b[31mred", "", "cannot be shown"},
		{"a\u202eb", "", "cannot be shown"},
		{"a\xffb", "", "cannot be shown"},
		{"a\tb", "", "cannot be shown"},
	} {
		got, err := CheckMessage(c.in)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
	}
}
