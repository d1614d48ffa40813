package action

import (
	"godwit/internal/activate"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"testing"
)

func TestByHost(t *testing.T) {
	entries := []history.Entry{{Host: "web1"}, {Host: "db"}, {Host: "web2"}}
	got, err := byHost(entries, []string{"web*"})
	if err != nil || len(got) != 2 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := byHost(entries, []string{"{"}); err == nil {
		t.Error("{ is a pattern")
	}
}

func TestOthersOf(t *testing.T) {
	f := hoststate.Facts{Records: []activate.Record{{}, {Profiles: []activate.RecordProfile{{Name: "app"}, {Name: "system"}}}}}
	if got := othersOf(f); len(got) != 1 || got[0] != "app" {
		t.Errorf("%v", got)
	}
}
