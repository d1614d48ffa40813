let
  # Of the branch @BRANCH@.
  nixpkgs = builtins.fetchTarball "https://github.com/NixOS/nixpkgs/archive/@NIXPKGS@.tar.gz";
  pkgs = import nixpkgs { };
  inherit (pkgs) lib;
  # Each hosts/NAME.nix is a machine. It also gets what all have in common.
  names = map (lib.removeSuffix ".nix") (lib.filter (lib.hasSuffix ".nix") (builtins.attrNames (builtins.readDir ./hosts)));
  machine = name: { imports = [ ./modules/common.nix (./hosts + "/${name}.nix") ]; };
in
{
  network = { inherit pkgs; description = "our machines"; };
} // lib.genAttrs names machine
