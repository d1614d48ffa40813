{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.environment;
  env = types.attrsOf (types.oneOf [ (types.listOf (types.oneOf [ types.int types.str types.path ])) types.int types.str types.path ] // {
    merge = loc: defs: let vs = map (d: d.value) defs; in if all isList vs then concatLists vs else mergeEqualOption loc defs;
  });
  show = v: if isList v then concatMapStringsSep ":" toString v else toString v;
  wanted = filter (e: e.enable) (attrValues cfg.etc);
  link = e: ''
    put ${escapeShellArg (toString e.source)} ${escapeShellArg e.target} ${escapeShellArg e.mode} ${escapeShellArg e.owner}
  '';
  etc = pkgs.rawDerivation {
    name = "etc";
    script = ''
      put() { # SOURCE TARGET MODE OWNER
        t="$out/etc/$2"
        [ -d "''${t%/*}" ] || mkdir -p "''${t%/*}"
        if [ -e "$t" ] || [ -L "$t" ]; then
          [ "$(readlink "$t")" = "$1" ] || { echo "duplicate entry $2 in environment.etc" >&2; exit 1; }
          return 0
        fi
        ln -s "$1" "$t"
        [ "$3" = symlink ] || [ "$3" = direct-symlink ] || printf '%s %s\n' "$3" "$4" > "$out/copy/$(printf %s "$2" | tr / %)"
      }
      mkdir -p "$out/etc" "$out/copy"
      ${concatMapStrings link wanted}
    '';
  };
in
{
  options = {
    environment = {
      _freeform = true;
      systemPackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages in /run/current-system/sw."; };
      defaultPackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages that may be removed."; };
      corePackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages that are always there."; };
      pathsToLink = mkOption { type = types.listOf types.str; default = [ ]; description = "Directories of packages that are linked."; };
      extraSetup = mkOption { type = types.lines; default = ""; description = "Shell text run at the end of the build of sw."; };
      variables = mkOption { type = env; default = { }; description = "Variables of login shells."; };
      sessionVariables = mkOption { type = env; default = { }; description = "Variables of sessions."; };
      shellAliases = mkOption { type = types.attrsOf (types.nullOr types.str); default = { }; description = "Aliases."; };
      shellInit = mkOption { type = types.lines; default = ""; description = "Text for shells."; };
      interactiveShellInit = mkOption { type = types.lines; default = ""; description = "Text for interactive shells."; };
      loginShellInit = mkOption { type = types.lines; default = ""; description = "Text for login shells."; };
      shells = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Login shells."; };
      etc = mkOption {
        default = { };
        description = "Files below /etc.";
        type = types.attrsOf (types.submodule ({ name, config, ... }: {
          options = {
            enable = mkOption { type = types.bool; default = true; description = "Whether it is made."; };
            target = mkOption { type = types.str; default = name; description = "Name below /etc."; };
            text = mkOption { type = types.nullOr types.lines; default = null; description = "Content."; };
            source = mkOption { type = types.path; description = "File or directory to link to."; };
            mode = mkOption { type = types.str; default = "symlink"; description = "symlink, or an octal mode: then a copy is made."; };
            uid = mkOption { type = types.int; default = 0; description = "Owner of the copy."; };
            gid = mkOption { type = types.int; default = 0; description = "Group of the copy."; };
            user = mkOption { type = types.str; default = "+${toString config.uid}"; description = "Owner of the copy."; };
            group = mkOption { type = types.str; default = "+${toString config.gid}"; description = "Group of the copy."; };
            owner = mkOption { type = types.str; internal = true; readOnly = true; default = "${removePrefix "+" config.user}:${removePrefix "+" config.group}"; description = "For chown."; };
          };
          config.source = mkIf (config.text != null) (mkDefault (pkgs.writeText "etc-${baseNameOf name}" config.text));
        }));
      };
    };
    system.path = mkOption { internal = true; description = "The packages of the system as one."; };
  };
  config = {
    environment.corePackages = [ pkgs.lab-base ];
    environment.pathsToLink = [ "/bin" "/sbin" "/share" "/etc/xdg" ];
    environment.variables.EDITOR = mkDefault "nano";
    environment.etc."nixos-lab/set-environment".text =
      concatStrings (mapAttrsToList (k: v: "export ${k}=${escapeShellArg (show v)}\n") (cfg.sessionVariables // cfg.variables));
    system.path = pkgs.buildEnv {
      name = "system-path";
      paths = cfg.systemPackages ++ cfg.corePackages ++ cfg.defaultPackages;
      inherit (cfg) pathsToLink;
      postBuild = cfg.extraSetup;
    };
    system.build.etc = etc;
  };
}
