{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.system;
  failed = map (a: a.message) (filter (a: !a.assertion) config.assertions);
  checked = drv:
    if failed != [ ] then throw "\nFailed assertions:\n${concatMapStringsSep "\n" (m: "- ${m}") failed}"
    else showWarnings config.warnings drv;
  hasKernel = !config.boot.isContainer;
  kernelFile = pkgs.stdenv.hostPlatform.linux-kernel.target;
  activation = pkgs.writeText "activation-script" cfg.activationBody;
  dryActivation = pkgs.writeText "dry-activation-script" cfg.dryActivationBody;
  preSwitch = pkgs.writeScript "pre-switch-checks" (''
    #!/bin/sh
    # INCOMING ACTION
    status=0
  '' + concatStrings (mapAttrsToList
    (n: text: ''
      ( set -e
      :
      ${text}
      ); rc=$?
      [ "$rc" = 0 ] || { status=1; printf "Pre-switch check '%s' failed\n" ${escapeShellArg n} >&2; }
    '')
    cfg.preSwitchChecks) + "exit $status\n");
  toplevel = pkgs.rawDerivation {
    name = "nixos-system-${cfg.name}-${cfg.nixos.label}";
    # Like the real one: the system is built on the machine type it is for, unless it is cross-built.
    env = {
      inherit activation dryActivation preSwitch;
      inherit (cfg.build) etc;
      kernel = optionalString hasKernel "${cfg.build.kernel}";
      initrd = optionalString hasKernel "${cfg.build.initialRamdisk}";
      systemPath = cfg.path;
      kernelParams = config.boot.kernelParams;
      extraDependencies = cfg.extraDependencies;
      nixosVersion = cfg.nixos.version;
      nixosLabel = cfg.nixos.label;
      hostSystem = pkgs.stdenv.hostPlatform.system;
      inhibitors = builtins.toJSON cfg.switch.inhibitors;
      configurationRevision = toString cfg.configurationRevision;
      switchBody = "${./switch-to-configuration.sh}";
      switchScript = config.lab.switchScript;
      userScript = config.lab.userScript;
      bootSpec = builtins.toJSON {
        "org.nixos.bootspec.v1" = {
          system = pkgs.stdenv.hostPlatform.system;
          label = "NixOS ${cfg.nixos.codeName} ${cfg.nixos.label}";
          kernelParams = config.boot.kernelParams;
        } // optionalAttrs hasKernel {
          kernel = "${cfg.build.kernel}/${kernelFile}";
          initrd = "${cfg.build.initialRamdisk}/initrd";
        };
      };
    };
    script = ''
      mkdir -p "$out/bin" "$out/specialisation"
      { printf '#!/bin/sh\nsystemConfig=%s\n' "$out"; cat "$activation"; } > "$out/activate"
      { printf '#!/bin/sh\nsystemConfig=%s\n' "$out"; cat "$dryActivation"; } > "$out/dry-activate"
      printf '#!/bin/sh\n# Stage 2: the first program of a lab machine does this work.\nsystemConfig=%s\n"$systemConfig/activate" || :\nexec /lib/systemd/systemd "$@"\n' "$out" > "$out/init"
      ${optionalString cfg.switch.enable ''
        {
          printf '#!/bin/sh\nTOPLEVEL=%s\nPRE_SWITCH_CHECK=%s\nNG=%s\n' "$out" "$preSwitch" '${optionalString cfg.switch.enableNg "1"}'
          printf 'lab_switch_script() {\n:\n%s\n}\n' "$switchScript"
          printf 'lab_user_part() {\n:\n%s\n}\n' "$userScript"
          cat "$switchBody"
        } > "$out/bin/switch-to-configuration"
        chmod 755 "$out/bin/switch-to-configuration"
      ''}
      chmod 755 "$out/activate" "$out/dry-activate" "$out/init"
      ln -s "$etc/etc" "$out/etc"
      ln -s "$etc/copy" "$out/etc-copies"
      ln -s "$systemPath" "$out/sw"
      if [ -n "$kernel" ]; then
        ln -s "$kernel" "$out/kernel-modules"
        ln -s "$kernel/${kernelFile}" "$out/kernel"
        ln -s "$initrd/initrd" "$out/initrd"
      fi
      printf '%s' "$kernelParams" > "$out/kernel-params"
      printf '%s' "$nixosVersion" > "$out/nixos-version"
      printf '%s' "$hostSystem" > "$out/system"
      printf '%s' "$nixosLabel" > "$out/configuration-name"
      printf '%s\n' ${toString config.system.initInterfaceVersion} > "$out/init-interface-version"
      printf '%s' "$bootSpec" > "$out/boot.json"
      printf '%s' "$extraDependencies" > "$out/extra-dependencies"
      [ "$inhibitors" = '{}' ] || printf '%s' "$inhibitors" > "$out/switch-inhibitors"
      [ -z "$configurationRevision" ] || printf '%s' "$configurationRevision" > "$out/configuration-revision"
      uname -m > "$out/built-on"
      ${concatStrings (mapAttrsToList (n: s: "ln -s ${s.configuration.system.build.toplevel} \"$out/specialisation/\"${escapeShellArg n}\n") config.specialisation)}
      ${cfg.systemBuilderCommands}
    '';
  };
in
{
  options.system = {
    extraDependencies = mkOption { type = types.listOf types.pathInStore; default = [ ]; description = "Paths that belong to the closure."; };
    checks = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages that have to build."; };
    preSwitchChecks = mkOption {
      type = types.attrsOf types.str;
      default = { };
      description = "Shell text run before a switch, with the incoming system and the action as arguments.";
    };
    switch = {
      enable = mkOption { type = types.bool; default = true; description = "Whether there is a switch-to-configuration."; };
      enableNg = mkOption {
        type = types.bool;
        default = builtins.getEnv "GODWIT_LAB_SWITCH" != "perl";
        description = "Whether switch-to-configuration is the newer one, in Rust, and not the older one, in perl.";
      };
      inhibitors = mkOption { type = types.attrsOf types.str; default = { }; description = "Things whose change forbids switch and test."; };
    };
    systemBuilderCommands = mkOption { type = types.lines; default = ""; internal = true; description = "Text added to the build."; };
    extraSystemBuilderCmds = mkOption { type = types.lines; default = ""; internal = true; description = "Accepted."; };
    initInterfaceVersion = mkOption { type = types.int; default = 2; internal = true; description = "Of this small NixOS: for tests of exit code 100."; };
    copySystemConfiguration = mkOption { type = types.bool; default = false; description = "Accepted."; };
    autoUpgrade = { _freeform = true; enable = mkOption { type = types.bool; default = false; description = "Accepted."; }; };
    disableInstallerTools = mkOption { type = types.bool; default = false; description = "Accepted."; };
    rebuild = { _freeform = true; };
    tools = { _freeform = true; };
    etc = { _freeform = true; };
    fsPackages = mkOption { type = types.listOf types.package; default = [ ]; internal = true; description = "Accepted."; };
    requiredKernelConfig = mkOption { type = types.listOf types.unspecified; default = [ ]; internal = true; description = "Accepted."; };
    includeBuildDependencies = mkOption { type = types.bool; default = false; description = "Accepted."; };
    forbiddenDependenciesRegexes = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted."; };
  };
  config.system = {
    build.toplevel = checked toplevel;
    systemBuilderCommands = config.system.extraSystemBuilderCmds + optionalString (cfg.checks != [ ]) "\n# ${toString cfg.checks}\n";
  };
}
