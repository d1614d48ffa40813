package fault

import (
	"errors"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	long := New("boom \u009d0;t\u202e %s", strings.Repeat("x", 66<<10)).On("web\x1b[31m1").
		Detail(strings.Repeat("y", 66<<10), "two\x1b]0;t\x07lines\nin one").Hint("type \x1b[5mthis\r\n")
	for range 1000 {
		long.Detail("more")
	}
	got := Render(errors.Join(errors.New("first\nof many\u2066 lines\a"), long))
	for i, l := range strings.Split(got, "\n") {
		if len(l) > 5000 {
			t.Errorf("line %d has %d bytes", i, len(l))
		}
	}
	if n := strings.Count(got, "\n"); n > 2*MostLines {
		t.Errorf("%d lines", n)
	}
	for _, want := range []string{"error: first\n  of many\\u2066 lines\n", `error: web1: boom \u009d0;t\u202e x`, "x… (62 KiB more)\n", "y… (62 KiB more)\n",
		"  twolines in one\n", "  … (902 lines left out)\n", "hint: type this\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, strings.ReplaceAll(strings.ReplaceAll(got, "xx", ""), "yy", ""))
		}
	}
	long.Whole = true
	if got := Render(long); strings.Contains(got, "left out") || strings.Count(got, "more\n") != 1000 {
		t.Error("not whole")
	}
}
