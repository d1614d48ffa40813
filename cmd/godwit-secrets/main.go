//go:build linux

// Command godwit-secrets is what decrypts secrets on a host (internal/secrets/onhost). It
// is small, static, and comes to the host with them.
package main

import (
	"os"

	"godwit/internal/secrets/onhost"
)

func main() {
	os.Exit(onhost.Main(os.Args[1:]))
}
