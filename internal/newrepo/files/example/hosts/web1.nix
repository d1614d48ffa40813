# An example: write your own address, file systems and boot loader, or delete this file and
# read a running host with `godwit init --from USER@HOST` in an empty directory.
{
  imports = [ ../users/admin.nix ];

  networking.hostName = "web1";
  nixpkgs.hostPlatform = "x86_64-linux";

  # How godwit reaches it, and what `--on @web` selects.
  deployment.targetHost = "root@192.0.2.1";
  deployment.tags = [ "web" ];

  fileSystems."/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
  boot.loader.grub.device = "/dev/sda";

  # The release that the machine was installed with. Never change it afterwards.
  system.stateVersion = "@RELEASE@";
}
