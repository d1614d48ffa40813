# A web server with a secret; ./secrets/signing-key is beside this file and holds nothing of worth.
let
  pkgs = import (import ./nixpkgs.nix) { };
in
{
  network = {
    inherit pkgs;
    description = "a machine with a secret";
  };

  "web01" = { config, pkgs, ... }: {
    boot.loader.systemd-boot.enable = true;
    boot.loader.efi.canTouchEfiVariables = true;
    services.nginx.enable = true;
    fileSystems."/" = { label = "nixos"; fsType = "ext4"; };
    fileSystems."/boot" = { label = "boot"; fsType = "vfat"; };

    deployment.secrets."signing-key" = {
      source = "./secrets/signing-key";
      destination = "/var/secrets/signing-key";
      owner.user = "nginx";
      owner.group = "root";
      permissions = "0400";
      action = [ "sudo" "systemctl" "reload" "nginx.service" ];
    };
  };
}
