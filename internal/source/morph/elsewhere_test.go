package morph

import (
	"testing"

	"godwit/internal/source/sourcetest"
)

func TestOtherNix(t *testing.T) { sourcetest.OtherNix(t, "TestReuse", "TestReuseDerivations") }
