package colmena

import (
	"os"
	"testing"

	"godwit/internal/nix/nixtest"
)

func TestMain(m *testing.M) {
	nixtest.Main()
	os.Exit(m.Run())
}
