# A web server that is only good when a command and two addresses say so.
let
  pkgs = import (import ./nixpkgs.nix) { };
in
{
  network = {
    inherit pkgs;
    description = "a machine with health checks";
  };

  "web01" = { config, pkgs, ... }: {
    boot.loader.systemd-boot.enable = true;
    boot.loader.efi.canTouchEfiVariables = true;
    services.nginx.enable = true;
    fileSystems."/" = { label = "nixos"; fsType = "ext4"; };
    fileSystems."/boot" = { label = "boot"; fsType = "vfat"; };

    deployment.healthChecks = {
      cmd = [
        { cmd = [ "true" "with an argument" "and another" ]; description = "The command true works."; }
      ];
      http = [
        { scheme = "http"; port = 80; path = "/"; period = 1; description = "nginx answers."; }
        { scheme = "https"; port = 443; host = "elsewhere.example.com"; path = "/health"; description = "The service elsewhere answers."; }
      ];
    };
  };
}
