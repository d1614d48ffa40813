{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.networking;
  fw = cfg.firewall;
  flag = d: mkOption { type = types.bool; default = d; description = "Accepted."; };
  strs = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted."; };
  text = mkOption { type = types.lines; default = ""; description = "Accepted."; };
  ports = mkOption { type = types.listOf types.port; default = [ ]; apply = xs: unique (sort lessThan xs); description = "Ports."; };
  ranges = mkOption { type = types.listOf (types.attrsOf types.port); default = [ ]; description = "Port ranges."; };
  portOptions = { allowedTCPPorts = ports; allowedUDPPorts = ports; allowedTCPPortRanges = ranges; allowedUDPPortRanges = ranges; };
  nft = proto: ps: optionalString (ps != [ ]) "    ${proto} dport { ${concatMapStringsSep ", " toString ps} } accept\n";
  rules = ''
    table inet nixos-fw
    delete table inet nixos-fw
    table inet nixos-fw {
      chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
    ${optionalString fw.allowPing "    meta l4proto { icmp, ipv6-icmp } accept\n"}${nft "tcp" fw.allowedTCPPorts}${nft "udp" fw.allowedUDPPorts}  }
    }
  '';
in
{
  options.networking = {
    _freeform = true;
    hostName = mkOption { type = types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$"; default = "nixos"; description = "Host name without domain."; };
    domain = mkOption { type = types.nullOr types.str; default = null; description = "Domain."; };
    fqdn = mkOption {
      type = types.str;
      readOnly = true;
      default = if cfg.hostName != "" && cfg.domain != null then "${cfg.hostName}.${cfg.domain}"
        else throw "The FQDN is required but cannot be determined. Please make sure that\nboth networking.hostName and networking.domain are set properly.\n";
      description = "Host name and domain.";
    };
    fqdnOrHostName = mkOption { type = types.str; readOnly = true; default = if cfg.domain == null then cfg.hostName else cfg.fqdn; description = "FQDN or host name."; };
    hostId = mkOption { type = types.nullOr types.str; default = null; description = "Host id."; };
    useDHCP = flag true;
    useNetworkd = flag false;
    usePredictableInterfaceNames = mkOption { type = types.nullOr types.bool; default = null; description = "Accepted."; };
    enableIPv6 = flag true;
    useHostResolvConf = flag false;
    nameservers = strs;
    search = strs;
    timeServers = strs;
    extraHosts = text;
    hosts = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; description = "Entries of /etc/hosts."; };
    hostFiles = mkOption { type = types.listOf types.path; default = [ ]; description = "Accepted."; };
    defaultGateway = mkOption { type = types.nullOr (types.either types.str types.attrs); default = null; description = "Accepted."; };
    defaultGateway6 = mkOption { type = types.nullOr (types.either types.str types.attrs); default = null; description = "Accepted."; };
    interfaces = mkOption {
      default = { };
      description = "Interfaces.";
      type = types.attrsOf (types.submodule ({ name, ... }: {
        freeformType = types.attrsOf types.anything;
        options = {
          name = mkOption { type = types.str; default = name; description = "Name."; };
          useDHCP = mkOption { type = types.nullOr types.bool; default = null; description = "Accepted."; };
        } // genAttrs [ "ipv4" "ipv6" ] (_: {
          addresses = mkOption { type = types.listOf (types.submodule { options = { address = mkOption { type = types.str; description = "Address."; }; prefixLength = mkOption { type = types.int; description = "Length."; }; }; }); default = [ ]; description = "Addresses."; };
          routes = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Routes."; };
        });
      }));
    };
    bridges = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; };
    vlans = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; };
    nat = { _freeform = true; enable = flag false; };
    nftables = { _freeform = true; enable = flag false; };
    wireless = { _freeform = true; enable = flag false; };
    networkmanager = { _freeform = true; enable = flag false; };
    wireguard = { _freeform = true; enable = flag false; interfaces = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted."; }; };
    dhcpcd = { _freeform = true; enable = flag true; };
    firewall = portOptions // {
      _freeform = true;
      enable = flag true;
      allowPing = flag true;
      trustedInterfaces = strs;
      extraCommands = text;
      extraInputRules = text;
      interfaces = mkOption { type = types.attrsOf (types.submodule { options = portOptions; }); default = { }; description = "Ports of one interface."; };
    };
  };
  config = {
    # /etc/hosts and /etc/hostname belong to the container engine.
    environment.etc."nixos-lab/hosts".text = concatStrings (mapAttrsToList (ip: names: "${ip} ${concatStringsSep " " names}\n") cfg.hosts) + cfg.extraHosts;
    environment.etc."nixos-lab/firewall.nft" = mkIf fw.enable { text = rules; };
    systemd.services.firewall = mkIf (fw.enable && config.lab.firewall) {
      description = "Firewall";
      wantedBy = [ "sysinit.target" ];
      after = [ "systemd-modules-load.service" ];
      reloadIfChanged = true;
      restartTriggers = [ config.environment.etc."nixos-lab/firewall.nft".source ];
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.nftables}/bin/nft -f ${config.environment.etc."nixos-lab/firewall.nft".source}";
        ExecReload = "${pkgs.nftables}/bin/nft -f ${config.environment.etc."nixos-lab/firewall.nft".source}";
        ExecStop = "-${pkgs.nftables}/bin/nft delete table inet nixos-fw";
      };
    };
  };
}
