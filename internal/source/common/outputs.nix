# godwit's reading of a flake: a host for each of nixosConfigurations,
# darwinConfigurations and homeConfigurations."user@host", joined by the name of
# the host. Beside it, what is to be known of a host comes from the options
# `deployment.*' of its system; or, where `own' says so, from the output `godwit'
# alone, which is plain data: then no system is evaluated for it.
#
# Only builtins, and what the repository itself names. A function of one set:
#   flake     the flake
#   attr      the name of the output with godwit's own data
#   own       whether to read that
#   common, deploymentOptions, pin  what common.nix, deployment.nix and pin.nix give
#   systems   host -> platform, for hosts whose configuration says none
#   fallback  the platform of all other such hosts
#   targets   what `--target' asks for: name -> function of a node; or null
{ flake, attr ? "", own ? false, common, deploymentOptions, pin, systems ? { }, fallback, targets ? null }:

let
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl' head intersectAttrs isAttrs isBool
    isFunction isInt isList isString listToAttrs mapAttrs match removeAttrs tryEval typeOf;

  c = common { inherit systems fallback targets; };

  unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];

  # What values may be, with where they are for the error.
  typed = what: is: where: v: if is v then v else throw "${where} is ${word (typeOf v)}; it takes ${what}";
  word = t: {
    set = "an attribute set"; string = "a string"; int = "a number"; bool = "true or false"; list = "a list";
    lambda = "a function"; null = "null"; path = "a path"; float = "a number with a point";
  }.${t};
  t = rec {
    set = typed "an attribute set" isAttrs;
    string = typed "a string" isString;
    path = where: v: if builtins.isPath v then toString v else string where v;
    int = typed "a number" isInt;
    bool = typed "true or false" isBool;
    strings = typed "a list of strings" (v: isList v && all isString v);
    # A single word is a list of one.
    words = where: v: if isString v then [ v ] else strings where v;
  };

  revision = flake.rev or flake.dirtyRev or null;

  # The outputs.
  nixos = t.set "nixosConfigurations" (flake.nixosConfigurations or { });
  darwin = t.set "darwinConfigurations" (flake.darwinConfigurations or { });
  homes = concatMap
    (name: let m = match "(.+)@([^@]+)" name; in
      if m == null then [ ] else [{ inherit name; user = elemAt m 0; host = elemAt m 1; value = home.${name}; }])
    (attrNames home);
  home = t.set "homeConfigurations" (flake.homeConfigurations or { });
  homeless = filter (name: match ".+@[^@]+" name == null) (attrNames home);

  # godwit's own data.
  output = if attr == "" then "godwit" else attr;
  said = if own then t.set output (flake.${output} or (throw "the flake has no output ${output}")) else { };
  hosts = mapAttrs (name: t.set "${output}.hosts.${name}") (t.set "${output}.hosts" (said.hosts or { }));
  defaults = t.set "${output}.defaults" (said.defaults or { });

  keys = {
    # These are godwit's settings for the whole fleet (docs/rolling.md).
    settings = [ "batch" "maxFailures" "onFailure" "together" "unreachable" "acceptRisks" "restSecrets" "healthChecks" "preDeployChecks" ];
    top = keys.settings ++ [ "description" "hosts" "defaults" "orderingTags" "nixConfig" ];
    defaults = [
      "user" "port" "sshOptions" "forwardAgent" "pinNixpkgs" "become" "askPassword" "local" "tags" "platform" "buildOn" "buildOnly" "substituteOnDestination" "secrets"
      "healthChecks" "preDeployChecks" "autoRollback" "magicRollback" "confirmTimeout" "activationTimeout" "replaceUnknown"
    ];
    host = keys.defaults ++ [ "address" "profiles" "order" ] ++ kinds;
    profile = kinds ++ [ "user" "link" "activate" "version" ];
    secret = [ "file" "text" "command" "destination" "user" "group" "permissions" "action" "mkDirs" "uploadAt" "lateOwner" ];
  };
  kinds = [ "nixos" "darwin" "home" "custom" "noop" ];

  # Words that nobody knows, for the caller to say what was meant.
  unknown = where: known: set: map (key: [ where key ] ++ known) (filter (key: ! elem key known) (attrNames set));
  parts = where: known: of: set: concatMap (name: unknown "${where}.${of}.${name}" known (t.set "${where}.${of}.${name}" set.${of}.${name})) (attrNames (t.set "${where}.${of}" (set.${of} or { })));
  problems =
    unknown output keys.top said
    ++ unknown "${output}.defaults" keys.defaults defaults
    ++ parts "${output}.defaults" keys.secret "secrets" defaults
    ++ concatMap
      (name: let at = "${output}.hosts.${name}"; e = hosts.${name}; in
        unknown at keys.host e ++ parts at keys.secret "secrets" e ++ parts at keys.profile "profiles" e)
      (attrNames hosts);

  names =
    if own && said ? hosts then attrNames hosts
    else builtins.sort builtins.lessThan (unique (attrNames nixos ++ attrNames darwin ++ map (h: h.host) homes));

  # A check of one host is one of the fleet's that is for this host alone: so they are
  # read in one place.
  checksOf = kind:
    let
      add = on: lists: mapAttrs (_: map (check: t.set "a check of ${output}" check // on)) (t.set "${output}.${kind}" lists);
      every =
        [ (said.${kind} or { }) (defaults.${kind} or { }) ]
        ++ map (name: add { on = quoted name; } (hosts.${name}.${kind} or { })) (attrNames hosts);
      joined = unique (concatMap attrNames every);
    in
    listToAttrs (map (name: { inherit name; value = concatMap (lists: lists.${name} or [ ]) every; }) joined);
  # A name is meant, not a pattern.
  quoted = builtins.replaceStrings [ "*" "?" "[" "\\" "{" ] [ "\\*" "\\?" "\\[" "\\\\" "\\{" ];

  # The options are put in where a host sets them and nobody declared them: then the
  # options as they are cannot be had.
  node = name:
    let
      original = if nixos ? ${name} then nixos.${name} else darwin.${name};
      plain = tryEval (original.options ? deployment);
    in
    if ! isAttrs original then throw "the configuration is ${word (typeOf original)}; it takes what lib.nixosSystem gives"
    else if ! original ? options || ! original ? extendModules || plain.success then original
    else original.extendModules { modules = [ (deploymentOptions { inherit revision; }) ]; };

  nodeOf = name:
    if nixos ? ${name} && darwin ? ${name} then
      throw "both nixosConfigurations.${name} and darwinConfigurations.${name} are there: the output godwit must say which one the host runs (hosts.${name}.nixos or .darwin)"
    else if nixos ? ${name} || darwin ? ${name} then node name
    else null;

  isDrv = v: (v.type or null) == "derivation";

  # What is built of a value of each kind.
  made = {
    nixos = v: if isDrv v then v else v.config.system.build.toplevel;
    darwin = v: if isDrv v then v else v.config.system.build.toplevel or v.system;
    home = v: if isDrv v then v else v.activationPackage;
    custom = v: v;
    noop = v: v;
  };
  platformFrom = { value, kind, otherwise }:
    if isDrv value then { inherit (value) system; from = "pkgs"; }
    else if kind == "home" then { system = c.platformOf value.pkgs; from = "pkgs"; }
    else c.platform { node = value; inherit otherwise; };

  homesOf = name: map (h: { name = h.user; kind = "home"; inherit (h) user value; }) (filter (h: h.host == name) homes);

  told = name: { system = c.told name; from = "fallback"; };

  # Of a host: its metadata, what its platform is, what is deployed to it.
  plain = name:
    let
      value = nodeOf name;
      kind = if nixos ? ${name} then "nixos" else "darwin";
      d = if value != null && value ? options && value.options ? deployment then value.config.deployment else { };
      people = homesOf name;
      or' = x: y: if x == null || x == "" then y else x;
    in
    {
      profiles = (if value == null then [ ] else [{ name = "system"; inherit kind value; }]) ++ people;
      platform = platformFrom {
        value = if value == null then (head people).value else value;
        kind = if value == null then "home" else kind;
        otherwise = told name;
      };
      node = if value == null then (head people).value else value;
      data = {
        inherit name;
        at = {
          host = or' (d.targetHost or null) name;
          # Whose profiles they are can activate them, where that is all there is.
          user = or' (d.targetUser or null) (if value == null && all (p: p.user == (head people).user) people then (head people).user else "");
          port = d.targetPort or null;
          also = d.addresses or [ ];
          options = d.sshOptions or [ ];
          forwardAgent = d.forwardAgent or false;
        };
        tags = d.tags or [ ];
        buildOnly = d.buildOnly or false;
        buildOn = d.buildOn or null;
        substituteOnDestination = d.substituteOnDestination or false;
        secrets = mapAttrs
          (_: s: {
            inherit (s) destination permissions action mkDirs uploadAt;
            from.file = toString s.source;
            user = s.owner.user;
            group = s.owner.group;
          })
          (d.secrets or { });
        restSecrets = if d ? secrets then value.config.godwit.restSecrets or false else false;
        healthChecks = if d ? healthChecks then c.checks d.healthChecks else null;
        preDeployChecks = if d ? preDeployChecks then c.checks d.preDeployChecks else null;
        release = if kind == "nixos" && value != null then value.config.system.nixos.release or "" else "";
      };
    };

  given = name:
    let
      at = "${output}.hosts.${name}";
      e = hosts.${name} or { };
      get = key: check: default: if e ? ${key} then check "${at}.${key}" e.${key} else if defaults ? ${key} then check "${output}.defaults.${key}" defaults.${key} else default;
      both = key: check: concatLists (map (s: if s.set ? ${key} then check "${s.at}.${key}" s.set.${key} else [ ]) [{ set = defaults; at = "${output}.defaults"; } { set = e; inherit at; }]);
      addresses =
        let l = get "address" t.words [ name ]; in
        if l == [ ] then throw "${at}.address is an empty list" else l;
      pinned = p: if p.kind != "nixos" && p.kind != "darwin" || ! get "pinNixpkgs" t.bool false then p
        else if p.value ? extendModules then p // { value = p.value.extendModules { modules = [ (pin { inherit revision; }) ]; }; }
        else throw "${at}.pinNixpkgs: the configuration was not made by nixosSystem, so nothing can be added to it";
      asked = filter (k: e ? ${k}) kinds;
      # What is not said is what the flake has under the host's name.
      found = nodeOf name;
      system =
        if asked != [ ] then
          (if builtins.length asked > 1 then throw "${at} has ${concatStringsSep " and " asked}; further ones are profiles" else [{ name = "system"; kind = head asked; value = e.${head asked}; }])
        else if found != null then [{ name = "system"; kind = if nixos ? ${name} then "nixos" else "darwin"; value = found; }]
        else [ ];
      more = mapAttrs
        (profile: p:
          let which = filter (k: p ? ${k}) kinds; where = "${at}.profiles.${profile}"; in
          if builtins.length which != 1 then throw "${where} takes one of nixos, darwin, home, custom and noop"
          else {
            name = profile;
            kind = head which;
            value = p.${head which};
            user = t.string "${where}.user" (p.user or (if head which == "home" then profile else ""));
            link = t.string "${where}.link" (p.link or "");
            version = t.string "${where}.version" (p.version or "");
            activate = t.words "${where}.activate" (p.activate or [ ]);
          })
        (e.profiles or { });
      # Of a user with a profile of that name here, the flake's own is not meant.
      others = filter (p: ! more ? ${p.name}) (homesOf name);
      unordered = system ++ others ++ attrValues more;
      order = get "order" t.strings [ ];
      byName = listToAttrs (map (p: { inherit (p) name; value = p; }) unordered);
      listed =
        map (n: byName.${n} or (throw "${at}.order names ${n}, which is not a profile: the profiles are ${concatStringsSep ", " (attrNames byName)}")) order
        ++ filter (p: ! elem p.name order) unordered;
      profiles =
        if listed == [ ] then throw "there is nothing to deploy: the flake has no configuration ${name}, and ${at} names none" else listed;
      first = head profiles;
    in
    {
      profiles = map pinned profiles;
      node = first.value;
      platform =
        let p = get "platform" t.string null; in
        if p != null then { system = p; from = "hostPlatform"; }
        else (platformFrom { inherit (first) value kind; otherwise = told name; }) // { from = "pkgs"; };
      cheap =
        let p = get "platform" t.string null; in
        if p != null then { system = p; from = "hostPlatform"; } else told name;
      data = {
        inherit name;
        at = {
          host = head addresses;
          also = builtins.tail addresses;
          forwardAgent = get "forwardAgent" t.bool false;
          user = get "user" t.string "";
          port = get "port" t.int null;
          options = both "sshOptions" t.words;
          become = get "become" t.words null;
          askPassword = get "askPassword" t.bool false;
          local = get "local" t.bool false;
        };
        tags = unique (both "tags" t.strings);
        buildOnly = get "buildOnly" t.bool false;
        buildOn = get "buildOn" t.string null;
        substituteOnDestination = get "substituteOnDestination" t.bool false;
        replaceUnknown = get "replaceUnknown" t.bool true;
        secrets = mapAttrs (secret at) ((defaults.secrets or { }) // (e.secrets or { }));
        guard = {
          autoRollback = get "autoRollback" t.bool true;
          magicRollback = get "magicRollback" t.bool true;
          confirmTimeout = get "confirmTimeout" t.int null;
          activationTimeout = get "activationTimeout" t.int null;
        };
      };
    };

  secret = at: name: s:
    let
      where = "${at}.secrets.${name}";
      get = key: check: default: if s ? ${key} then check "${where}.${key}" s.${key} else default;
      sources = filter (k: s ? ${k}) [ "file" "text" "command" ];
    in
    if builtins.length sources != 1 then throw "${where} takes one of file, text and command"
    else if ! s ? destination then throw "${where} has no destination: the path of the file on the host"
    else {
      destination = t.string "${where}.destination" s.destination;
      user = get "user" t.string "root";
      group = get "group" t.string "root";
      permissions = get "permissions" t.string "0400";
      action = get "action" t.words [ ];
      mkDirs = get "mkDirs" t.bool true;
      uploadAt = get "uploadAt" t.string "pre-activation";
      lateOwner = get "lateOwner" t.bool false;
      from = {
        ${head sources} = (if s ? command then t.words else if s ? file then t.path else t.string) "${where}.${head sources}" s.${head sources};
      };
    };

  machine = if own then given else plain;

  host = { system ? true, wanted ? [ ], only ? null }: name:
    let
      m = machine name;
      selected = all (tag: elem tag m.data.tags) wanted;
      isAsked = p: targets == null && (only == null || elem p.name only);
    in
    m.data // { inherit selected; } // (
      if ! system || ! selected then { platform = m.cheap or m.platform; }
      else {
        inherit (m) platform;
        profiles = map (p: removeAttrs p [ "value" ] // c.output (made.${p.kind} p.value)
          // (if p.kind == "nixos" && ! isDrv p.value then { sealed = c.sealed p.value.config; declared = c.declared p.value.config; } else { })) (filter isAsked m.profiles);
        targets = if targets == null then { } else mapAttrs (name: f: c.output (c.target name f m.node)) targets;
      });
in
{
  inherit names host;

  nodes = listToAttrs (map (name: { inherit name; value = (machine name).node; }) names);

  summary = if problems != [ ] then { names = [ ]; other = { kind = "unknown"; args = head problems; }; } else {
    inherit names;
    description = t.string "${output}.description" (said.description or "");
    orderingTags = t.strings "${output}.orderingTags" (said.orderingTags or [ ]);
    nixConfig = mapAttrs (name: t.string "${output}.nixConfig.${name}") (said.nixConfig or { });
    godwit = if ! own then { } else
    intersectAttrs (listToAttrs (map (name: { inherit name; value = null; }) keys.settings)) said
      // { healthChecks = checksOf "healthChecks"; preDeployChecks = checksOf "preDeployChecks"; };
    notes = if own && said ? hosts then [ ] else
    map (name: "homeConfigurations.${name} is left out: it names no host, as \"${name}@HOST\" does") homeless;
  };

  # Of a configuration with an option that does not exist, options can only be had
  # unchecked.
  siblings = name: path:
    let
      node = nixos.${name} or darwin.${name} or (machine name).node;
      off = { _type = "override"; priority = 50; content = false; };
      loose = node.extendModules { modules = [ (deploymentOptions { }) { _module.check = off; } ]; };
    in
    if isAttrs node && node ? extendModules then c.siblings loose path else [ ];
}
