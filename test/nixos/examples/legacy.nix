# As people who only know their own machine type write it: on a Mac this asks for Linux packages of a Mac.
{
  network.pkgs = import <nixpkgs> { };

  router = { pkgs, ... }: {
    boot.loader.systemd-boot.enable = true;
    fileSystems."/" = { label = "nixos"; fsType = "ext4"; };
    services.openssh.enable = true;
    system.stateVersion = "25.11";
  };
}
