# What a morph network means, in small: used by check.sh only. godwit has its own.
{ network }:
let
  net = import network;
  meta = net.network or { };
  pkgs = meta.pkgs or { };
  nixpkgs = pkgs.path or <nixpkgs>;
  lib = meta.lib or (pkgs.lib or (import (nixpkgs + "/lib")));
  hosts = removeAttrs net [ "network" "defaults" "_file" "resources" "require" ];
  options = { config, lib, ... }: with lib; {
    options.deployment = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf types.anything;
        options.targetHost = mkOption { type = types.str; default = ""; };
        options.tags = mkOption { type = types.listOf types.str; default = [ ]; };
        options.secrets = mkOption {
          default = { };
          type = types.attrsOf (types.submodule {
            options = {
              source = mkOption { type = types.str; };
              destination = mkOption { type = types.str; };
              permissions = mkOption { type = types.str; default = "0400"; };
              action = mkOption { type = types.listOf types.str; default = [ ]; };
              owner.user = mkOption { type = types.str; default = "root"; };
              owner.group = mkOption { type = types.str; default = "root"; };
            };
          });
        };
      };
    };
  };
  eval = check: name: module: import (nixpkgs + "/nixos/lib/eval-config.nix") {
    inherit lib;
    system = null;
    specialArgs = meta.specialArgs or { };
    modules = [
      { imports = [ module ]; }
      (net.defaults or { })
      options
      ({ lib, ... }: {
        networking.hostName = lib.mkDefault name;
        deployment.targetHost = lib.mkDefault name;
        documentation.nixos.extraModuleSources = [ ../. ];
        nixpkgs.pkgs = lib.mkIf (pkgs != { }) (lib.mkDefault pkgs);
        _module.args = { inherit name nodes; };
        _module.check = lib.mkForce check;
      })
    ];
  };
  nodes = builtins.mapAttrs (eval false) hosts;
in
builtins.mapAttrs (eval true) hosts
