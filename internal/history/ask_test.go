package history

import "testing"

func TestByHost(t *testing.T) {
	entries := []Entry{{Host: "web1"}, {Host: "db"}, {Host: "web2"}}
	got, err := ByHost(entries, []string{"web*"})
	if err != nil || len(got) != 2 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := ByHost(entries, []string{"{"}); err == nil {
		t.Error("{ is a pattern")
	}
}
