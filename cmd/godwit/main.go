// Command godwit deploys NixOS fleets from any laptop.
package main

import (
	"os"

	"godwit/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:]))
}
