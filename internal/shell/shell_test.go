package shell_test

import (
	"os/exec"
	"strings"
	"testing"

	"godwit/internal/shell"
)

// What is quoted comes out of a real shell, and of Split, as it was.
func FuzzWord(f *testing.F) {
	for _, s := range []string{"", "plain", "a b", "'", "a'b\"c\\d", "$(touch x)", "`id`", "a;b", "*", "~", "-n", "line\nbreak", "\x1b[31m", "é", "a=b", "!x", "#x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") {
			return
		}
		words, err := shell.Split(shell.Word(s) + " end")
		if err != nil || len(words) != 2 || words[0] != s {
			t.Fatalf("%q: %q, %v", s, words, err)
		}
		out, err := exec.Command("sh", "-c", "printf '%s' "+shell.Word(s)).Output()
		if err != nil || string(out) != s {
			t.Fatalf("%q became %q, %v", s, out, err)
		}
	})
}
