package morph

import (
	"testing"

	"godwit/internal/source/sourcetest"
)

// TestOtherNix: newer versions of Nix list of a directory only what may be read below it.
func TestOtherNix(t *testing.T) { sourcetest.OtherNix(t, "TestReuse") }
