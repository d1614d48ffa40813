package deployrs

import (
	"testing"

	"godwit/internal/source/sourcetest"
)

func TestOtherNix(t *testing.T) {
	sourcetest.OtherNix(t, "TestContract", "TestRefused", "TestFlake", "TestFile")
}
