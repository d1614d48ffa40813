// Command godwit deploys NixOS fleets from any laptop.
package main

import (
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/cli"
	"godwit/internal/secrets/onhost"
)

func main() {
	// On a host of its own architecture it may stand for what decrypts secrets there
	// (internal/secrets/ship).
	if strings.HasSuffix(filepath.Base(os.Args[0]), onhost.Name) {
		os.Exit(onhost.Main(os.Args[1:]))
	}
	os.Exit(cli.Main(os.Args[1:]))
}
