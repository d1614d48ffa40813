package morph

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/source"
)

// foreign are options of NixOps, of colmena and of a fork that networks still have.
func foreign(option string) string {
	name, ok := strings.CutPrefix(option, "deployment.")
	name, _, _ = strings.Cut(name, ".")
	switch {
	case !ok:
	case name == "keys":
		return "deployment.keys is NixOps' and colmena's: --dialect colmena reads them; morph's are deployment.secrets"
	case name == "nixPath", name == "importPath":
		return "deployment." + name + " is an option of a fork of morph: leave it out"
	case slices.Contains([]string{"targetEnv", "alwaysActivate", "owners", "storeKeysOnMachine", "provisionSSHKey", "hasFastConnection", "sshKeyPair", "encryptedLinksTo",
		"none", "container", "ec2", "gce", "azure", "hetzner", "libvirtd", "virtualbox", "digitalOcean", "packet", "vultr"}, name):
		return "deployment." + name + " is an option of NixOps, which made machines: leave it out; deployment.targetHost stays"
	}
	return ""
}

// notANetwork says what a file is that is no morph network, and what to do with
// it. kind is network.nix's word; args are the names that a function wants.
func notANetwork(at source.Location, kind string, args []string) error {
	file := at.File
	is := func(format string, a ...any) *fault.Error {
		return fault.New("'%s' is %s; godwit takes a set of machines (morph's network or colmena's hive), or a flake", file, fmt.Sprintf(format, a...))
	}
	module := func(f *fault.Error) error {
		return f.Hint("write a network.nix beside it: { HOST = { imports = [ ./%s ]; deployment.targetHost = \"ADDRESS\"; }; }", filepath.Base(file))
	}
	switch kind {
	case "flake":
		return is("a flake").Hint("name it as one: --flake %s", filepath.Dir(file))
	case "hive":
		return is("a colmena hive").Hint("--dialect colmena reads it")
	case "nixops":
		return is("a NixOps network").
			Hint("leave out network.storage, network.enableRollback and network.nixpkgs (network.pkgs takes an instance of nixpkgs)").
			Hint("deployment.targetHost stays; leave out deployment.targetEnv, and make deployment.secrets of deployment.keys")
	case "deploy":
		return is("a deploy-rs file").Hint("--dialect deploy-rs reads it as it is")
	case "module":
		return module(is("a NixOS module, the configuration of one machine"))
	}
	if slices.ContainsFunc(args, func(a string) bool {
		return slices.Contains([]string{"config", "lib", "pkgs", "modulesPath", "options"}, a)
	}) {
		return module(is("a NixOS module, the configuration of one machine"))
	}
	call := "{ }"
	if len(args) > 0 {
		call = "{ " + strings.Join(args, " = …; ") + " = …; }"
	}
	return is("a function").Hint("write a file that calls it: import ./%s %s", filepath.Base(file), fault.Raw(call))
}
