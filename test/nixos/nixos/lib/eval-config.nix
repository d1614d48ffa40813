# Evaluate a NixOS configuration. The arguments are those of the real one.
evalConfigArgs@
{ system ? builtins.currentSystem
, pkgs ? null
, baseModules ? import ../modules/module-list.nix
, extraArgs ? { }
, specialArgs ? { }
, modules
, modulesLocation ? (builtins.unsafeGetAttrPos "modules" evalConfigArgs).file or null
, check ? true
, prefix ? [ ]
, lib ? import ../../lib
, extraModules ? let e = builtins.getEnv "NIXOS_EXTRA_MODULE_PATH"; in if e == "" then [ ] else [ (import e) ]
}:
let
  platform = {
    _file = ./eval-config.nix;
    key = toString ./eval-config.nix;
    config = {
      nixpkgs.system = lib.mkIf (system != null) (lib.mkDefault system);
      _module.args = lib.optionalAttrs (pkgs != null) { pkgs = lib.mkForce pkgs; } // extraArgs;
      _module.check = lib.mkDefault check;
    };
  };
  located = if modulesLocation == null then modules else map (m: if builtins.isPath m || builtins.isString m then m else { _file = modulesLocation; imports = [ m ]; }) modules;
  eval = lib.evalModules {
    inherit prefix;
    class = "nixos";
    modules = baseModules ++ extraModules ++ [ platform ] ++ located;
    specialArgs = { modulesPath = builtins.toString ../modules; } // specialArgs;
  };
  withExtras = c: c // {
    inherit extraArgs lib;
    pkgs = c._module.args.pkgs;
    extendModules = args: withExtras (c.extendModules args);
  };
in
withExtras eval
