# Which package set, for which platform. Order of strength: nixpkgs.pkgs, then hostPlatform/buildPlatform,
# then crossSystem/localSystem, then system.
{ config, options, lib, ... }:
let
  inherit (lib) mkOption types literalExpression;
  cfg = config.nixpkgs;
  opt = options.nixpkgs;
  elaborated = f: types.either types.str types.attrs // { description = "string or attribute set"; };
  platforms =
    if opt.hostPlatform.isDefined then
      { localSystem = cfg.buildPlatform; crossSystem = if lib.systems.equals cfg.buildPlatform cfg.hostPlatform then null else cfg.hostPlatform; }
    else { inherit (cfg) localSystem crossSystem; };
  defaultPkgs = import ../../.. (platforms // { inherit (cfg) config overlays; });
  finalPkgs =
    if opt.pkgs.isDefined then (if cfg.overlays == [ ] then cfg.pkgs else cfg.pkgs.appendOverlays cfg.overlays)
    else defaultPkgs;
in
{
  options.nixpkgs = {
    pkgs = mkOption { type = types.pkgs; description = "The package set to use as it is."; };
    config = mkOption {
      default = { };
      type = lib.mkOptionType {
        name = "nixpkgs-config";
        description = "nixpkgs config";
        check = x: builtins.isAttrs x || builtins.isFunction x;
        merge = _: defs: args: lib.foldl' lib.recursiveUpdate { } (map (d: if builtins.isFunction d.value then d.value args else d.value) defs);
      };
      apply = f: if builtins.isFunction f then f { inherit lib; pkgs = finalPkgs; } else f;
      description = "Configuration of the package set.";
    };
    overlays = mkOption { type = types.listOf (types.uniq (types.functionTo types.unspecified) // { merge = lib.mergeOneOption; check = lib.isFunction; }); default = [ ]; description = "Overlays."; };
    hostPlatform = mkOption { type = types.either types.str types.attrs; apply = lib.systems.elaborate; description = "The platform the system runs on."; };
    buildPlatform = mkOption { type = types.either types.str types.attrs; default = cfg.hostPlatform; apply = lib.systems.elaborate; description = "The platform the system is built on."; };
    localSystem = mkOption {
      type = types.coercedTo types.str (system: { inherit system; }) types.attrs;
      default = { inherit (cfg) system; };
      apply = lib.systems.elaborate;
      description = "Older way to give the platform.";
    };
    crossSystem = mkOption { type = types.nullOr (types.coercedTo types.str (system: { inherit system; }) types.attrs); default = null; description = "Older way to give another platform to run on."; };
    system = mkOption {
      type = types.str;
      example = "i686-linux";
      default =
        if opt.hostPlatform.isDefined then
          throw ''
            Neither ${opt.system} nor any other option in nixpkgs.* is meant
            to be read by modules and configurations.
            Use pkgs.stdenv.hostPlatform instead.
          ''
        else
          throw ''
            Neither ${opt.hostPlatform} nor the legacy option ${opt.system} has been set.
            You can set ${opt.hostPlatform} in hardware-configuration.nix by re-running
            a recent version of nixos-generate-config.
            The option ${opt.system} is still fully supported for NixOS 22.05 interoperability,
            but will be deprecated in the future, so we recommend to set ${opt.hostPlatform}.
          '';
      defaultText = literalExpression "builtins.currentSystem";
      description = "Oldest way to give the platform.";
    };
    initialSystem = mkOption { type = types.str; internal = true; description = "Not used."; };
    flake.source = mkOption { type = types.nullOr types.str; default = null; description = "Where nixpkgs was found."; };
    flake.setNixPath = mkOption { type = types.bool; default = true; description = "Not used."; };
    flake.setFlakeRegistry = mkOption { type = types.bool; default = true; description = "Not used."; };
  };
  config = {
    _module.args.pkgs = finalPkgs;
    assertions = [
      {
        assertion = opt.pkgs.isDefined -> !(opt.config.isDefined && opt.config.definitionsWithLocations != [ ] && opt.config.highestPrio < 1500 && cfg.config != { });
        message = ''
          Your system configures nixpkgs with an externally created instance.
          `nixpkgs.config` options should be passed when creating the instance instead.

          Current value:
          ${lib.generators.toPretty { } cfg.config}

          Defined in:
          ${lib.concatMapStringsSep "\n" (f: "  - ${f}") opt.config.files}
        '';
      }
      {
        assertion = opt.hostPlatform.isDefined -> opt.buildPlatform.isDefined;
        message = "${opt.buildPlatform} is not defined.";
      }
    ];
  };
}
