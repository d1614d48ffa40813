package ssh_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets tests that wait for hosts wait together.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "100"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
