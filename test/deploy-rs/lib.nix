{ pkgs }:
let
  inherit (pkgs) lib;

  # The program that deploy-rs puts into every profile, for the host's platform.
  program = derivation {
    name = "deploy-rs-0.1.0";
    inherit (pkgs) system;
    builder = "/bin/sh";
    args = [ "-c" "echo 'godwit must not build this' >&2; exit 1" ];
  };

  file = base: what: destination: text: pkgs.writeTextFile {
    name = "${base.name}-${what}";
    executable = true;
    inherit text destination;
  };

  # The script of a profile: what to do when, and for a try and for the next boot.
  script = { now, dry, boot }: ''
    #!${pkgs.runtimeShell}
    set -euo pipefail

    if [[ "''${DRY_ACTIVATE:-}" == "1" ]]
    then
        ${dry}
    elif [[ "''${BOOT:-}" == "1" ]]
    then
        ${boot}
    else
        ${now}
    fi
  '';

  custom.__functor = self: base: now:
    let show = "echo ${pkgs.writeScript "activate" now}"; in
    pkgs.buildEnv {
      name = "activatable-${base.name}";
      paths = [
        base
        (file base "activate-path" "/deploy-rs-activate" (script { inherit now; dry = self.dryActivate or show; boot = self.boot or show; }))
        (file base "activate-rs" "/activate-rs" "#!${pkgs.runtimeShell}\nexec ${program}/bin/activate \"$@\"\n")
      ];
    };

  activate = {
    inherit custom;
    nixos = base:
      let loader = base.config.boot.loader; in
      (custom // {
        dryActivate = "$PROFILE/bin/switch-to-configuration dry-activate";
        boot = "$PROFILE/bin/switch-to-configuration boot";
      }) base.config.system.build.toplevel ''
        # somewhere that stays
        cd /tmp

        $PROFILE/bin/switch-to-configuration switch

        # issue 31
        ${lib.optionalString (loader.systemd-boot.enable or false) "sed -i '/^default /d' ${loader.efi.efiSysMountPoint}/loader/loader.conf"}
      '';
    home-manager = base: custom base.activationPackage "$PROFILE/activate";
    darwin = base: custom base.config.system.build.toplevel "HOME=/var/root $PROFILE/activate";
    noop = base: custom base ":";
  };
in
{
  inherit activate;
  setActivate = activate.custom;
  deployChecks = deploy: {
    activate = pkgs.writeText "deploy-rs-check-activate" (lib.concatMapStrings (n: lib.concatMapStrings (p: "${p.path}\n") (lib.attrValues n.profiles)) (lib.attrValues deploy.nodes));
  };
}
