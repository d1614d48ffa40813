{ config, options, lib, pkgs, ... }:
with lib;
let cfg = config.system.nixos; in
{
  options.system = {
    stateVersion = mkOption {
      type = types.strMatching "[0-9]{2}\\.[0-9]{2}";
      default = cfg.release;
      description = "The release this machine was first installed with.";
    };
    configurationRevision = mkOption { type = types.nullOr types.str; default = null; description = "Revision of the configuration's repository."; };
    defaultChannel = mkOption { type = types.str; default = ""; internal = true; description = "Not used."; };
    name = mkOption {
      type = types.str;
      default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName;
      description = "Name used in the system's derivation.";
    };
    nixos = {
      version = mkOption { type = types.str; default = cfg.release + cfg.versionSuffix; description = "Full version."; };
      release = mkOption { type = types.str; default = trivial.release; readOnly = true; description = "Release."; };
      versionSuffix = mkOption { type = types.str; default = trivial.versionSuffix; description = "Suffix."; };
      revision = mkOption { type = types.nullOr types.str; default = null; description = "Revision."; };
      codeName = mkOption { type = types.str; default = trivial.codeName; readOnly = true; description = "Code name."; };
      distroId = mkOption { type = types.str; default = "nixos"; description = "os-release ID."; };
      distroName = mkOption { type = types.str; default = "NixOS"; description = "os-release NAME."; };
      variant_id = mkOption { type = types.nullOr types.str; default = null; description = "os-release VARIANT_ID."; };
      tags = mkOption { type = types.listOf types.str; default = [ ]; description = "Tags in the label."; };
      label = mkOption { type = types.str; description = "Label in the boot menu."; };
    };
  };
  config = {
    system.nixos.label = mkDefault (concatStringsSep "-" (naturalSort cfg.tags ++ [ cfg.version ]));
    warnings = optional (options.system.stateVersion.highestPrio == 1500)
      "system.stateVersion is not set, defaulting to ${cfg.release}. Read why this matters on https://nixos.org/manual/nixos/stable/options.html#opt-system.stateVersion.";
    # /etc/os-release belongs to the Debian underneath.
    environment.etc."nixos-lab/os-release".text = ''
      NAME=${cfg.distroName}
      ID=${cfg.distroId}
      VERSION="${cfg.version} (${cfg.codeName})"
      VERSION_ID="${cfg.release}"
      BUILD_ID="${cfg.version}"
      PRETTY_NAME="${cfg.distroName} ${cfg.release} (${cfg.codeName})"
    '';
  };
}
