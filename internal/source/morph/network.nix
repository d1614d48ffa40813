# godwit's reading of a morph network: which hosts there are, what their
# `deployment' options say, and the derivation of each host's system.
#
# Nothing here needs nixpkgs: only builtins, and whatever the network itself
# names. The module below is evaluated by each host's own eval-config.nix with
# that one's own lib.
#
# It is a dialect's side of the contract in docs/dialects.md, a function of one set:
#   file      the deployment file, an absolute path as a string
#   common    what common/common.nix gives: the reading of a NixOS node
#   deploymentOptions  what common/deployment.nix gives: the options of a host
#   systems   host -> platform, for hosts whose configuration says none
#   fallback  the platform of all other such hosts
#   targets   what `--target' asks for: name -> function of a node; or null
{ file, common, deploymentOptions, systems ? { }, fallback, targets ? null }:

let
  inherit (builtins)
    attrNames compareVersions elem filter isAttrs isString listToAttrs mapAttrs
    match pathExists readFile typeOf;

  value = import (/. + file);

  network =
    if isAttrs value then value
    else throw "${file} is a ${typeOf value}; a morph network is an attribute set of machines";

  # What else people have at hand, by what only that has: the caller says what to
  # do with it. null: a network, as far as one can see.
  other =
    let
      has = builtins.any (name: (value.meta or { }) ? ${name});
      old = value.network or { };
    in
    if builtins.isFunction value then { kind = "function"; args = attrNames (builtins.functionArgs value); }
    else if ! isAttrs value then null
    else if value ? outputs && builtins.isFunction value.outputs then { kind = "flake"; args = [ ]; }
    else if isAttrs (value.meta or null) && has [ "nixpkgs" "nodeNixpkgs" "specialArgs" "nodeSpecialArgs" "allowApplyAll" "machinesFile" ]
    then { kind = "hive"; args = [ ]; }
    else if isAttrs old && (old ? storage || old ? enableRollback || old ? nixpkgs) then { kind = "nixops"; args = [ ]; }
    else if isAttrs (value.deploy or null) && isAttrs (value.deploy.nodes or null) then { kind = "deploy"; args = [ ]; }
    else if builtins.isList (value.imports or null) then { kind = "module"; args = [ ]; }
    else null;

  settings = network.network or { };

  # Every other attribute is a machine.
  reserved = [ "network" "defaults" "resources" "require" "_file" ];
  names = filter (name: ! elem name reserved) (attrNames network);

  givenPkgs = settings.pkgs or { };
  hasPkgs = givenPkgs != { };
  specialArgs = settings.specialArgs or { };

  evalConfigFile =
    settings.evalConfig
      or ((if hasPkgs && givenPkgs ? path then toString givenPkgs.path else toString <nixpkgs>) + "/nixos/lib/eval-config.nix");
  evalConfig = import evalConfigFile;

  # NixOS before 22.05 must be told a system as an argument; later ones take
  # null and leave the platform to modules, which is what morph does.
  legacy =
    let
      version = /. + (builtins.unsafeDiscardStringContext (toString evalConfigFile) + "/../../../.version");
      release = match "([0-9]+\\.[0-9]+).*" (readFile version);
    in
    pathExists version && release != null && compareVersions (builtins.head release) "22.05" < 0;

  shared = common { inherit systems fallback targets; };
  inherit (shared) checks output platformOf;

  # The platform of a host whose configuration does not say one.
  told = name: if hasPkgs then platformOf givenPkgs else shared.told name;

  # Priorities of the module system: mkDefault is 1000, an option's own default 1500.
  told-priority = 1400;

  # A host that is called by its whole name: since 20.09 NixOS wants the first
  # label alone. One that is called by its address has no labels.
  hostName = check: name:
    let
      first = builtins.head (builtins.split "\\." name);
      characters = builtins.genList (i: builtins.substring i 1 name) (builtins.stringLength name);
      words = builtins.concatStringsSep "" (map (c: if match "[A-Za-z0-9]" c == null then "-" else c) characters);
      # Between letters and digits, and not too long for a label.
      plain = builtins.head (match "-*(.*[^-]|)-*" (builtins.substring 0 63 words));
      address = match "[0-9]+(\\.[0-9]+){3}" name != null || match ".*:.*" name != null;
    in
    if check name then name
    else if address && check "ip-${plain}" then "ip-${plain}"
    else if ! address && check first then first
    else if check plain then plain
    else first;

  deployment = { name, check }: { config, lib, options, ... }: {
    _file = "godwit/deployment.nix";
    imports = [ (deploymentOptions { always = true; }) ];
    config = {
      _module = {
        args = {
          inherit name;
          nodes = unchecked;
        };
      } // (if check then { } else { check = lib.mkForce false; });
      networking.hostName = lib.mkDefault (hostName options.networking.hostName.type.check name);
      deployment.targetHost = lib.mkDefault name;
    }
    // lib.optionalAttrs (options ? nixpkgs) (
      # `nixpkgs.system' is the one place where NixOS of every age takes a
      # platform that anything else may override. The read-only nixpkgs module
      # has no such option.
      let
        byUser = options.nixpkgs.pkgs.isDefined or false;
        platform = lib.optionalAttrs (options.nixpkgs ? system) {
          system =
            if legacy then
              # Up to 22.05 an assertion compares it with the platform of nixpkgs.pkgs.
              lib.mkIf byUser (lib.mkOverride 900 (platformOf config.nixpkgs.pkgs))
            else
              lib.mkOverride told-priority (if byUser then platformOf config.nixpkgs.pkgs else told name);
        };
        pkgs = if hasPkgs then { pkgs = lib.mkDefault givenPkgs; } else { };
      in
      { nixpkgs = platform // pkgs; }
    );
  };

  evaluate = check: name: evalConfig {
    inherit specialArgs;
    system = if legacy then told name else null;
    modules = [
      # Messages then name the deployment file where a module has no file of its own.
      { _file = file; imports = [ network.${name} ]; }
      { _file = file; imports = [ (network.defaults or { }) ]; }
      (deployment { inherit name check; })
    ] ++ (if network ? _file then [{ inherit (network) _file; }] else [ ]);
  };

  # What modules see as `nodes': evaluated without checks, so that two hosts may
  # look at each other.
  unchecked = listToAttrs (map (name: { inherit name; value = evaluate false name; }) names);

  nodes = listToAttrs (map (name: { inherit name; value = evaluate true name; }) names);

  # Where a host's platform comes from, without forcing a package.
  platform = name: node:
    if specialArgs ? pkgs then { system = platformOf specialArgs.pkgs; from = "pkgs"; }
    else shared.platform {
      inherit node;
      otherwise = { system = told name; from = "fallback"; };
      priority = if legacy then 1000 else told-priority;
    };

  metadata = name: node:
    let d = node.config.deployment; in {
      inherit name;
      inherit (d) buildOnly substituteOnDestination tags buildOn;
      at = {
        host = d.targetHost;
        user = d.targetUser;
        port = d.targetPort;
        also = d.addresses;
        options = d.sshOptions;
        inherit (d) forwardAgent;
      };
      secrets = mapAttrs
        (_: s: {
          inherit (s) destination permissions action mkDirs uploadAt;
          from.file = toString s.source;
          user = s.owner.user;
          group = s.owner.group;
        })
        d.secrets;
      restSecrets = node.config.godwit.restSecrets or false;
      healthChecks = checks d.healthChecks;
      preDeployChecks = checks d.preDeployChecks;
      release = node.config.system.nixos.release or "";
      platform = platform name node;
      profiles = [ ];
      targets = { };
    };

  host = asked: name:
    let node = evaluate true name; in
    shared.host asked { inherit node; data = metadata name node; };

  nixConfig = mapAttrs
    (name: value:
      if isString value then value
      else throw "nix option '${name}' must have a string typed value")
    (settings.nixConfig or { });
in
{
  inherit names nodes host;

  summary = if other != null then { inherit other; names = [ ]; } else {
    inherit names nixConfig;
    description = settings.description or "";
    orderingTags = settings.ordering.tags or [ ];
    godwit = settings.godwit or { };
    buildShell = settings ? buildShell && settings.buildShell != null;
  };

  buildShell = output settings.buildShell;

  siblings = name: shared.siblings unchecked.${name};
}
