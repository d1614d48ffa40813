# Two machines with tags; the database goes first.
let
  pkgs = import (import ./nixpkgs.nix) { };
  disks = {
    "/" = { label = "nixos"; fsType = "ext4"; };
    "/boot" = { label = "boot"; fsType = "vfat"; };
  };
in
{
  network = {
    inherit pkgs;
    description = "two simple machines";
    ordering.tags = [ "db" "web" ];
  };

  "web01" = { config, pkgs, ... }: {
    deployment.tags = [ "web" ];
    boot.loader.systemd-boot.enable = true;
    boot.loader.efi.canTouchEfiVariables = true;
    services.nginx.enable = true;
    fileSystems = disks;
  };

  "db01" = { config, pkgs, ... }: {
    deployment.tags = [ "db" ];
    boot.loader.systemd-boot.enable = true;
    boot.loader.efi.canTouchEfiVariables = true;
    services.postgresql.enable = true;
    fileSystems = disks;
  };
}
