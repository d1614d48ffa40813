# What the dialects' readings of a NixOS node have in common. Nothing here
# needs nixpkgs.
#
# It gives a function of one set:
#   systems   host -> platform, for hosts whose configuration says none
#   fallback  the platform of all other such hosts
#   targets   what `--target' asks for: name -> function of a node; or null
{ systems ? { }, fallback, targets ? null }:

let
  inherit (builtins) all attrNames elem foldl' elemAt head isAttrs isFunction mapAttrs match typeOf;

  # "aarch64-unknown-linux-gnu" -> "aarch64-linux"
  parse = config:
    let m = match "([^-]+)-.*(linux|darwin|freebsd).*" config; in
    if m == null then config else "${head m}-${elemAt m 1}";

  ofSet = set: set.system or (parse set.config);

  isDarwin = system: match ".*-darwin" system != null;

  # `n:n.config' without a blank is a URL to Nix, that is a string.
  target = name: f:
    if isFunction f || f ? __functor then f
    else throw "the target ${name} is a ${typeOf f}; a target is a function of a node, such as n: n.config.system.build.toplevel";
in
rec {
  inherit target;

  # The platform of a host whose configuration does not say one.
  told = name: systems.${name} or fallback;

  platformOf = pkgs: pkgs.stdenv.hostPlatform.system or pkgs.system;

  # Where a host's platform comes from, without forcing a package. `otherwise'
  # is what it is when the node does not say one; `priority' that of a definition
  # of nixpkgs.system which is not the user's (1500: there is none). An argument
  # `system' of nixosSystem is a definition with priority 1000, and the user's.
  platform = { node, otherwise, priority ? 1500 }:
    let
      options = node.options.nixpkgs or { };
      cfg = node.config.nixpkgs;
      defined = option: options.${option}.isDefined or false;
      weight = option: options.${option}.highestPrio or 1500;
    in
    if options == { } then otherwise
    else if defined "pkgs" then { system = platformOf cfg.pkgs; from = "pkgs"; }
    else if defined "hostPlatform" then { system = ofSet cfg.hostPlatform; from = "hostPlatform"; }
    else if (options ? crossSystem) && cfg.crossSystem != null then { system = ofSet cfg.crossSystem; from = "localSystem"; }
    else if options ? localSystem && weight "localSystem" < 1500 then { system = ofSet cfg.localSystem; from = "localSystem"; }
    else if weight "system" < priority then { system = cfg.system; from = "system"; }
    else otherwise;

  # Health checks as the contract has them, of the option's value.
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

  # Not named drvPath and outPath: toJSON takes a set with an outPath for a string.
  output = drv: { drv = drv.drvPath; out = drv.outPath; };

  # Secrets that the machine itself decrypts, by agenix's and sops-nix's options. `only':
  # no other key than its ssh host keys opens them.
  sealed = config:
    let
      hostKey = p: match ".*/ssh_host_[a-z0-9]+_key" (toString p) != null;
      age = config.age.secrets or { };
      sops = config.sops.secrets or { };
    in
    map
      (n: {
        tool = "agenix"; name = n; file = toString age.${n}.file;
        only = all hostKey (config.age.identityPaths or [ ]);
      })
      (attrNames age)
    ++ map
      (n: {
        tool = "sops-nix"; name = n; file = toString sops.${n}.sopsFile;
        format = sops.${n}.format or "yaml"; key = sops.${n}.key or n;
        only = (config.sops.age.keyFile or null) == null && all hostKey (config.sops.age.sshKeyPaths or [ ]);
      })
      (attrNames sops);

  # Secrets that rest on the machine, by the options of godwit's own module.
  declared = config:
    let all = config.godwit.secrets or { }; in
    map
      (name:
        let s = all.${name}; in {
          inherit name;
          inherit (s) path owner group mode;
          file = if s.file == null then "" else toString s.file;
          restart = s.restartUnits ++ map (service: "${service}.service") s.credentialOf;
          phase = if s.neededForUsers then "users" else "services";
          keyFile = if config.godwit.secretsKey == null then "" else config.godwit.secretsKey;
        })
      (attrNames all);

  # The contract's host, of its metadata (`data', with platform and tags) and its
  # node. The system is not forced where the tags say that nobody wants it.
  host = { system ? true, wanted ? [ ], only ? null }: { node, data }:
    let
      selected = all (tag: elem tag data.tags) wanted;
      # pkgs of a darwin machine cannot make a NixOS: what makes it so is said
      # by the caller, instead of an assertion deep in nixpkgs.
      buildable = ! isDarwin data.platform.system;
      # A module may have put pkgs in place by force; then that one counts.
      real = platformOf node.pkgs;
      platform =
        if data.platform.from == "fallback" && (node.pkgs or { }) ? stdenv && real != data.platform.system
        then { system = real; from = "pkgs"; }
        else data.platform;
      profile = { name = "system"; kind = "nixos"; sealed = sealed node.config; declared = declared node.config; } // output node.config.system.build.toplevel;
      asked = targets == null && (only == null || elem "system" only);
    in
    if ! system || ! selected || ! buildable then data // { inherit selected; }
    else data // {
      inherit selected platform;
      profiles = if asked then [ profile ] else [ ];
      targets = if targets == null then { } else mapAttrs (name: f: output (target name f node)) targets;
    };

  # The names beside an option that does not exist, for a suggestion.
  siblings = node: path:
    let
      step = set: word: if set == null || ! isAttrs set || (set._type or null) == "option" then null else set.${word} or null;
      parent = foldl' step node.options path;
    in
    if isAttrs parent && (parent._type or null) != "option" then attrNames parent else [ ];
}
