{
  description = "Stands in for github:serokell/deploy-rs where that cannot be reached";
  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      libFor = system: import ./lib.nix { pkgs = nixpkgs.legacyPackages.${system}; };
    in
    {
      lib = nixpkgs.lib.genAttrs systems libFor;
      overlays.default = final: _: { deploy-rs = { lib = import ./lib.nix { pkgs = final; }; }; };
    };
}
