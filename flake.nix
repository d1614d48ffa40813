{
  description = "godwit deploys NixOS fleets from any laptop";

  # Only `nixpkgs` of your own: nothing is downloaded for the module alone. An input that is
  # not given is the registry's.
  inputs.nixpkgs.url = "nixpkgs";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      each = f: builtins.listToAttrs (map (system: { name = system; value = f (import nixpkgs { inherit system; }); }) systems);
      build = pkgs: pkgs.callPackage ./packaging/package.nix {
        src = self;
        commit = self.rev or "";
        date = self.lastModifiedDate or "19700101000000";
      };
    in
    {
      packages = each (pkgs: rec { godwit = build pkgs; default = godwit; });
      apps = each (pkgs: rec {
        godwit = { type = "app"; program = "${build pkgs}/bin/godwit"; };
        default = godwit;
      });
      devShells = each (pkgs: { default = pkgs.mkShell { packages = [ pkgs.go pkgs.shellcheck pkgs.openssh ]; }; });
      overlays.default = final: prev: { godwit = build final; };
      checks = each (pkgs: { package = build pkgs; });

      # The options deployment.* of a host (docs/flakes.md), for configurations that are
      # built by others as well: godwit itself puts them in where they are used without. And
      # godwit.secrets, with its units where there are some.
      nixosModules.default = { config, lib, ... }: {
        key = "godwit/default"; # imported twice, it is there once
        imports = [ self.nixosModules.deployment self.nixosModules.secrets ];
        godwit.secretUnits = lib.mkDefault (config.godwit.secrets != { });
      };
      nixosModules.deployment = import ./internal/source/common/deployment.nix { };
      darwinModules.default = self.nixosModules.deployment;
      # Secrets that rest on a host, and their units (docs/secrets-on-hosts.md).
      nixosModules.secrets = import ./internal/secrets/onhost/module.nix;
    };
}
