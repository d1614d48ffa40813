# godwit's reading of deploy-rs's 'deploy': which nodes there are, what they say,
# and the derivation of each of their profiles.
#
# Only builtins, and what the repository itself names. What deploy-rs makes of a
# profile (lib.<system>.activate.*) is taken apart again: the environment that it
# puts around a system, its script and its own program for the host. godwit
# activates what is inside; the program is not built.
#
# It gives a function of one set:
#   flake     a flake, that is its outputs; or
#   file      a file: a set with 'deploy', or a function of { } to one
#   attr      the name of the output, where it is not 'deploy'
#   systems   node -> platform, for nodes where it cannot be seen
#   fallback  the platform of all other such nodes
#   targets   what '--target' asks for: name -> function of a node; or null
#   cli       settings above all others, and 'hostname' and 'profileUser'
{ flake ? null, file ? null, attr ? "deploy", systems ? { }, fallback, targets ? null, cli ? { } }:

let
  inherit (builtins)
    all any attrNames concatLists concatStringsSep elem elemAt filter foldl' head isAttrs isBool isFunction isInt isList
    isString length listToAttrs map mapAttrs match split stringLength substring tail tryEval typeOf;

  value =
    if file == null then flake
    else (let f = import (/. + file); in if isFunction f && all (x: x) (builtins.attrValues (builtins.functionArgs f)) then f { } else f);

  output' = if attr == "" then "deploy" else attr;

  where = if file != null then file else "the flake";

  # A file that is something else, by what only that has.
  other =
    if isFunction value then { kind = "function"; args = attrNames (builtins.functionArgs value); }
    else if ! isAttrs value then { kind = typeOf value; args = [ ]; }
    else if value ? ${output'} then null
    else if value ? outputs && isFunction value.outputs then { kind = "flake"; args = [ ]; }
    else if isAttrs (value.meta or null) then { kind = "hive"; args = [ ]; }
    else if isAttrs (value.network or null) then { kind = "network"; args = [ ]; }
    else { kind = "nothing"; args = [ ]; };

  deploy = set "deploy" (value.${output'} or (throw "${where} has no '${output'}'"));
  nodes = set "deploy.nodes" (deploy.nodes or (throw "'deploy' in ${where} has no 'nodes'"));

  a = what: if elem (substring 0 1 what) [ "a" "e" "i" "o" "u" ] then "an ${what}" else "a ${what}";
  typed = type: is: place: v: if is v then v else throw "${place} is ${a (typeOf v)}; it takes ${type}";
  set = typed "a set" isAttrs;
  string = typed "a string" isString;
  bool = typed "true or false" isBool;
  # Sixteen bits in deploy-rs, seconds.
  seconds = typed "whole seconds, 0 to 65535" (v: isInt v && v >= 0 && v < 65536);
  strings = typed "a list of strings" (v: isList v && all isString v);

  # The settings that may stand on each level. deploy-rs takes what it does not
  # know without a word; so does this, and says so.
  generic = {
    sshUser = string;
    user = string;
    sudo = string;
    interactiveSudo = bool;
    sshOpts = strings;
    fastConnection = bool;
    autoRollback = bool;
    magicRollback = bool;
    confirmTimeout = seconds;
    activationTimeout = seconds;
    tempPath = string;
    remoteBuild = bool;
  };
  # Nullable in its schema is nothing but profilePath; a null is what it is not.
  read = place: from: mapAttrs (name: check: check "${place}.${name}" from.${name})
    (builtins.intersectAttrs from generic);

  # A later level gives way to an earlier one; the words for ssh of all are kept,
  # those of the narrowest level first, for the first is the one that ssh takes.
  merge = levels: foldl' (sum: level: level // sum // (if sum ? sshOpts && level ? sshOpts then { sshOpts = sum.sshOpts ++ level.sshOpts; } else { })) { } levels;

  # "ana -l" -> [ "ana" "-l" ]
  words = text: filter (w: isString w && w != "") (split "[ \t\n]+" text);

  node = name:
    let
      place = "deploy.nodes.${name}";
      self = set place nodes.${name};
      given = set "${place}.profiles" (self.profiles or (throw "${place} has no 'profiles'"));
      wished = strings "${place}.profilesOrder" (self.profilesOrder or [ ]);
      unique = foldl' (done: p: if elem p done then done else done ++ [ p ]) [ ];
      known = map
        (p: if given ? ${p} then p else throw "${place}.profilesOrder names '${p}', and ${place}.profiles has no such profile")
        (unique wished);
      rest = filter (p: ! elem p known) (attrNames given);
      # deploy-rs leaves the order of the rest to chance. A system makes the users of the others.
      order = known ++ filter (p: p == "system") rest ++ filter (p: p != "system") rest;
      upper = [ (read place self) (read "deploy" deploy) ];
      above = read "--" cli;
    in
    {
      inherit name place self order;
      hostname = cli.hostname or (string "${place}.hostname" (self.hostname or (throw "${place} has no 'hostname'")));
      profile = p: profile { node = name; inherit upper above; name = p; place = "${place}.profiles.${p}"; self = set "${place}.profiles.${p}" given.${p}; };
    };

  profile = { node, name, place, self, upper, above }:
    let
      settings = merge ([ above (read place self) ] ++ upper);
      user = cli.profileUser or settings.user or settings.sshUser
        or (throw "${place} does not say whose it is: set 'user' or 'sshUser', there, in the node or in 'deploy'");
    in
    {
      inherit name place settings user;
      root = user == "root";
      path = self.path or (throw "${place} has no 'path'");
      link = kind:
        if self.profilePath or null != null then string "${place}.profilePath" self.profilePath
        # Others of this name and user lie where a system does.
        else if name == "system" && user == "root" && elem kind [ "custom" "noop" ] then "/nix/var/nix/profiles/system"
        else "";
    };

  # What deploy-rs's wrapper is made of, in order: the thing itself, a file with the
  # script, one that starts its program. Null when it cannot be seen: then the
  # whole of it is deployed as it is.
  parts = path:
    let
      opened = path.override (old: { passthru = (old.passthru or { }) // { godwitParts = old.paths or [ ]; }; });
      found = opened.godwitParts or [ ];
    in
    # Only an environment has pathsToLink; others take no passthru.
    if isAttrs path && path ? pathsToLink && path ? override && (isFunction path.override || path.override ? __functor) && length found > 1 && (elemAt found 1) ? text && isString (elemAt found 1).text
    then { base = head found; script = (elemAt found 1).text; wrapped = found; }
    else null;

  # The lines of the script that do something.
  lines = text:
    let
      raw = filter (l: isString l) (split "\n" text);
      plain = map (l: let m = match "[ \t]*(.*[^ \t]|)[ \t]*" l; in if m == null then l else head m) raw;
    in
    filter (l: l != "" && substring 0 1 l != "#" && match "set -[a-z]+ pipefail" l == null) plain;

  # One of its presets: only such lines, and its own among them. With anything else
  # in the script it is a person's own, which is run as it is.
  preset = text:
    let
      frame = l: elem l [ "then" "else" "fi" "cd /tmp" ] || match "(if|elif) [[][[] \"[$][{](DRY_ACTIVATE|BOOT):-[}]\" == \"1\" []][]]" l != null
        || match "echo /nix/store/[0-9a-z]{32}-[^ ;&|]+" l != null;
      rest = filter (l: ! frame l) (lines text);
      only = patterns: rest != [ ] && all (l: any (p: match p l != null) patterns) rest;
    in
    if only [ "([$]PROFILE|[.])/bin/switch-to-configuration (switch|boot|dry-activate)" "sed -i '/.default /d' [^ ;&|]+/loader/loader.conf" ]
      && any (l: match ".* switch" l != null) rest then "nixos"
    else if only [ "([$]PROFILE|[.])/activate" ] then "home"
    else if only [ "HOME=/var/root [$]PROFILE/activate" ] then "darwin"
    else if only [ ":" ] then "noop"
    else "custom";

  isToplevel = drv: match "nixos-system-.*" (drv.name or "") != null;

  isDarwin = system: match ".*-darwin" system != null;

  # Not named drvPath and outPath: toJSON takes a set with an outPath for a string.
  output = place: drv:
    if isAttrs drv && drv ? drvPath then { drv = drv.drvPath; out = drv.outPath; }
    # 'path' may be the text of a path in the store that is there already.
    else if isString drv || builtins.isPath drv then { drv = ""; out = toString drv; }
    else throw "${place}.path is ${a (typeOf drv)}; it takes a derivation, such as deploy-rs.lib.x86_64-linux.activate.nixos self.nixosConfigurations.HOST";

  # nixos-system-web-25.11.20251128.abcdef -> 25.11
  release = drv: let m = match "nixos-system-.*-([0-9][0-9]\\.[0-9][0-9]).*" (drv.name or ""); in if m == null then "" else head m;

  # What of a profile is known without looking at the system in it: a system's
  # script holds where its boot loader is, which needs all its modules.
  guess = p: system:
    if p.name == "system" && p.root then (if system != null && isDarwin system then "darwin" else "nixos")
    else
      let kind = tryEval (let found = parts p.path; in if found == null then "custom" else preset found.script);
      in if kind.success then kind.value else "custom";

  owner = user: if user == "root" then "" else user;

  described = p: system: rec {
    inherit (p) name;
    kind = guess p system;
    link = p.link kind;
    user = owner p.user;
    version = "";
    activate = [ ];
  };

  evaluated = p: system:
    let
      found = parts p.path;
      kind = if found == null then (if isAttrs p.path && isToplevel p.path then "nixos" else "custom") else preset found.script;
      # Whose name says what deploy-rs put there: <name of the thing>-activate-rs.
      program = drv: isAttrs drv && match ".*-activate-rs" (drv.name or "") != null;
      drv =
        if found == null then p.path
        else if kind == "custom" then p.path.override (old: { paths = [ (head old.paths) ] ++ filter (d: ! program d) (tail old.paths); })
        else found.base;
      what = output p.place drv;
    in
    {
      inherit (p) name;
      inherit kind;
      link = p.link kind;
      user = owner p.user;
      version = if kind == "nixos" then release drv else "";
      activate = if kind == "custom" then [ "deploy-rs-activate" ] else [ ];
      inherit (what) drv out;
    };

  # The platform that a wrapper was made for; looking at it evaluates no system.
  platformOf = name: profiles:
    let
      seen = tryEval (let p = (head profiles).path; in if isAttrs p && isString (p.system or null) then p.system else null);
    in
    if profiles != [ ] && seen.success && seen.value != null then { system = seen.value; from = "system"; }
    else { system = systems.${name} or fallback; from = "fallback"; };

  # The port may stand among the words for ssh: '-p 22', or '-p' and '22'.
  ssh = options:
    let
      step = state: word:
        let glued = match "-p[ ]*([0-9]+)" word; in
        if state.next then { inherit (state) rest; next = false; port = if state.port == 0 then number word else state.port; }
        else if word == "-p" then state // { next = true; }
        else if glued != null then state // { port = if state.port == 0 then number (head glued) else state.port; }
        else state // { rest = state.rest ++ [ word ]; };
      number = text: let m = match "0*([1-9][0-9]{0,4})" text; in if m == null then throw "'-p ${text}' among sshOpts names no port" else builtins.fromJSON (head m);
      end = foldl' step { rest = [ ]; next = false; port = 0; } options;
    in
    if end.next then throw "'-p' among sshOpts wants a port after it" else { inherit (end) port rest; };

  noChecks = { cmd = [ ]; http = [ ]; tcp = [ ]; unit = [ ]; failedUnits = [ ]; local = [ ]; };

  host = { system ? true, wanted ? [ ], only ? null }: name:
    let
      n = node name;
      everything = map n.profile n.order;
      profiles = filter (p: only == null || elem p.name only) everything;
      # godwit logs in once for all profiles of a node: as the one who is root
      # there, else as the first says.
      first = p: head (p ++ [ (throw "${n.place} has no profiles") ]);
      login =
        let asRoot = filter (p: p.root) everything;
        in (first (if asRoot != [ ] then asRoot else everything)).settings;
      every = option: default: all (p: p.settings.${option} or default) profiles;
      largest = option: foldl' (most: p: if p.settings ? ${option} && (most == null || p.settings.${option} > most) then p.settings.${option} else most) null profiles;
      options = ssh (login.sshOpts or [ ]);
      sudo = words (login.sudo or "");
      tags = strings "${n.place}.tags" (n.self.tags or [ ]);
      platform = platformOf name everything;
      selected = all (tag: elem tag tags) wanted;
      data = {
        inherit name platform selected tags;
        at = {
          host = n.hostname;
          user = login.sshUser or "";
          inherit (options) port;
          options = options.rest;
          become = if sudo == [ ] || sudo == [ "sudo" "-u" ] then null else sudo ++ [ "root" ];
          askPassword = any (p: p.settings.interactiveSudo or false) profiles;
          local = false;
          also = strings "${n.place}.addresses" (n.self.addresses or [ ]);
          forwardAgent = bool "${n.place}.forwardAgent" (n.self.forwardAgent or false);
        };
        buildOnly = false;
        buildOn = if any (p: p.settings.remoteBuild or false) profiles then "target" else null;
        substituteOnDestination = ! (every "fastConnection" false);
        secrets = { };
        healthChecks = noChecks;
        preDeployChecks = noChecks;
        release = "";
        guard = {
          autoRollback = every "autoRollback" true;
          magicRollback = every "magicRollback" true;
          confirmTimeout = largest "confirmTimeout";
          activationTimeout = largest "activationTimeout";
        };
        targets = { };
        profiles = map (p: described p platform.system) profiles;
      };
      made = map (p: evaluated p platform.system) profiles;
      versions = filter (v: v != "") (map (p: p.version) made);
    in
    if ! system || ! selected then data
    else data // {
      release = if versions == [ ] then "" else head versions;
      profiles = if targets == null then made else data.profiles;
      targets = if targets == null then { } else mapAttrs (name: f: output name (target name f n.self)) targets;
    };

  # 'n:n.path' without a blank is a URL to Nix, that is a string.
  target = name: f:
    if isFunction f || f ? __functor then f
    else throw "the target ${name} is ${a (typeOf f)}; a target is a function of a node, such as n: n.profiles.system.path";

  # Names that deploy-rs does not know and takes without a word.
  notes =
    let
      unknown = place: known: from: map (name: "${place}.${name} is no setting of deploy-rs; it does nothing")
        (filter (name: ! elem name known) (attrNames from));
      settings = attrNames generic;
      safe = list: let r = tryEval (builtins.deepSeq list list); in if r.success then r.value else [ ];
      ofNode = name: let n = nodes.${name}; in
        safe (unknown "deploy.nodes.${name}" (settings ++ [ "hostname" "profiles" "profilesOrder" "tags" "addresses" "forwardAgent" ]) n)
        ++ safe (concatLists (map (p: unknown "deploy.nodes.${name}.profiles.${p}" (settings ++ [ "path" "profilePath" ]) n.profiles.${p}) (attrNames n.profiles)));
    in
    unknown "deploy" (settings ++ [ "nodes" "godwit" ]) deploy ++ concatLists (map ofNode (attrNames nodes));
in
{
  inherit nodes host;

  summary = if other != null then { inherit other; names = [ ]; } else {
    names = attrNames nodes;
    description = "";
    orderingTags = [ ];
    nixConfig = { };
    godwit = deploy.godwit or { };
    buildShell = false;
    inherit notes;
  };
}
