# A morph network: a web server and a Raspberry Pi. `./demo` deploys it to two
# hosts of its own; `godwit deploy network.nix switch` deploys it to yours.
let
  greeting = "hello from the first deploy";
in
{
  network.description = "a small home";

  defaults =
    { name, pkgs, ... }:
    {
      system.stateVersion = "24.05";
      environment.etc."greeting".text = "${greeting}, ${name}\n";

      # A service that is restarted when the greeting changes.
      systemd.services.greeter = {
        description = "Says hello";
        wantedBy = [ "multi-user.target" ];
        restartTriggers = [ greeting ];
        script = ''
          echo "${greeting}" > /run/greeter
          while :; do sleep 60; done
        '';
      };

      deployment.healthChecks.cmd = [
        {
          description = "greeter runs";
          cmd = [ "systemctl" "is-active" "greeter" ];
        }
        {
          description = "greeter says what this configuration says";
          cmd = [ "grep -q '${greeting}' /run/greeter" ];
        }
      ];
    };

  web =
    { ... }:
    {
      nixpkgs.hostPlatform = "x86_64-linux";
      deployment.targetUser = "deploy";
      deployment.tags = [ "server" ];
    };

  pi =
    { ... }:
    {
      nixpkgs.localSystem.system = "aarch64-linux";
      deployment.targetUser = "deploy";
      deployment.tags = [ "raspberry" ];
      boot.loader.generic-extlinux-compatible.enable = true;
      boot.loader.grub.enable = false;
    };
}
