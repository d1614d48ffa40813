package cli

import (
	"strings"
	"testing"

	"godwit/internal/builder"
)

// TestBuilderTable: columns that nothing is known of are left out.
func TestBuilderTable(t *testing.T) {
	for _, c := range []struct {
		list []builder.Status
		want string
	}{
		{nil, ""},
		{[]builder.Status{{Name: "b", System: "aarch64-linux", State: "exited", Emulated: true, Image: "nix"}},
			"NAME  SYSTEM         STATE   SPEED     IMAGE\nb     aarch64-linux  exited  emulated  nix\n"},
		{[]builder.Status{{Name: "b", System: "x86_64-linux", State: "running", Nix: "2.34.7", StoreSize: 1 << 20, Image: "nix"}},
			"NAME  SYSTEM        STATE    SPEED   NIX     STORE    IMAGE\nb     x86_64-linux  running  native  2.34.7  1.0 MiB  nix\n"},
	} {
		var out, errs strings.Builder
		a := &app{stdout: &out, stderr: &errs}
		if err := a.printBuilders(c.list); err != nil || out.String() != c.want || (errs.String() != "") != (len(c.list) == 0) {
			t.Errorf("%v:\n%s%s", err, out.String(), errs.String())
		}
	}
}
