# What nixpkgs.flake.source, nix.registry and NIX_PATH are on the host.
{ config, lib, ... }:
with lib;
let
  source = config.nixpkgs.flake.source;
  entry = name: value: { from = { type = "indirect"; id = name; }; inherit (value) to; exact = true; };
in
{
  nix.registry = mkIf (source != null && config.nixpkgs.flake.setFlakeRegistry) { nixpkgs.to = mkDefault { type = "path"; path = source; }; };
  nix.nixPath = mkIf (source != null && config.nixpkgs.flake.setNixPath) (mkDefault [ "nixpkgs=flake:nixpkgs" ]);
  environment.etc."nix/registry.json" = mkIf (config.nix.registry != { }) {
    text = builtins.toJSON { version = 2; flakes = mapAttrsToList entry config.nix.registry; };
  };
  environment.etc."nixos-lab/nix-path" = mkIf (config.nix.nixPath != [ ]) { text = concatStringsSep ":" config.nix.nixPath + "\n"; };
}
