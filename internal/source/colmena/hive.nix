# godwit's reading of a hive of colmena's: which hosts there are, what their
# `deployment' options say, and the derivation of each host's system.
#
# Nothing here needs nixpkgs: only builtins, and what the hive itself names. The
# modules below are evaluated by each host's own eval-config.nix with that
# one's own lib. A system without keys has the derivation that it has in
# colmena; with keys, units and snippet of the same names do the same.
#
# It gives a function of one set:
#   file      the hive, an absolute path as a string; or
#   flake     a flake, or a reference to one, and
#   attr      the output of it that is the hive
#   version   whose rule for `name' and `nodes' in specialArgs holds: "0.4" or "0.5"
#   common    common.nix
#   pin       pin.nix
#   systems, fallback, targets: see common.nix
{ file ? null, flake ? null, attr ? "colmenaHive", version ? "0.5", common, pin, systems ? { }, fallback, targets ? null }:

let
  inherit (builtins)
    any attrNames concatStringsSep elem filter functionArgs isAttrs isFunction isList isString length listToAttrs mapAttrs
    match typeOf;

  shared = common { inherit systems fallback targets; };
  inherit (shared) told platformOf;

  # A flake is evaluated without anything from outside of it.
  hermetic = flake != null;

  revision = if isAttrs flake then flake.rev or flake.dirtyRev or null else null;

  where = if hermetic then "the output ${attr} of ${if isString flake then flake else "the flake"}" else file;

  value =
    if ! hermetic then import (/. + file)
    else
      let outputs = if isString flake then builtins.getFlake flake else flake; in
      outputs.${attr} or (throw "the flake has no output ${attr}");

  # A function, and a set that can be called, are called without arguments. One
  # that wants arguments is shown to the caller instead: see `other'.
  arguments = f: if isFunction f then functionArgs f else { };
  required = f: filter (name: ! (arguments f).${name}) (attrNames (arguments f));

  hive =
    let called = if isFunction value || isAttrs value && value ? __functor then value { } else value; in
    if isAttrs called then called
    else throw "${where} is a ${typeOf called}; a hive must evaluate to an attribute set";

  # What else people have at hand, by what only that has: the caller says what to
  # do with it. null: a hive, as far as one can see.
  other =
    let
      old = value.network or { };
      has = any (name: isAttrs old && old ? ${name});
      plain = isAttrs value && ! value ? __functor;
    in
    if isFunction value && required value != [ ] then { kind = "function"; args = attrNames (arguments value); }
    # ({ ... }: ) is a module, too; but so may a hive be written.
    else if ! plain then null
    else if value ? __schema then null
    else if value ? outputs && isFunction value.outputs then { kind = "flake"; args = [ ]; }
    else if has [ "storage" "enableRollback" ] then { kind = "nixops"; args = [ ]; }
    else if has [ "pkgs" "evalConfig" "lib" "runCommand" "ordering" "nixConfig" "buildShell" "godwit" ] then { kind = "network"; args = [ ]; }
    else if isList (value.imports or null) then { kind = "module"; args = [ ]; }
    else null;

  # A hive that colmena's makeHive has evaluated brings its own modules.
  evaluated = hive ? __schema;
  lacks = filter (name: ! hive ? ${name}) [ "nodes" "metaConfig" ];
  made =
    if lacks == [ ] then hive
    else throw "${where} has colmena's schema ${hive.__schema}, without ${concatStringsSep " and " lacks}: no known version of colmena makes such a hive";

  # ------------------------------------------------------------------- meta

  rawMeta =
    if hive ? network && hive ? meta then throw "${where} has both 'network' and 'meta': they are two names of the same, so leave one out"
    else hive.meta or (hive.network or { });

  userMeta =
    if isAttrs rawMeta then rawMeta
    else throw "'meta' of ${where} is a ${typeOf rawMeta}; it must be an attribute set";

  metaDefaults = {
    name = "hive";
    description = "A Colmena Hive";
    nixpkgs = null;
    nodeNixpkgs = { };
    specialArgs = { };
    nodeSpecialArgs = { };
    machinesFile = null;
    allowApplyAll = true;
  };

  metaModule = { lib, ... }:
    let
      inherit (lib) mkOption types;
      option = name: type: description: mkOption { inherit type description; default = metaDefaults.${name}; };
    in
    {
      _file = "godwit/hive.nix";
      options = {
        name = option "name" types.str "Name of the hive, for people.";
        description = option "description" types.str "What the hive is, for people.";
        nixpkgs = option "nixpkgs" types.unspecified "The package set of all hosts: a set, a path or a function.";
        nodeNixpkgs = option "nodeNixpkgs" (types.attrsOf types.unspecified) "The package set of single hosts.";
        specialArgs = option "specialArgs" (types.attrsOf types.unspecified) "Arguments of all modules.";
        nodeSpecialArgs = option "nodeSpecialArgs" (types.attrsOf types.unspecified) "Arguments of the modules of single hosts.";
        machinesFile = option "machinesFile" (types.nullOr types.path) "A list of build machines as Nix reads it." // { apply = f: if f == null then null else toString f; };
        allowApplyAll = option "allowApplyAll" types.bool "Whether hosts may be deployed to when nobody chose any.";
      };
    };

  # Only what is unusual needs the module system (and nixpkgs, for its lib): a
  # definition with a priority, a module in place of values, an option that
  # does not exist. The error is then the module system's own.
  ordinary =
    let
      type = {
        name = isString;
        description = isString;
        nixpkgs = _: true;
        nodeNixpkgs = isAttrs;
        specialArgs = isAttrs;
        nodeSpecialArgs = isAttrs;
        machinesFile = v: v == null || typeOf v == "path" || isString v && match "/.*" v != null;
        allowApplyAll = builtins.isBool;
      };
      fine = name: type ? ${name} && (name == "nixpkgs" || type.${name} userMeta.${name} && (userMeta.${name}._type or null) == null);
    in
    builtins.all fine (attrNames userMeta);

  meta =
    if evaluated then metaDefaults // made.metaConfig
    else if ordinary then
      let m = metaDefaults // userMeta; in
      m // { machinesFile = if m.machinesFile == null then null else toString m.machinesFile; }
    else ((packages "").pkgs.lib.evalModules {
      modules = [ metaModule { _file = "${where} (meta)"; config = userMeta; } ];
    }).config;

  # ---------------------------------------------------------------- nixpkgs

  # pkgs, and whether the hive chose its platform: a path or a function takes
  # the one that Nix was told. `name' is that of the option.
  initialise = name: given:
    let
      uninitialised = what: throw ''
        ${name} is ${what}. In a flake it must be a package set with a platform, such as

            ${name} = import inputs.nixpkgs { system = "x86_64-linux"; };'';
      load = what: path: if hermetic then uninitialised what else initialise name (import path) // { chosen = false; };
    in
    if typeOf given == "path" then load "a path to nixpkgs" given
    else if isString given && match "/.*" given != null then load "a path to nixpkgs" (/. + given)
    else if isAttrs given && given ? outPath && ! given ? stdenv then load "an input that is not initialised" given
    else if isFunction given then
      if hermetic then uninitialised "a function" else { pkgs = given { overlays = [ ]; }; chosen = false; }
    else if isAttrs given && given ? outputs && ! given ? stdenv then uninitialised "an input that is not initialised"
    else if isAttrs given then { pkgs = given; chosen = true; }
    else throw "${name} is a ${typeOf given}; it must be a path to nixpkgs, a function that gives a package set, or a package set";

  general =
    let given = userMeta.nixpkgs or null; in
    if given != null then initialise "meta.nixpkgs" given
    else if hermetic then throw "meta.nixpkgs must be set in a flake, for instance to import inputs.nixpkgs { system = \"x86_64-linux\"; }"
    else initialise "meta.nixpkgs" <nixpkgs>;

  packages = name:
    if name != "" && meta.nodeNixpkgs ? ${name} then initialise "meta.nodeNixpkgs.${name}" meta.nodeNixpkgs.${name}
    else general;

  # ------------------------------------------------------------------ hosts

  reserved = [ "meta" "network" "defaults" ];
  names =
    if evaluated then attrNames made.nodes
    else filter (name: ! elem name reserved) (attrNames hive);

  evaluate = check: name:
    let
      chosen = packages name;
      npkgs = chosen.pkgs;
      inherit (npkgs) lib;
      old = lib.versionOlder (lib.version or "99") "22.11pre";
      list = v: if isList v then v else [ v ];
      own = { inherit name; nodes = unchecked; };
      given = meta.specialArgs // (meta.nodeSpecialArgs.${name} or { });
    in
    import (npkgs.path + "/nixos/lib/eval-config.nix") {
      system = if chosen.chosen then platformOf npkgs else told name;
      specialArgs = if version == "0.4" then given // own else own // given;
      modules = [
        {
          _file = "godwit/hive.nix";
          nixpkgs.overlays = lib.mkBefore npkgs.overlays;
          nixpkgs.config = (if old then lib.mkOptionDefault else lib.mkBefore) npkgs.config;
        }
        keyModule
        deploymentOptions
        (pin { inherit revision; when = config: config.deployment.pinNixpkgs; })
      ]
      # Messages then name the hive where a module has no file of its own.
      ++ map (m: { _file = where; imports = [ m ]; }) ([ (hive.defaults or { }) ] ++ list hive.${name})
      ++ (if check then [ ] else [{ _module.check = lib.mkForce false; }]);
    };

  # What modules see as `nodes': evaluated without checks, so that two hosts may
  # look at each other.
  unchecked = if evaluated then made.nodes else listToAttrs (map (name: { inherit name; value = evaluate false name; }) names);

  nodes = if evaluated then made.nodes else listToAttrs (map (name: { inherit name; value = evaluate true name; }) names);

  # ------------------------------------------------------------- deployment

  kinds = [ "text" "keyCommand" "keyFile" ];
  sources = key: filter (kind: key.${kind} or null != null) kinds;

  # null when the key says where its content comes from.
  wrong = name: key:
    let n = length (sources key); in
    if n == 1 then null
    else "deployment.keys.${name}: exactly one of 'text', 'keyCommand' and 'keyFile' must be set; ${if n == 0 then "none is" else concatStringsSep " and " (sources key) + " are"}";

  keyPath = key: key.path or "${key.destDir}/${key.name}";

  secret = name: key:
    if wrong name key != null then throw (wrong name key)
    else {
      destination = keyPath key;
      inherit (key) user group permissions uploadAt;
      action = [ ];
      mkDirs = true;
      # The activation that makes a user gives them the file: see keyModule.
      lateOwner = key.uploadAt == "pre-activation";
      from =
        if key.keyFile != null then { file = toString key.keyFile; }
        else if key.keyCommand != null then { command = key.keyCommand; }
        else { inherit (key) text; };
    };

  usualEscalation = [ "sudo" "-H" "--" ];

  metadata = name: node:
    let
      d = node.config.deployment;
      local = d.allowLocalDeployment or false;
      become = d.privilegeEscalationCommand or usualEscalation;
      port = d.targetPort or null;
    in
    {
      inherit name;
      at = {
        host = if d.targetHost == null then "" else d.targetHost;
        user = if d.targetUser == null then "" else d.targetUser;
        port =
          if port == null then 0
          else if port > 0 && port < 65536 then port
          else throw "deployment.targetPort is ${toString port}; a port is a number from 1 to 65535";
        options = d.sshOptions or [ ];
        also = d.addresses or [ ];
        forwardAgent = d.forwardAgent or false;
        # null: godwit finds out by itself, and asks for a password where one is needed.
        become = if become == usualEscalation then null else become;
        inherit local;
      };
      platform = shared.platform {
        inherit node;
        priority = 1000; # that of the node's own nixpkgs, which is otherwise
        otherwise =
          if evaluated then { system = platformOf node.pkgs; from = "pkgs"; }
          else
            let chosen = packages name; in
            if chosen.chosen then { system = platformOf chosen.pkgs; from = "pkgs"; }
            else { system = told name; from = "fallback"; };
      };
      inherit (d) tags;
      buildOnly = d.targetHost == null;
      buildOn = d.buildOn or (if d.buildOnTarget or false then "target" else null);
      substituteOnDestination = d.substituteOnDestination or true;
      replaceUnknown = d.replaceUnknownProfiles or true;
      secrets = mapAttrs secret (d.keys or { });
      restSecrets = node.config.godwit.restSecrets or false;
      # colmena has no checks: a module that the hive imports may declare them.
      healthChecks = if d ? healthChecks then shared.checks d.healthChecks else { };
      preDeployChecks = if d ? preDeployChecks then shared.checks d.preDeployChecks else { };
      release = node.config.system.nixos.release or "";
    };

  host = options: name:
    let node = nodes.${name}; in
    shared.host options { inherit node; data = metadata name node; };

  keyOptions = { lib, ... }:
    let
      inherit (lib) mkOption types;
      optional = type: default: description: mkOption { inherit type default description; };
    in
    types.submodule ({ name, config, ... }: {
      options = {
        name = optional types.str name "Name of the file.";
        text = optional (types.nullOr types.str) null "What the file holds.";
        keyCommand = optional (types.nullOr (types.nonEmptyListOf types.str)) null
          "A command on the deploying machine whose output the file holds.";
        keyFile = optional (types.nullOr types.path) null "A file on the deploying machine."
          // { apply = f: if f == null then null else toString f; };
        destDir = optional types.path "/run/keys" "Where the file goes on the host.";
        path = mkOption {
          type = types.path;
          default = "${config.destDir}/${config.name}";
          internal = true;
          description = "The file on the host.";
        };
        user = optional types.str "root" "Owner of the file.";
        group = optional types.str "root" "Group of the file.";
        permissions = optional types.str "0600" "Mode of the file, octal.";
        uploadAt = optional (types.enum [ "pre-activation" "post-activation" ]) "pre-activation"
          "Whether the file goes to the host before or after activation.";
      };
    });

  deploymentOptions = { name, lib, ... }@args:
    let
      inherit (lib) mkOption types;
      optional = type: default: description: mkOption { inherit type default description; };
    in
    {
      _file = "godwit/hive.nix";
      options.deployment = {
        targetHost = optional (types.nullOr types.str) name "Name or address that ssh connects to; null: the host is only built.";
        targetPort = optional (types.nullOr types.ints.unsigned) null "Port that ssh connects to.";
        targetUser = optional (types.nullOr types.str) "root" "User that ssh logs in as; null: ssh decides.";
        allowLocalDeployment = optional types.bool false "Whether the host may deploy to itself.";
        buildOnTarget = optional types.bool false "Whether the host builds its own system.";
        tags = optional (types.listOf types.str) [ ] "Words to select hosts by.";
        keys = optional (types.attrsOf (keyOptions args)) { } "Files that are copied to the host outside of the Nix store.";
        replaceUnknownProfiles = optional types.bool true "Whether to replace a system that was not deployed from here.";
        privilegeEscalationCommand = optional (types.listOf types.str) usualEscalation "Words before a command that make it root's.";
        sshOptions = optional (types.listOf types.str) [ ] "Options of ssh.";
        # colmena has no words for these.
        addresses = optional (types.listOf types.str) [ ] "Further addresses, tried in order where nobody answers at targetHost.";
        forwardAgent = optional types.bool false "Whether sudo on the host may ask the agent of the deploying machine.";
        pinNixpkgs = optional types.bool false "Whether nixpkgs on the host is that of its system.";
      };
    };

  # What keys are in a system: their assertions, their owners, their units.
  keyModule = { config, lib, pkgs, ... }:
    let
      inherit (lib) escapeShellArg mapAttrs' mapAttrsToList nameValuePair;
      keys = config.deployment.keys;
      early = lib.filterAttrs (_: key: key.uploadAt == "pre-activation") keys;
      scripts = config.system.activationScripts;

      # The owner of a key may be a user of this very activation. A link that
      # somebody else put there is not followed.
      chown = key: ''
        if [ -e ${escapeShellArg (keyPath key)} ]; then
          chown -h ${escapeShellArg "${key.user}:${key.group}"} ${escapeShellArg (keyPath key)} || keysFailed=1
        else
          printf '%s\n' ${escapeShellArg "the key ${keyPath key} is not there"} >&2
        fi
      '';
      unit = key: {
        description = "The key ${keyPath key}";
        path = [ pkgs.inotify-tools ];
        serviceConfig = {
          Restart = "always";
          RestartSec = "100ms";
          TimeoutStartSec = "infinity";
        };
        # A file that comes between the look and the wait is seen at the next look.
        preStart = ''
          until [ -e ${escapeShellArg (keyPath key)} ]; do
            if [ -d ${escapeShellArg key.destDir} ]; then
              inotifywait -qq -t 2 -e create -e moved_to ${escapeShellArg key.destDir} || true
            else
              sleep 1
            fi
          done
        '';
        # A key that is replaced is another file: the unit ends, and starts again.
        script = ''
          inotifywait -qq -e delete_self -e move_self ${escapeShellArg (keyPath key)}
        '';
      };
    in
    {
      _file = "godwit/hive.nix";
      config = {
        assertions = mapAttrsToList
          (name: key: {
            assertion = wrong name key == null;
            message = if wrong name key == null then "" else wrong name key;
          })
          keys;
        system.activationScripts = lib.mkIf (early != { }) {
          colmena-chown-keys = lib.stringAfter [ (if scripts ? groups then "groups" else "users") ] ''
            keysFailed=
            ${concatStringsSep "" (mapAttrsToList (_: chown) early)}
            [ -z "$keysFailed" ]
          '';
        };
        systemd.paths = mapAttrs'
          (name: key: nameValuePair "${name}-key" {
            wantedBy = [ "paths.target" ];
            pathConfig.PathExists = keyPath key;
          })
          keys;
        systemd.services = mapAttrs' (name: key: nameValuePair "${name}-key" (unit key)) keys;
      };
    };
in
{
  inherit names nodes host;

  summary = if other != null then { inherit other; names = [ ]; } else {
    inherit names;
    inherit (meta) description;
    applyAll = meta.allowApplyAll;
    # Of Nix: who builds, for evaluation and for builds.
    nixConfig = if meta.machinesFile == null then { } else { builders = "@${meta.machinesFile}"; };
  };

  siblings = name: shared.siblings unchecked.${name};

  # For `godwit eval -E': what the hive gives to a function of { nodes, pkgs, lib }.
  introspect = f:
    if evaluated && made ? introspect then made.introspect f
    else let inherit ((packages "")) pkgs; in f { inherit pkgs; inherit (pkgs) lib; nodes = unchecked; };
}
