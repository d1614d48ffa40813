package faults

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets tests that wait for hosts of their own wait beside each other.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
