# Secrets that rest on the host (docs/secrets-on-hosts.md): their declarations, and proper units
# that deliver them, in place of those that godwit puts beside the configuration. These are in
# the boot menu's older systems, too, and nothing has to be written below /etc. Passwords of
# users (hashedPasswordFile) are there before users are made, at each boot.
# nixosModules.secrets of godwit's flake, and a part of nixosModules.default.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.godwit;
  option = type: default: description: mkOption { inherit type default description; };

  secret = types.submodule ({ name, ... }: {
    options = {
      file = option (types.nullOr types.path) null
        "Its ciphertext, a file of age that the host can open; null: the repository's own secret of this name (godwit secrets new).";
      owner = option types.str "root" "Owner of the file. This very configuration may make the user.";
      group = option types.str "root" "Group of the file.";
      mode = option types.str "0400" "Mode of the file, octal.";
      path = option types.str "/run/godwit/secrets/${name}"
        "Where it is read. Elsewhere than in /run/godwit/secrets it is a link that leads there.";
      restartUnits = option (types.listOf types.str) [ ]
        "Units that are restarted when the content has changed. They start after the secrets are there.";
      neededForUsers = option types.bool false "Whether users are made with it (hashedPasswordFile).";
      credentialOf = option (types.listOf types.str) [ ]
        "Services, without .service, that get it as a credential of systemd of its name, and are restarted when it has changed.";
    };
  });

  declared = builtins.attrNames cfg.secrets;
  # A service that has a secret as its credential is restarted with it.
  restarts = name: cfg.secrets.${name}.restartUnits ++ map (s: "${s}.service") cfg.secrets.${name}.credentialOf;
  users = lib.unique (builtins.concatMap restarts declared);
  withCredentials = lib.unique (builtins.concatMap (n: cfg.secrets.${n}.credentialOf) declared);

  program = "/var/lib/godwit/secrets/godwit-secrets";
  unit = stage: description: order: order // {
    inherit description;
    wantedBy = [ "sysinit.target" ] ++ order.wantedBy or [ ];
    before = [ "sysinit.target" "shutdown.target" ] ++ order.before or [ ];
    conflicts = [ "shutdown.target" ];
    restartIfChanged = false;
    unitConfig = {
      DefaultDependencies = false;
      RequiresMountsFor = "/var/lib/godwit/secrets";
      ConditionPathExists = program;
    };
    environment = { PATH = lib.mkForce "/run/current-system/sw/bin"; GODWIT_BOOT = stage; };
    serviceConfig = {
      Type = "oneshot";
      ExecStart = "${program} boot";
    };
  };
  # Users are made by a unit there, and not by the activation.
  byUnit = config.systemd.sysusers.enable or false || config.services.userborn.enable or false;
in
{
  _file = "godwit/module.nix";
  # Imported twice, also in two versions, it is there once.
  key = "godwit/secrets";

  options.godwit = {
    secrets = option (types.attrsOf secret) { } "Secrets of this host, which godwit brings to it with its system.";
    secretUnits = option types.bool true "Whether this configuration has the units that deliver secrets at a boot.";
    restSecrets = option types.bool false
      "Whether deployment.secrets, or deployment.keys, are encrypted for this host and rest there, instead of being pushed.";
    secretsKey = option (types.nullOr types.str) null
      "File on the host with the private key that opens them; null: as the repository says, or else the ssh host key.";
  };

  config = lib.mkIf cfg.secretUnits {
    systemd.services = {
      godwit-secrets-users = unit "early" "Secrets of this host, for who makes its users" {
        before = [ "systemd-sysusers.service" "userborn.service" ];
      };
      godwit-secrets = unit "late" "Secrets of this host" {
        # Most hosts have neither of those between the two.
        after = [ "godwit-secrets-users.service" "systemd-sysusers.service" "userborn.service" "local-fs.target" ];
        wantedBy = [ "sysinit-reactivation.target" ];
        before = [ "sysinit-reactivation.target" ] ++ users;
      };
    } // lib.genAttrs withCredentials (service: {
      serviceConfig.LoadCredential = map (n: "${n}:/run/godwit/secrets/${n}")
        (builtins.filter (n: builtins.elem service cfg.secrets.${n}.credentialOf) declared);
    });
    system.activationScripts = lib.mkIf (!byUnit) {
      godwitSecrets = ''
        if [ -x ${program} ]; then GODWIT_BOOT=early ${program} boot "$systemConfig" || :; fi
      '';
      users.deps = [ "godwitSecrets" ];
    };
  };
}
