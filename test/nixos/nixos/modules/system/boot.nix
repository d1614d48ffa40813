{ config, lib, pkgs, ... }:
with lib;
let
  opt = type: default: mkOption { inherit type default; description = "Accepted."; };
  flag = opt types.bool;
  strs = opt (types.listOf types.str) [ ];
  free = { _freeform = true; };
in
{
  options.boot = free // {
    isContainer = flag false;
    kernelPackages = mkOption {
      type = types.raw;
      default = pkgs.linuxPackages;
      apply = p: if p ? extend then p.extend (_: _: { }) else p;
      description = "Kernel and what belongs to it.";
    };
    kernelParams = strs;
    kernelModules = strs;
    blacklistedKernelModules = strs;
    extraModulePackages = opt (types.listOf types.package) [ ];
    extraModprobeConfig = opt types.lines "";
    kernelPatches = opt (types.listOf types.attrs) [ ];
    consoleLogLevel = opt types.int 4;
    supportedFilesystems = mkOption { type = types.coercedTo (types.listOf types.str) (l: genAttrs l (_: true)) (types.attrsOf types.bool); default = { }; description = "Accepted."; };
    growPartition = flag false;
    kernel = { _freeform = true; sysctl = opt (types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.str ]))) { }; };
    tmp = free // { useTmpfs = flag false; cleanOnBoot = flag false; };
    binfmt = free // { emulatedSystems = strs; };
    swraid = free // { enable = flag false; };
    zfs = free;
    initrd = free // {
      enable = flag true;
      availableKernelModules = strs;
      kernelModules = strs;
      includeDefaultModules = flag true;
      supportedFilesystems = opt (types.either (types.listOf types.str) (types.attrsOf types.bool)) [ ];
      systemd = free // { enable = flag false; };
      network = free // { enable = flag false; };
      secrets = opt (types.attrsOf (types.nullOr (types.either types.path types.str))) { };
      luks = free // { devices = opt (types.attrsOf types.anything) { }; };
      preDeviceCommands = opt types.lines "";
      postDeviceCommands = opt types.lines "";
      postMountCommands = opt types.lines "";
    };
    loader = free // {
      timeout = opt (types.nullOr types.int) 5;
      efi = free // { canTouchEfiVariables = flag false; efiSysMountPoint = opt types.str "/boot"; };
      systemd-boot = free // { enable = flag false; configurationLimit = opt (types.nullOr types.int) null; editor = flag true; };
      grub = free // {
        enable = flag (!config.boot.isContainer && !config.boot.loader.systemd-boot.enable && !config.boot.loader.generic-extlinux-compatible.enable);
        device = opt types.str "";
        devices = strs;
        efiSupport = flag false;
        efiInstallAsRemovable = flag false;
        useOSProber = flag false;
        version = opt types.int 2;
        configurationLimit = opt types.int 100;
      };
      generic-extlinux-compatible = free // { enable = flag false; configurationLimit = opt types.int 20; };
      raspberryPi = free // { enable = flag false; version = opt types.int 3; };
      raspberry-pi = free // { enable = flag false; };
      initScript = free // { enable = flag false; };
      external = free // { enable = flag false; };
    };
  };
  config = {
    boot.kernelParams = [ "loglevel=${toString config.boot.consoleLogLevel}" ];
    system.build.kernel = config.boot.kernelPackages.kernel;
    system.build.initialRamdisk = pkgs.rawDerivation {
      name = "initrd-linux-${config.boot.kernelPackages.kernel.version}";
      env.modules = unique (config.boot.initrd.availableKernelModules ++ config.boot.initrd.kernelModules);
      env.kernel = config.boot.kernelPackages.kernel;
      script = ''
        mkdir -p "$out"
        printf 'initrd for %s\nmodules: %s\n' "$kernel" "$modules" > "$out/initrd"
      '';
    };
    # As the real one, which the boot loader's step calls with the initial ram disk: here that is a folder.
    system.systemBuilderCommands = mkIf (config.boot.initrd.secrets != { }) ''
      cat > "$out/append-initrd-secrets" <<'SECRETS'
      #!/bin/sh
      set -e
      ${concatStrings (mapAttrsToList (to: from: ''
        mkdir -p "$1"${lib.escapeShellArg (dirOf to)}
        cp ${lib.escapeShellArg (if from == null then to else toString from)} "$1"${lib.escapeShellArg to}
      '') config.boot.initrd.secrets)}
      SECRETS
      chmod 755 "$out/append-initrd-secrets"
    '';
    environment.etc."sysctl.d/60-nixos.conf".text = concatStrings (mapAttrsToList
      (k: v: optionalString (v != null) "${k}=${if v == true then "1" else if v == false then "0" else toString v}\n") config.boot.kernel.sysctl);
    environment.etc."modules-load.d/nixos.conf".text = concatMapStrings (m: m + "\n") config.boot.kernelModules;
  };
}
