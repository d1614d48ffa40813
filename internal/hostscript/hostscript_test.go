package hostscript

import (
	"os/exec"
	"strings"
	"testing"
)

// What Text lets through is what a shell reads, whatever the shell.
func TestText(t *testing.T) {
	v := Variables{"B": "a@*.service x~,=:?+/._-", "A": "", "C": "/nix/store/abc-nixos"}
	text, err := v.Text()
	if err != nil || text != "A=''\nB='a@*.service x~,=:?+/._-'\nC='/nix/store/abc-nixos'\n" {
		t.Errorf("%q, %v", text, err)
	}
	for _, sh := range []string{"dash", "bash"} {
		out, err := exec.Command(sh, "-c", Compound(text, `printf '%s|' "$A" "$B" "$C"`)).Output()
		if err != nil || string(out) != "|"+v["B"]+"|"+v["C"]+"|" {
			t.Errorf("%s: %q, %v", sh, out, err)
		}
	}
	for _, bad := range []string{"it's", "a\nb", "$x", "`x`", "a;b", `a"b`, `a\b`, "ä"} {
		if text, err := (Variables{"REASON": bad}).Text(); err == nil || !strings.Contains(err.Error(), "reason has characters") {
			t.Errorf("%q passes as %q, %v", bad, text, err)
		}
	}
}

// Words makes something of any reason that Text lets through.
func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"page: Failed (exit 1); it's \"odd\"\n": "page: Failed exit 1 it s odd",
		"größer $x":                             "gr??er ?x",
		strings.Repeat("x", 300):                strings.Repeat("x", 200),
		"":                                      "",
	} {
		got := Words(in)
		if got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
		if _, err := (Variables{"REASON": got}).Text(); err != nil {
			t.Error(err)
		}
	}
}

func TestNewID(t *testing.T) {
	a, b := NewID(), NewID()
	if a == b || a[:8] > b[:8] || len(a) != len("20060102T150405-abcdef") {
		t.Error(a, b)
	}
}
