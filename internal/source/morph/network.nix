# godwit's reading of a morph network: which hosts there are, what their
# `deployment' options say, and the derivation of each host's system.
#
# Nothing here needs nixpkgs: only builtins, and whatever the network itself
# names. The module below is evaluated by each host's own eval-config.nix with
# that one's own lib.
#
# It is a dialect's side of the contract in docs/dialects.md, a function of one set:
#   file      the deployment file, an absolute path as a string
#   deploymentOptions  what common/deployment.nix gives: the options of a host
#   systems   host -> platform, for hosts whose configuration says none
#   fallback  the platform of all other such hosts
#   targets   what `--target' asks for: name -> function of a node; or null
{ file, deploymentOptions, systems ? { }, fallback, targets ? null }:

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

  platformOf = pkgs: pkgs.stdenv.hostPlatform.system or pkgs.system;

  # The platform of a host whose configuration does not say one.
  told = name: if hasPkgs then platformOf givenPkgs else systems.${name} or fallback;

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
    let
      options = node.options.nixpkgs or { };
      cfg = node.config.nixpkgs;
      defined = option: options.${option}.isDefined or false;
      weight = option: options.${option}.highestPrio or 1500;
      ofSet = set: set.system or (parse set.config);
      # "aarch64-unknown-linux-gnu" -> "aarch64-linux"
      parse = config:
        let m = match "([^-]+)-.*(linux|darwin|freebsd).*" config; in
        if m == null then config else "${builtins.head m}-${builtins.elemAt m 1}";
    in
    if specialArgs ? pkgs then { system = platformOf specialArgs.pkgs; from = "pkgs"; }
    else if options == { } then { system = told name; from = "fallback"; }
    else if defined "pkgs" then { system = platformOf cfg.pkgs; from = "pkgs"; }
    else if defined "hostPlatform" then { system = ofSet cfg.hostPlatform; from = "hostPlatform"; }
    else if (options ? crossSystem) && cfg.crossSystem != null then { system = ofSet cfg.crossSystem; from = "localSystem"; }
    else if options ? localSystem && weight "localSystem" < 1500 then { system = ofSet cfg.localSystem; from = "localSystem"; }
    else if weight "system" < (if legacy then 1000 else told-priority) then { system = cfg.system; from = "system"; }
    else { system = told name; from = "fallback"; };

  checks = { cmd, http, tcp, unit, failedUnits, local, ... }: {
    cmd = map (c: { inherit (c) description cmd period timeout; }) cmd;
    http = map
      (c: {
        inherit (c) description host scheme port headers period timeout insecureSSL;
        path = toString c.path;
      })
      http;
    tcp = map (c: { inherit (c) description host port period timeout; }) tcp;
    unit = map (c: { inherit (c) description unit period timeout; }) unit;
    failedUnits = map (c: { inherit (c) description ignore period timeout; }) failedUnits;
    local = map (c: { inherit (c) description cmd period timeout; }) local;
  };

  metadata = name: node:
    let d = node.config.deployment; in {
      inherit name;
      inherit (d) buildOnly substituteOnDestination tags buildOn;
      at = { host = d.targetHost; user = d.targetUser; port = d.targetPort; };
      secrets = mapAttrs
        (_: s: {
          inherit (s) destination permissions action mkDirs uploadAt;
          from.file = toString s.source;
          user = s.owner.user;
          group = s.owner.group;
        })
        d.secrets;
      healthChecks = checks d.healthChecks;
      preDeployChecks = checks d.preDeployChecks;
      release = node.config.system.nixos.release or "";
      platform = platform name node;
      profiles = [ ];
      targets = { };
    };

  # Not named drvPath and outPath: toJSON takes a set with an outPath for a string.
  output = drv: { drv = drv.drvPath; out = drv.outPath; };

  isDarwin = system: match ".*-darwin" system != null;

  # wanted: tags that a host must have for its system to be of interest.
  host = { system ? true, wanted ? [ ], only ? null }: name:
    let
      node = evaluate true name;
      data = metadata name node;
      selected = builtins.all (tag: elem tag data.tags) wanted;
      toplevel = node.config.system.build.toplevel;
      # pkgs of a darwin machine cannot make a NixOS: what makes it so is said
      # by the caller, instead of an assertion deep in nixpkgs.
      buildable = ! isDarwin data.platform.system && (only == null || elem "system" only);
      # A module may have put pkgs in place by force; then that one counts.
      real = platformOf node.pkgs;
      platform =
        if data.platform.from == "fallback" && (node.pkgs or { }) ? stdenv && real != data.platform.system
        then { system = real; from = "pkgs"; }
        else data.platform;
    in
    if ! system || ! selected || ! buildable then data // { inherit selected; }
    else data // {
      inherit selected platform;
      profiles = if targets == null then [ ({ name = "system"; kind = "nixos"; } // output toplevel) ] else [ ];
      targets = if targets == null then { } else mapAttrs (name: f: output (target name f node)) targets;
    };

  # `n:n.config' without a blank is a URL to Nix, that is a string.
  target = name: f:
    if builtins.isFunction f || f ? __functor then f
    else throw "the target ${name} is a ${typeOf f}; a target is a function of a node, such as n: n.config.system.build.toplevel";

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

  # The names beside an option that does not exist, for a suggestion.
  siblings = name: path:
    let
      step = set: word: if set == null || ! isAttrs set || (set._type or null) == "option" then null else set.${word} or null;
      parent = builtins.foldl' step unchecked.${name}.options path;
    in
    if isAttrs parent && (parent._type or null) != "option" then attrNames parent else [ ];
}
