package hoststate

import (
	"testing"

	"godwit/internal/activate"
)

func TestOthers(t *testing.T) {
	f := Facts{Records: []activate.Record{{}, {Profiles: []activate.RecordProfile{{Name: "app"}, {Name: "system"}}}}}
	if got := f.Others(); len(got) != 1 || got[0] != "app" {
		t.Errorf("%v", got)
	}
}
