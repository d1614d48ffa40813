# Known services: an `enable` and any further setting. A name that is not here does not exist, as in the real thing.
{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.services;
  free = description: { _freeform = true; enable = mkEnableOption description; };
  daemons = {
    nginx = { package = pkgs.nginx; description = "Nginx Web Server"; };
    postgresql = { package = pkgs.postgresql; description = "PostgreSQL Server"; };
    caddy = { package = pkgs.caddy; description = "Caddy"; };
    dnsmasq = { package = pkgs.dnsmasq; description = "Dnsmasq Daemon"; };
    grafana = { package = pkgs.grafana; description = "Grafana Service Daemon"; };
    tailscale = { package = pkgs.tailscale; description = "Tailscale node agent"; unit = "tailscaled"; };
    fail2ban = { package = pkgs.fail2ban; description = "Fail2ban Service"; };
  };
  known = [
    "avahi" "bind" "blocky" "borgbackup" "chrony" "cron" "dbus" "dovecot2" "fstrim" "fwupd" "gitea" "haproxy" "home-assistant" "hostapd"
    "influxdb" "jellyfin" "journald" "k3s" "kea" "keepalived" "logind" "logrotate" "matrix-synapse" "mosquitto" "mysql" "nextcloud"
    "nscd" "ntp" "openvpn" "pipewire" "postfix" "prometheus" "qemuGuest" "resolved" "restic" "samba" "smartd" "syncthing"
    "timesyncd" "traefik" "udev" "unbound" "vaultwarden" "xserver" "zfs" "zigbee2mqtt" "displayManager" "desktopManager" "getty" "adguardhome"
    "nix-serve" "radvd" "redis" "locate" "printing" "flatpak" "envfs" "btrfs" "thermald" "tlp" "upower" "earlyoom" "coredns" "vector" "loki" "promtail"
  ];
  ssh = cfg.openssh;
  value = v: if isBool v then (if v then "yes" else "no") else if isList v then concatStringsSep "," v else toString v;
  sshdConfig = concatMapStrings (p: "Port ${toString p}\n") ssh.ports
    + "AuthorizedKeysFile ${toString ssh.authorizedKeysFiles}\n"
    + concatStrings (mapAttrsToList (k: v: optionalString (v != null) "${k} ${value v}\n") ssh.settings)
    + ssh.extraConfig;
in
{
  options.services = genAttrs known (n: free n)
    // mapAttrs
    (n: d: free d.description // {
      package = mkOption { type = types.package; default = d.package; defaultText = literalExpression "pkgs.${n}"; description = "Package."; };
      settings = mkOption { type = types.anything; default = { }; description = "Written beside the unit; a change restarts it."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Written beside the unit; a change restarts it."; };
    })
    daemons
    // {
    openssh = {
      _freeform = true;
      enable = mkEnableOption "the OpenSSH secure shell daemon, which allows secure remote logins";
      ports = mkOption { type = types.listOf types.port; default = [ 22 ]; description = "Ports."; };
      openFirewall = mkOption { type = types.bool; default = true; description = "Open the ports."; };
      startWhenNeeded = mkOption { type = types.bool; default = false; description = "Accepted."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Text for sshd_config."; };
      authorizedKeysFiles = mkOption { type = types.listOf types.str; default = [ ]; description = "Key files."; };
      authorizedKeysInHomedir = mkOption { type = types.bool; default = true; description = "Whether ~/.ssh/authorized_keys counts."; };
      hostKeys = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Accepted."; };
      knownHosts = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; };
      settings = mkOption {
        default = { };
        description = "sshd_config.";
        type = types.submodule {
          freeformType = types.attrsOf (types.nullOr (types.oneOf [ types.str types.int types.bool types.path (types.listOf types.str) ]));
          options = {
            PermitRootLogin = mkOption { type = types.enum [ "yes" "without-password" "prohibit-password" "forced-commands-only" "no" ]; default = "prohibit-password"; description = "Whether root may log in."; };
            PasswordAuthentication = mkOption { type = types.nullOr types.bool; default = true; description = "Whether passwords are accepted."; };
          };
        };
      };
    };
  };
  imports = [
    (mkRenamedOptionModule [ "services" "openssh" "passwordAuthentication" ] [ "services" "openssh" "settings" "PasswordAuthentication" ])
    (mkRenamedOptionModule [ "services" "openssh" "permitRootLogin" ] [ "services" "openssh" "settings" "PermitRootLogin" ])
    (mkRemovedOptionModule [ "services" "openssh" "challengeResponseAuthentication" ] "Use services.openssh.settings instead.")
  ];
  config = {
    systemd.services = mkMerge (mapAttrsToList
      (n: d: mkIf cfg.${n}.enable {
        ${d.unit or n} = {
          inherit (d) description;
          wantedBy = [ "multi-user.target" ];
          after = [ "network.target" ];
          restartTriggers = [ (builtins.hashString "sha256" (builtins.unsafeDiscardStringContext (builtins.toJSON (removeAttrs cfg.${n} [ "package" ])))) ];
          serviceConfig = { ExecStart = "${cfg.${n}.package}/bin/${getName d.package}"; Restart = "on-failure"; };
        };
      })
      daemons);
    services.openssh.authorizedKeysFiles = optional ssh.authorizedKeysInHomedir "%h/.ssh/authorized_keys" ++ [ "/etc/ssh/authorized_keys.d/%u" ];
    # Debian's own ssh.service reads it. Its drop-in makes switch-to-configuration restart that service when the file changes.
    environment.etc."ssh/sshd_config.d/10-nixos.conf" = mkIf ssh.enable { text = sshdConfig; };
    environment.etc."systemd/system/ssh.service.d/10-nixos.conf" = mkIf ssh.enable {
      text = "[Unit]\nX-Restart-Triggers=${config.environment.etc."ssh/sshd_config.d/10-nixos.conf".source}\n";
    };
    networking.firewall.allowedTCPPorts = mkIf (ssh.enable && ssh.openFirewall) ssh.ports;
  };
}
