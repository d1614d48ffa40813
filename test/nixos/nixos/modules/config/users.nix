{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.users;
  opt = type: default: mkOption { inherit type default; description = "Accepted."; };
  shellOf = u: if u.shell == null then "/usr/sbin/nologin" else if isDerivation u.shell then u.shell.shellPath or "${u.shell}/bin/${getName u.shell}" else toString u.shell;
  keysOf = u: u.openssh.authorizedKeys.keys ++ map fileContents u.openssh.authorizedKeys.keyFiles;
in
{
  options.users = {
    mutableUsers = opt types.bool true;
    enforceIdUniqueness = opt types.bool true;
    allowNoPasswordLogin = opt types.bool false;
    defaultUserShell = opt (types.nullOr (types.either types.path types.package)) "/bin/bash";
    motd = opt (types.nullOr types.lines) null;
    motdFile = opt (types.nullOr types.str) null;
    extraUsers = opt (types.attrsOf types.anything) { };
    users = mkOption {
      default = { };
      description = "Users.";
      type = types.attrsOf (types.submodule ({ name, config, ... }: {
        options = {
          enable = opt types.bool true;
          name = opt types.str name;
          description = opt types.str "";
          uid = opt (types.nullOr types.int) null;
          isNormalUser = opt types.bool false;
          isSystemUser = opt types.bool false;
          group = opt types.str "";
          extraGroups = opt (types.listOf types.str) [ ];
          home = opt types.str (if config.isNormalUser then "/home/${name}" else if name == "root" then "/root" else "/var/empty");
          homeMode = opt types.str "700";
          createHome = opt types.bool config.isNormalUser;
          cryptHomeLuks = opt (types.nullOr types.str) null;
          useDefaultShell = opt types.bool config.isNormalUser;
          shell = opt (types.nullOr (types.either types.path types.package)) (if config.useDefaultShell || name == "root" then cfg.defaultUserShell else null);
          ignoreShellProgramCheck = opt types.bool false;
          linger = opt (types.nullOr types.bool) false;
          packages = opt (types.listOf types.package) [ ];
          hashedPassword = opt (types.nullOr types.str) null;
          initialHashedPassword = opt (types.nullOr types.str) null;
          password = opt (types.nullOr types.str) null;
          initialPassword = opt (types.nullOr types.str) null;
          hashedPasswordFile = opt (types.nullOr types.str) null;
          passwordFile = opt (types.nullOr types.str) null;
          autoSubUidGidRange = opt types.bool false;
          subUidRanges = opt (types.listOf types.attrs) [ ];
          subGidRanges = opt (types.listOf types.attrs) [ ];
          openssh.authorizedKeys.keys = opt (types.listOf types.singleLineStr) [ ];
          openssh.authorizedKeys.keyFiles = opt (types.listOf types.path) [ ];
          openssh.authorizedPrincipals = opt (types.listOf types.str) [ ];
        };
        config.group = mkIf config.isNormalUser (mkDefault "users");
      }));
    };
    groups = mkOption {
      default = { };
      description = "Groups.";
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options = { name = opt types.str name; gid = opt (types.nullOr types.int) null; members = opt (types.listOf types.str) [ ]; };
      }));
    };
  };
  config = {
    users.users.root = { isSystemUser = true; uid = 0; group = "root"; };
    users.groups = { root.gid = 0; wheel = { }; users.gid = 100; };
    environment.etc = mapAttrs'
      (_: u: nameValuePair "ssh/authorized_keys.d/${u.name}" { mode = "0444"; text = concatMapStrings (k: k + "\n") (keysOf u); })
      (filterAttrs (_: u: u.openssh.authorizedKeys.keys != [ ] || u.openssh.authorizedKeys.keyFiles != [ ]) cfg.users);
    system.activationScripts.users = {
      text = concatStrings (mapAttrsToList
        (_: g: "getent group ${escapeShellArg g.name} >/dev/null || groupadd -f ${optionalString (g.gid != null) "-g ${toString g.gid} "}${escapeShellArg g.name}\n")
        cfg.groups)
      + concatStrings (mapAttrsToList
        (_: u: optionalString (u.name != "root" && u.enable) ''
          id -u ${escapeShellArg u.name} >/dev/null 2>&1 || useradd ${if u.isNormalUser then "-N" else "-r"} ${optionalString (u.uid != null) "-u ${toString u.uid} "}-g ${escapeShellArg u.group} -d ${escapeShellArg u.home} ${if u.createHome then "-m" else "-M"} -s ${escapeShellArg (shellOf u)} ${escapeShellArg u.name}
          ${concatMapStrings (g: "! getent group ${escapeShellArg g} >/dev/null || usermod -a -G ${escapeShellArg g} ${escapeShellArg u.name}\n") u.extraGroups}
        '')
        cfg.users);
    };
    assertions = concatLists (mapAttrsToList
      (n: u: [
        {
          assertion = (if u.isNormalUser then 1 else 0) + (if u.isSystemUser then 1 else 0) == 1;
          message = "Exactly one of users.users.${n}.isSystemUser and users.users.${n}.isNormalUser must be set.";
        }
        {
          assertion = u.group != "";
          message = "users.users.${n}.group is unset. This used to default to\nnogroup, but this is unsafe. For example you can create a group\nfor this user with:\nusers.users.${n}.group = \"${n}\";\nusers.groups.${n} = {};\n";
        }
      ])
      (filterAttrs (_: u: u.enable) cfg.users));
  };
}
