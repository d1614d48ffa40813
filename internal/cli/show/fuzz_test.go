package show

import (
	"encoding/json"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/history"
	"godwit/internal/ui"
	"godwit/internal/ui/text/texttest"
)

// FuzzHistory takes in rows of histories that others wrote, here and on hosts, and
// shows them.
func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"id":"20261103T100412-4f2a91","result":"rolled-back","reason":"x\u001b[2J","user":"a","deployer":"b","commit":"c","old":"/nix/store/a","new":"/nix/store/b"}`))
	f.Add([]byte(`{"host":"web","outcome":"failed","started":"0001-01-01T00:00:00Z","seconds":-1e300,"log":"a\nb\u202e","commit":"abcdefg"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r activate.Record
		var e history.Entry
		var entries []history.Entry
		if json.Unmarshal(b, &r) == nil {
			entries = append(entries, history.FromRecord("web", r))
		}
		if json.Unmarshal(b, &e) == nil {
			entries = append(entries, e)
		}
		merged := history.Merge(entries, entries)
		var out strings.Builder
		w := ui.NewStdout(&out, nil)
		for _, width := range []int{0, 10, 80} {
			_, _ = w.Write([]byte(History(width, merged)))
		}
		for _, e := range merged {
			_, _ = w.Write([]byte(Deployment(e)))
			e.Duration()
		}
		if err := texttest.Harmless(out.String()); err != nil {
			t.Error(err)
		}
	})
}
