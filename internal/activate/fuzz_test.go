package activate

import (
	"testing"

	"godwit/internal/fault"
	"godwit/internal/host/hosttest"
	"godwit/internal/ui/text/texttest"
)

// FuzzStatus reads what a host says of itself, of a deployment under way, and of
// those that ended.
func FuzzStatus(f *testing.F) {
	f.Add([]byte("::godwit fact current /nix/store/00000000000000000000000000000000-a\n::godwit fact free /run 100 99\n::godwit fact phase activating\n::godwit fact lease 17 9\n::godwit refused x y\n::godwit end\n"))
	f.Add([]byte(`{"id":"20261103T100412-4f2a91","result":"confirmed","started":1,"ended":99999999999999999,"old":"/nix/store/x","commit":"a"}` + "\n{\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, d, err := Status(t.Context(), hosttest.Says("web", b), "web")
		if err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
		}
		_ = d
		records, _ := History(t.Context(), hosttest.Says("web", b), "web", 100)
		for _, r := range records {
			if r.ID == "" {
				t.Error("a record of nothing")
			}
		}
	})
}
