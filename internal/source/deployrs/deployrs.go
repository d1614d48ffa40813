// Package deployrs reads what deploy-rs deploys.
package deployrs

import (
	_ "embed" // deploy.nix
)

//go:embed deploy.nix
var deployNix string
