# Package set with the calling convention of nixpkgs. Packages are real derivations of a few files, built by /bin/sh.
{ localSystem ? { system = args.system or builtins.currentSystem; }
, system ? localSystem.system or localSystem
, crossSystem ? null
, config ? { }
, overlays ? [ ]
, crossOverlays ? [ ]
, ...
}@args:
let
  lib = import ../lib;
  elaborate = lib.systems.elaborate;
  buildPlatform = elaborate (if args ? localSystem then localSystem else { inherit system; });
  hostPlatform = if crossSystem == null then buildPlatform else elaborate crossSystem;
  configOf = c: if builtins.isFunction c then c { inherit pkgs lib; } else c;
  pkgConfig = { allowUnfree = false; allowBroken = false; allowAliases = true; permittedInsecurePackages = [ ]; } // configOf config;
  overrides = final: prev: (pkgConfig.packageOverrides or (_: { })) prev;
  stages = [ (import ./builders.nix) (import ./packages.nix) overrides ] ++ overlays ++ (if crossSystem == null then [ ] else crossOverlays);
  base = final: {
    _type = "pkgs";
    inherit lib hostPlatform buildPlatform;
    targetPlatform = hostPlatform;
    config = pkgConfig;
    inherit overlays;
    path = ../.;
    system = hostPlatform.system;
    stdenv = {
      inherit hostPlatform buildPlatform;
      targetPlatform = hostPlatform;
      system = hostPlatform.system;
      inherit (hostPlatform) isLinux isDarwin isUnix isAarch64 isx86_64 isAarch32 is64bit;
      isCross = crossSystem != null;
      mkDerivation = final.mkDerivationFrom;
      shell = "/bin/sh";
      cc = final.stdenvCC;
      name = "stdenv-small";
    };
    stdenvNoCC = final.stdenv;
    newScope = extra: lib.callPackageWith (final // extra);
    callPackage = lib.callPackageWith final;
    callPackages = lib.callPackagesWith final;
    buildPackages = if crossSystem == null then final else native;
    pkgsBuildBuild = final.buildPackages;
    targetPackages = final;
    appendOverlays = more: import ./. (args // { overlays = overlays ++ more; });
    extend = f: import ./. (args // { overlays = overlays ++ [ f ]; });
    nixos = configuration: import ../nixos/lib/eval-config.nix {
      inherit lib;
      system = null;
      modules = [{ nixpkgs.pkgs = lib.mkDefault final; }] ++ lib.toList configuration;
    } // { __toString = c: "${c.config.system.build.toplevel}"; };
    nixosTest = _: throw "pkgs.nixosTest: the small NixOS runs no virtual machines";
    pkgsCross = {
      aarch64-multiplatform = import ./. (args // { crossSystem = "aarch64-linux"; });
      raspberryPi = import ./. (args // { crossSystem = "armv6l-linux"; });
      gnu64 = import ./. (args // { crossSystem = "x86_64-linux"; });
    };
    recurseIntoAttrs = lib.recurseIntoAttrs;
  };
  native = import ./. (removeAttrs args [ "crossSystem" ]);
  pkgs = lib.fix (builtins.foldl' (f: overlay: lib.extends overlay f) base stages);
in
pkgs
