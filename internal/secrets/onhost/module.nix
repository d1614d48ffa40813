# Proper units for secrets that rest on a host (docs/secrets-on-hosts.md), in place of those
# that godwit puts beside the configuration: nixosModules.secrets of godwit's flake. They are in
# the boot menu's older systems, too, and nothing has to be written below /etc. Passwords of
# users (hashedPasswordFile) are there before users are made, at each boot.
{ config, lib, ... }:
let
  program = "/var/lib/godwit/secrets/godwit-secrets";
  unit = description: order: order // {
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
    environment.PATH = lib.mkForce "/run/current-system/sw/bin";
    serviceConfig = {
      Type = "oneshot";
      ExecStart = "${program} boot";
    };
  };
  # Users are made by a unit there, and not by the activation.
  byUnit = config.systemd.sysusers.enable or false || config.services.userborn.enable or false;
in
{
  systemd.services.godwit-secrets-users = unit "Secrets of this host, for who makes its users" {
    before = [ "systemd-sysusers.service" "userborn.service" ];
  };
  systemd.services.godwit-secrets = unit "Secrets of this host" {
    after = [ "systemd-sysusers.service" "userborn.service" ];
    wantedBy = [ "sysinit-reactivation.target" ];
    before = [ "sysinit-reactivation.target" ];
  };
  system.activationScripts = lib.mkIf (!byUnit) {
    godwitSecrets = ''
      if [ -x ${program} ]; then ${program} boot "$systemConfig" || :; fi
    '';
    users.deps = [ "godwitSecrets" ];
  };
}
