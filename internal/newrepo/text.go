package newrepo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"godwit/internal/nix"
)

// printable tells whether s has only letters that a person sees, in one line.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func quoted(list []string) string {
	out := "["
	for _, s := range list {
		out += " " + nix.Quote(s)
	}
	return out + " ]"
}

// Nix is the hardware as a NixOS module.
func (h Hardware) Nix() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# What the machine is made of, as it was found. Written by `godwit init`.")
	line("{ config, lib, modulesPath, ... }:\n{")
	if len(h.Profiles) > 0 {
		line("  imports = [")
		for _, p := range h.Profiles {
			line("    (modulesPath + %s)", nix.Quote("/"+p))
		}
		line("  ];")
	}
	line("  nixpkgs.hostPlatform = lib.mkDefault %s;", nix.Quote(h.Platform))
	if h.Container {
		line("  boot.isContainer = true;")
	}
	for _, l := range []struct {
		name string
		list []string
	}{
		{"boot.initrd.availableKernelModules", h.Available}, {"boot.initrd.kernelModules", h.Initrd}, {"boot.kernelModules", h.Modules},
	} {
		if len(l.list) > 0 {
			line("  %s = %s;", l.name, quoted(l.list))
		}
	}
	if len(h.ExtraPackages) > 0 {
		line("  boot.extraModulePackages = [")
		for _, p := range h.ExtraPackages {
			line("    config.boot.kernelPackages.%s", nix.Quote(p))
		}
		line("  ];")
	}
	for _, name := range slices.Sorted(maps.Keys(h.Luks)) {
		line("  boot.initrd.luks.devices.%s.device = %s;", nix.Quote(name), nix.Quote(h.Luks[name]))
	}
	for _, fs := range h.FileSystems {
		line("  fileSystems.%s = {", nix.Quote(fs.At))
		line("    device = %s;", nix.Quote(fs.Device))
		line("    fsType = %s;", nix.Quote(fs.Type))
		if len(fs.Options) > 0 {
			line("    options = %s;", quoted(fs.Options))
		}
		line("  };")
	}
	if len(h.Swap) > 0 {
		line("  swapDevices = [")
		for _, d := range h.Swap {
			line("    { device = %s; }", nix.Quote(d))
		}
		line("  ];")
	}
	if h.DHCP {
		line("  networking.useDHCP = lib.mkDefault true;")
	}
	if h.Redistributable {
		line("  hardware.enableRedistributableFirmware = lib.mkDefault true;")
	}
	if h.Microcode != "" {
		line("  hardware.cpu.%s.updateMicrocode = lib.mkDefault config.hardware.enableRedistributableFirmware;", h.Microcode)
	}
	line("}")
	return b.String()
}
