{
  description = "godwit deploys NixOS fleets from any laptop";

  # The options deployment.* of a host (docs/flakes.md), for configurations that are
  # built by others as well. godwit itself puts them in where they are used without.
  outputs = { self }: {
    nixosModules.default = import ./internal/source/common/deployment.nix { };
    darwinModules.default = self.nixosModules.default;
  };
}
