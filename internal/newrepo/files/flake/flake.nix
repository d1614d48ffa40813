{
  description = "our machines";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/@BRANCH@";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # Each hosts/NAME.nix is a machine. It also gets what all have in common.
      names = map (lib.removeSuffix ".nix") (lib.filter (lib.hasSuffix ".nix") (builtins.attrNames (builtins.readDir ./hosts)));
      machine = name: lib.nixosSystem { modules = [ ./modules/common.nix (./hosts + "/${name}.nix") ]; };
    in
    {
      nixosConfigurations = lib.genAttrs names machine;
    };
}
