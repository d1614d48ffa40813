{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.system;
  entry = name: {
    options = {
      deps = mkOption { type = types.listOf types.str; default = [ ]; description = "Snippets that run before."; };
      text = mkOption { type = types.lines; default = ""; description = "Shell text."; };
      supportsDryActivation = mkOption { type = types.bool; default = false; description = "Whether it also runs at dry-activate, with NIXOS_ACTION=dry-activate."; };
    };
  };
  scripts = mkOption {
    default = { };
    description = "Snippets of the activation.";
    type = types.attrsOf (types.coercedTo types.str (text: { inherit text; deps = [ ]; }) (types.submodule entry));
  };
  # Dependencies first, otherwise by name; `etc` before all that do not say otherwise is how the real one behaves in practice.
  ordered = set:
    let
      visit = acc: n:
        if elem n acc.done then acc
        else if elem n acc.path then throw "system.activationScripts: `${n}' depends on itself"
        else
          let
            s = set.${n} or (throw "attribute '${n}' missing: system.activationScripts depends on it");
            r = foldl' visit (acc // { path = acc.path ++ [ n ]; }) s.deps;
          in
          { done = r.done ++ [ n ]; inherit (acc) path; };
    in
    (foldl' visit { done = [ ]; path = [ ]; } (attrNames set)).done;
  snippet = set: n: ''
    # --- ${n}
    snippet() {
    :
    ${set.${n}.text}
    }
    ( set -e; snippet ); rc=$?
    [ "$rc" = 0 ] || { printf "Activation script snippet '%s' failed (%s)\n" ${escapeShellArg n} "$rc"; status=1; }
  '';
  body = set: concatMapStrings (snippet set) (filter (n: set.${n}.text != "") (ordered set));
  head = ''
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export PATH systemConfig NIXOS_ACTION="''${NIXOS_ACTION:-}"
    umask 022
    status=0
  '';
  dry = filterAttrs (_: s: s.supportsDryActivation) cfg.activationScripts;
in
{
  options.system = {
    activationScripts = scripts;
    userActivationScripts = scripts;
    activatable = mkOption { type = types.bool; default = true; description = "Whether there is an activation script."; };
    build = mkOption { type = types.submoduleWith { modules = [{ freeformType = types.lazyAttrsOf (types.uniq types.unspecified); }]; }; default = { }; description = "Derivations."; };
    activationBody = mkOption { internal = true; type = types.str; description = "Text of activate without its first lines."; };
    dryActivationBody = mkOption { internal = true; type = types.str; description = "Text of dry-activate without its first lines."; };
  };
  config = {
    system.activationScripts = {
      stdio.text = "";
      var.text = "mkdir -p /var/empty /var/lib/nixos";
      etc = {
        deps = [ "users" ];
        text = ''
          echo "setting up /etc..."
          ${pkgs.runtimeShell} ${./setup-etc.sh} "$systemConfig"
        '';
      };
      hostname = {
        deps = [ "etc" ];
        text = ''
          name=${escapeShellArg config.networking.hostName}
          [ -z "$name" ] || hostname "$name" 2>/dev/null || :
        '';
      };
      specialfs.text = "";
      groups = { deps = [ "users" ]; text = ""; };
      binsh.text = "";
      usrbinenv.text = "";
    };
    system.activationBody = ''
      ${head}
      ${body cfg.activationScripts}
      # Last: from here on this is the running system.
      mkdir -p /run/nixos /nix/var/nix/gcroots
      ln -sfn "$systemConfig" /run/current-system.new && mv -T /run/current-system.new /run/current-system || status=1
      ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
      exit $status
    '';
    system.dryActivationBody = ''
      ${head}
      ${body dry}
      exit $status
    '';
  };
}
