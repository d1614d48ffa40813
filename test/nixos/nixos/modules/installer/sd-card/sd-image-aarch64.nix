{ config, lib, pkgs, ... }:
{
  options.sdImage = { _freeform = true; };
  config = {
    boot.loader.grub.enable = lib.mkDefault false;
    boot.loader.generic-extlinux-compatible.enable = lib.mkDefault true;
    fileSystems."/" = { device = "/dev/disk/by-label/NIXOS_SD"; fsType = "ext4"; };
    system.build.sdImage = pkgs.runCommand "nixos-image-sd-card" { } ''
      mkdir -p "$out/sd-image"
      printf '%s\n' ${config.system.build.toplevel} > "$out/sd-image/nixos-image-sd-card.img"
    '';
  };
}
