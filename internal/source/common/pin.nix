# The nixpkgs that a host's system is made of, on the host, as a module: there `nix shell
# nixpkgs#hello' and `nix-shell -p hello' then mean that one, and after a rollback the
# one before. The host gets the sources of it: some 200 MB.
#
# revision: of the repository that the system is written in; null: nobody knows it.
# when: whether to do so, by the configuration.
{ revision ? null, when ? (config: true) }:
{ config, lib, options, pkgs, ... }:
let
  given = toString pkgs.path;
  inStore = builtins.match "(${builtins.storeDir}/[^/]+)(/.*)?" given;
  # As a dependency of the system, which it is not by its name alone. What is in the
  # store is not copied again.
  source =
    if inStore == null then builtins.path { path = /. + given; name = "nixpkgs"; }
    else builtins.appendContext given { ${builtins.head inStore}.path = true; };
  wish = lib.mkIf (when config);
  # Since 24.05 NixOS does the rest by itself.
  modern = (options.nixpkgs or { }) ? flake;
in
{
  _file = "godwit/pin.nix";
  key = "godwit/pin";

  config =
    (if modern then { nixpkgs.flake.source = wish (lib.mkDefault source); }
    else {
      nix = lib.optionalAttrs (options.nix ? registry)
        { registry.nixpkgs = wish { to = lib.mkDefault { type = "path"; path = source; }; }; }
      // lib.optionalAttrs (options.nix ? nixPath) { nixPath = wish (lib.mkDefault [ "nixpkgs=${source}" ]); };
    })
    // lib.optionalAttrs (revision != null && options.system ? configurationRevision)
      { system.configurationRevision = wish (lib.mkDefault revision); };
}
