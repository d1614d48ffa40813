package fault_test

import (
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/shell"
)

// A hint is typed: whatever is put into it is one word.
func TestHintsAreQuoted(t *testing.T) {
	name := "a; touch '/tmp/x' $(id).service"
	f := fault.New("it failed").Hint("journalctl -u %s -n %d", name, 5).Hint("%v", name).Hint("%s web1", fault.Raw("godwit status")).Hint("%s", fault.Command("ls", "-l", name)).
		Hint("set %q", name)
	words, err := shell.Split(f.Hints[0])
	if err != nil || len(words) != 5 || words[2] != name {
		t.Errorf("%s: %q, %v", f.Hints[0], words, err)
	}
	for i, want := range []string{f.Hints[0], shell.Word(name), "godwit status web1", "ls -l " + shell.Word(name), `set "` + name + `"`} {
		if f.Hints[i] != want {
			t.Errorf("%s", f.Hints[i])
		}
	}
	if got := fault.New("x").Hint("godwit status %s", "web1.example.com").Hints[0]; strings.Contains(got, "'") {
		t.Error(got)
	}
}

func TestHostIsNamedOnce(t *testing.T) {
	inner := fault.New("it is full").On("web1")
	if got := fault.New("%w", inner).On("web1").Error(); got != "web1: it is full" {
		t.Error(got)
	}
}
