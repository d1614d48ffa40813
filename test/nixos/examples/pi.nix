# A router on a Raspberry Pi, and a network that says nothing of package sets: each machine names its own platform.
{
  network.description = "a Raspberry Pi";

  router = { config, lib, pkgs, name, nodes, ... }: {
    nixpkgs.hostPlatform = "aarch64-linux";
    deployment.targetHost = "192.168.1.1";
    boot.loader.grub.enable = false;
    boot.loader.generic-extlinux-compatible.enable = true;
    boot.kernelPackages = pkgs.linuxPackages_rpi4;
    fileSystems."/" = { label = "NIXOS_SD"; fsType = "ext4"; };
    services.openssh.enable = true;
    services.dnsmasq.enable = true;
    networking.firewall.allowedUDPPorts = [ 53 67 ];
    boot.kernel.sysctl."net.ipv4.ip_forward" = 1;
    environment.systemPackages = with pkgs; [ vim htop tcpdump ];
    system.stateVersion = "25.11";
  };
}
