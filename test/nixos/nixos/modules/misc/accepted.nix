# Options that are accepted and have no effect here, or hardly any. `_freeform` takes any further name below its set.
{ config, lib, pkgs, ... }:
with lib;
let
  flag = d: mkOption { type = types.bool; default = d; description = "Accepted."; };
  string = d: mkOption { type = types.str; default = d; description = "Accepted."; };
  nullString = mkOption { type = types.nullOr types.str; default = null; description = "Accepted."; };
  listOf = t: mkOption { type = types.listOf t; default = [ ]; description = "Accepted."; };
  text = mkOption { type = types.lines; default = ""; description = "Accepted."; };
  free = { _freeform = true; };
in
{
  options = {
    documentation = free // {
      enable = flag true;
      man.enable = flag true;
      info.enable = flag true;
      doc.enable = flag true;
      dev.enable = flag false;
      nixos = free // {
        enable = flag true;
        extraModuleSources = listOf (types.either types.path types.str);
        extraModules = listOf types.raw;
        includeAllModules = flag false;
        options.warningsAreErrors = flag true;
      };
    };
    time.timeZone = mkOption { type = types.nullOr types.str; default = null; description = "Accepted."; };
    time.hardwareClockInLocalTime = flag false;
    location = free;
    i18n = free // { defaultLocale = string "en_US.UTF-8"; supportedLocales = listOf types.str; };
    console = free // { enable = flag true; keyMap = mkOption { type = types.either types.str types.path; default = "us"; description = "Accepted."; }; };
    fonts = free;
    sound = free;
    xdg = free;
    gtk = free;
    qt = free;
    powerManagement = free // { enable = flag true; cpuFreqGovernor = nullString; };
    virtualisation = free // { docker = free // { enable = flag false; }; podman = free // { enable = flag false; }; };
    containers = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; };
    hardware = free // {
      enableRedistributableFirmware = flag false;
      enableAllFirmware = flag false;
      firmware = listOf types.package;
      deviceTree = free // { enable = flag false; };
      raspberry-pi = free;
      bluetooth = free // { enable = flag false; };
      graphics = free // { enable = flag false; };
      cpu.intel.updateMicrocode = flag false;
      cpu.amd.updateMicrocode = flag false;
    };
    security = free // {
      sudo = free // {
        enable = flag true;
        wheelNeedsPassword = flag true;
        extraRules = listOf types.anything;
        extraConfig = text;
        execWheelOnly = flag false;
        package = mkOption { type = types.package; default = pkgs.sudo; description = "Accepted."; };
      };
      sudo-rs = free // { enable = flag false; };
      doas = free // { enable = flag false; };
      polkit = free // { enable = flag false; };
      acme = free // { acceptTerms = flag false; };
      pki = free // { certificates = listOf types.str; certificateFiles = listOf types.path; };
      pam = free // { services = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; }; };
      wrappers = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; };
    };
    nix = free // {
      enable = flag true;
      package = mkOption { type = types.package; default = pkgs.nix; description = "The Nix package."; };
      settings = mkOption { type = types.submodule { freeformType = types.attrsOf types.anything; }; default = { }; description = "nix.conf."; };
      extraOptions = text;
      gc = free // { automatic = flag false; dates = mkOption { type = types.either types.str (types.listOf types.str); default = "03:15"; description = "Accepted."; }; options = string ""; };
      optimise = free // { automatic = flag false; };
      nixPath = listOf types.str;
      registry = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; };
      channel.enable = flag true;
      distributedBuilds = flag false;
      buildMachines = listOf types.anything;
      sshServe = free;
      daemonCPUSchedPolicy = string "other";
      # Names of older releases, still accepted.
      trustedUsers = listOf types.str;
      autoOptimiseStore = flag false;
      maxJobs = mkOption { type = types.either types.int (types.enum [ "auto" ]); default = "auto"; description = "Accepted."; };
    };
    programs = free // {
      bash = free // { enable = flag true; completion.enable = flag true; };
      zsh = free // { enable = flag false; };
      fish = free // { enable = flag false; };
      ssh = free // { knownHosts = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; }; extraConfig = text; startAgent = flag false; };
      git = free // { enable = flag false; };
      vim = free // { enable = flag false; };
      nix-ld = free // { enable = flag false; };
      mtr = free // { enable = flag false; };
      gnupg = free;
    };
    fileSystems = mkOption {
      default = { };
      description = "File systems. Written to nixos-lab/fstab, not mounted.";
      type = types.attrsOf (types.submodule ({ name, config, ... }: {
        freeformType = types.attrsOf types.anything;
        options = {
          mountPoint = string name;
          device = nullString;
          label = nullString;
          fsType = string "auto";
          options = mkOption { type = types.listOf types.str; default = [ "defaults" ]; description = "Mount options."; };
          neededForBoot = flag false;
          noCheck = flag false;
          depends = listOf types.str;
          autoFormat = flag false;
          autoResize = flag false;
        };
        config.device = mkIf (config.label != null) (mkDefault "/dev/disk/by-label/${config.label}");
      }));
    };
    swapDevices = mkOption { type = types.listOf (types.submodule { freeformType = types.attrsOf types.anything; }); default = [ ]; description = "Accepted."; };
    zramSwap = free // { enable = flag false; };
    lab = {
      requireRootFileSystem = mkOption {
        type = types.bool;
        default = false;
        description = "Refuse a configuration without fileSystems.\"/\" and without a boot loader, as the real NixOS does.";
      };
      firewall = mkOption { type = types.bool; default = false; description = "Load networking.firewall into nftables for real."; };
      switchScript = mkOption { type = types.lines; default = ""; description = "Shell text run by switch-to-configuration before it looks at units: fault injection."; };
      userScript = mkOption {
        type = types.lines;
        default = "";
        description = "Shell text run by switch-to-configuration for each user of logind, with the name in $1; its status 100 ends the run in the middle, any other than 0 fails this user's part.";
      };
    };
  };
  config = {
    environment.etc."nixos-lab/fstab".text = concatMapStrings
      (fs: "${if fs.device == null then "none" else fs.device} ${fs.mountPoint} ${fs.fsType} ${concatStringsSep "," fs.options} 0 2\n")
      (attrValues config.fileSystems);
    environment.etc."nix/nix.conf.d/nixos.conf".text = concatStrings (mapAttrsToList
      (k: v: "${k} = ${if isList v then toString v else if isBool v then boolToString v else toString v}\n") config.nix.settings) + config.nix.extraOptions;
    assertions = optionals config.lab.requireRootFileSystem [
      {
        assertion = config.fileSystems ? "/";
        message = "The ‘fileSystems’ option does not specify your root file system.";
      }
      {
        assertion = config.boot.loader.grub.enable -> config.boot.loader.grub.device != "" || config.boot.loader.grub.devices != [ ];
        message = "You must set the option ‘boot.loader.grub.devices’ or 'boot.loader.grub.mirroredBoots' to make the system bootable.";
      }
    ];
  };
}
