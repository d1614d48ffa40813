# The module system: load modules, put option declarations and definitions together, evaluate lazily.
lib:
let
  inherit (builtins)
    addErrorContext all any attrNames attrValues concatLists concatMap elem filter foldl' genericClosure head isAttrs isBool
    isFunction isList isPath isString length listToAttrs map mapAttrs removeAttrs seq sort tail zipAttrsWith;
  inherit (lib) types mkOption showOption showDefs showFiles setAttrByPath optional optionals functionArgs unknownModule;

  defaultPrio = 100;
  defaultOrder = 1000;

  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkAssert = assertion: message: content: mkIf (if assertion then true else throw "\nFailed assertion: ${message}") content;
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  defaultOverridePriority = defaultPrio;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkStrict = mkForce;
  mkFixStrictness = x: x;
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  mkBefore = mkOrder 500;
  defaultOrderPriority = defaultOrder;
  mkAfter = mkOrder 1500;
  mkDefinition = args: args // { _type = "definition"; };

  condition = v: if isBool v.condition then v.condition else throw "mkIf called with a non-Boolean condition";

  # A definition's value without merges and conditions: list of { file, value, prio, order }. Conditions are decided here.
  # The content of an override stays untouched (`inner`) until it is known to be the strongest: it may throw.
  flatten = file: prio: order: v:
    let t = v._type or null; in
    if t == null then [{ inherit file prio order; value = v; }]
    else if t == "merge" then concatMap (flatten file prio order) v.contents
    else if t == "if" then (if condition v then flatten file prio order v.content else [ ])
    else if t == "override" then [{ inherit file order; prio = v.priority; value = v.content; inner = true; }]
    else if t == "order" then flatten file prio v.priority v.content
    else if t == "definition" then flatten v.file prio order v.value
    else [{ inherit file prio order; value = v; }];
  flattenInner = d: if d ? inner then concatMap flattenInner (flatten d.file d.prio d.order d.value) else [ d ];

  # Wrappers around a set of definitions moved onto its members. Conditions stay undecided.
  pushDown = v:
    let t = v._type or null; in
    if t == null then [ v ]
    else if t == "merge" then concatMap pushDown v.contents
    else if t == "if" then map (mapAttrs (_: c: { _type = "if"; inherit (v) condition; content = c; })) (pushDown v.content)
    else if t == "override" then map (mapAttrs (_: c: { _type = "override"; inherit (v) priority; content = c; })) (pushDown v.content)
    else if t == "order" then map (mapAttrs (_: c: { _type = "order"; inherit (v) priority; content = c; })) (pushDown v.content)
    else [ v ];

  strongest = defs:
    let
      min = foldl' (m: d: if d.prio < m then d.prio else m) 9999 defs;
      kept = concatMap flattenInner (filter (d: d.prio == min) defs);
    in
    {
      prio = min;
      defs = if all (d: d.order == defaultOrder) kept then kept else sort (a: b: a.order < b.order) kept;
    };

  mergeDefinitions = loc: type: defs: rec {
    flat = if length defs == 1 && !((head defs).value ? _type) then [ ((head defs) // { prio = defaultPrio; order = defaultOrder; }) ]
      else concatMap (d: flatten d.file defaultPrio defaultOrder d.value) defs;
    best = strongest flat;
    values = best.defs;
    defsFinal = values;
    isDefined = flat != [ ];
    optionalValue = if isDefined then { value = mergedValue; } else { };
    mergedValue =
      if values == [ ] then throw "The option `${showOption loc}' is used but not defined."
      else if all (d: type.check d.value) values then type.merge loc values
      else throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefs (filter (d: !(type.check d.value)) values)}";
  };

  # Several declarations of one option as one.
  mergeDecls = loc: ds:
    if length ds == 1 then (head ds).options // { declarations = [ (head ds).file ]; }
    else foldl'
      (acc: d:
        let
          o = d.options;
          both = n: acc ? ${n} && o ? ${n};
          t = if both "type" then acc.type.typeMerge o.type else null;
        in
        if both "default" || both "example" || both "apply" || (both "type" && t == null) then
          throw "The option `${showOption loc}' in `${d.file}' is already declared in ${showFiles acc.declarations}."
        else acc // o // { declarations = acc.declarations ++ [ d.file ]; } // (if both "type" then { type = t; } else { }))
      { declarations = [ ]; _type = "option"; }
      ds;

  evalOption = loc: ds: defs:
    let
      opt = mergeDecls loc ds;
      type = opt.type or types.unspecified;
      all' = optional (opt ? default) { file = head opt.declarations; value = mkOptionDefault opt.default; } ++ defs;
      r = mergeDefinitions loc type all';
      merged =
        if opt.readOnly or false && length all' > 1 && length r.flat > 1 then throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs r.flat}"
        else r.mergedValue;
      value = addErrorContext "while evaluating the option `${showOption loc}':" (if opt ? apply then opt.apply merged else merged);
    in
    {
      config = value;
      unmatched = [ ];
      options = opt // {
        inherit loc type value;
        inherit (r) isDefined;
        declarationPositions = map (file: { inherit file; line = null; column = null; }) opt.declarations;
        definitions = map (d: d.value) r.values;
        files = map (d: d.file) r.values;
        definitionsWithLocations = map (d: { inherit (d) file value; }) r.values;
        highestPrio = r.best.prio;
        valueMeta = { };
        __toString = _: showOption loc;
      };
    };

  # Lenient merge for namespaces that are not modelled option by option (`_freeform = true` beside the declarations).
  looseMerge = loc: defs:
    let
      best = (strongest (concatMap (d: flatten d.file defaultPrio defaultOrder d.value) defs)).defs;
      vs = map (d: d.value) best;
      plain = v: isAttrs v && !(v ? outPath) && !(v ? __toString);
    in
    if best == [ ] then { }
    else if all plain vs then
      zipAttrsWith (n: looseMerge (loc ++ [ n ])) (concatMap (d: map (mapAttrs (_: value: { inherit (d) file; inherit value; })) (pushDown d.value)) best)
    else if all isList vs then concatLists vs
    else lib.mergeEqualOption loc best;

  # Declarations and definitions below one prefix: { options, config, unmatched }.
  evalTree = prefix: decls: defs:
    let
      loose = any (d: d.options ? _freeform) decls;
      declsBy = removeAttrs
        (zipAttrsWith (_: v: v) (map (d: mapAttrs (_: options: { inherit (d) file; inherit options; }) d.options) decls))
        [ "_freeform" ];
      defsBy = zipAttrsWith (_: v: v) (concatMap
        (d: map
          (v:
            if isAttrs v then mapAttrs (_: value: { inherit (d) file; inherit value; }) v
            else throw "You're trying to define a value of type `${builtins.typeOf v}' rather than an attribute set for the option\n`${showOption prefix}'!\n\nThis usually happens if `${showOption prefix}' has option\ndefinitions inside that are not matched. Please check how to properly define\nthis option by e.g. referring to `man 5 configuration.nix'!")
          (pushDown d.value))
        defs);
      isOpt = d: (d.options._type or null) == "option";
      one = name: ds:
        let
          loc = prefix ++ [ name ];
          defs' = defsBy.${name} or [ ];
          opts = filter isOpt ds;
        in
        if opts == [ ] then
          (if all (d: isAttrs d.options) ds then evalTree loc ds defs'
          else throw "The option `${showOption loc}' is declared in ${showFiles (map (d: d.file) ds)} with something that is neither an option nor a set of options.")
        else if length opts == length ds then evalOption loc ds defs'
        else if all (d: (d.options.type.name or "") == "submodule") opts then
          # A set of options declared inside an option that is a submodule.
          evalOption loc (map (d: if isOpt d then d else d // { options = mkOption { type = types.submoduleWith { modules = [{ _file = d.file; inherit (d) options; }]; }; }; }) ds) defs'
        else
          let bad = head (filter (d: !(isOpt d)) ds); in
          throw "The option `${showOption loc}' in ${showFiles (map (d: d.file) opts)} would be a parent of the following options, but its type `${(head opts).options.type.description or "<no description>"}' does not support nested options.\n${lib.concatMapStringsSep "\n" (n: "- option(s) with prefix `${showOption (loc ++ [ n ])}' in module `${bad.file}'") (attrNames bad.options)}";
      results = mapAttrs one declsBy;
      extra = removeAttrs defsBy (attrNames declsBy);
      config = mapAttrs (_: r: r.config) results;
    in
    {
      options = mapAttrs (_: r: r.options) results;
      config = if loose then mapAttrs (n: looseMerge (prefix ++ [ n ])) extra // config else config;
      unmatched =
        concatMap (r: r.unmatched) (attrValues results)
        ++ optionals (!loose) (concatMap (n: map (d: { loc = prefix ++ [ n ]; inherit (d) file value; }) extra.${n}) (attrNames extra));
    };

  # --- loading -------------------------------------------------------------------------------------------------------

  reserved = [ "_class" "_file" "key" "disabledModules" "imports" "options" "config" "meta" "freeformType" "require" ];
  # An attribute set in either form as { file, key, imports, disabled, options, config }.
  unify = file: key: m:
    if m ? config || m ? options then
      let bad = removeAttrs m reserved; in
      if bad != { } then
        throw "Module `${key}' has an unsupported attribute `${head (attrNames bad)}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString (attrNames bad)}) into the explicit `config' attribute."
      else {
        file = toString (m._file or file);
        key = toString (m.key or key);
        disabled = m.disabledModules or [ ];
        imports = m.imports or [ ] ++ m.require or [ ];
        options = m.options or { };
        config =
          let
            c = m.config or { };
            c' = if m ? freeformType then mkMerge [ c { _module.freeformType = m.freeformType; } ] else c;
          in
          if m ? meta then mkMerge [ c' { inherit (m) meta; } ] else c';
      }
    else {
      file = toString (m._file or file);
      key = toString (m.key or key);
      disabled = m.disabledModules or [ ];
      imports = m.imports or [ ] ++ m.require or [ ];
      options = { };
      config =
        let c = removeAttrs m [ "_class" "_file" "key" "disabledModules" "require" "imports" "freeformType" ]; in
        if m ? freeformType then mkMerge [ c { _module.freeformType = m.freeformType; } ] else c;
    };

  loadModules = modulesPath: call: modules:
    let
      load = parentFile: parentKey: n: m:
        let
          anon = "${parentKey}:anon-${toString n}";
          isP = isPath m || isString m || (isAttrs m && m ? outPath && !(m ? imports) && !(m ? config) && !(m ? options));
          file = if isP then toString m else parentFile;
          key = if isP then toString m else anon;
          value = if isP then import m else m;
          fn = lib.isFunction value;
          set = if fn then call key value else value;
          wrapped = elem (set._type or null) [ "if" "merge" "override" ];
          u =
            if !(isAttrs set) then
              (if isList set then throw "Module imports can't be nested lists. Perhaps you meant to remove one level of lists? Definitions: ${showDefs [{ inherit file; value = set; }]}"
              else throw "Module `${file}' does not look like a module. It is of type `${builtins.typeOf set}'.")
            else if wrapped then unify file key { config = set; }
            else if set ? _type && set._type != "module" && !(set ? imports || set ? config || set ? options) then
              throw "Expected a module, but found a value of type \"${set._type}\", while trying to load a module into ${file}."
            else unify file key (removeAttrs set [ "_type" ]);
          # The key has to be known without calling a function module.
          key' = if fn || wrapped then key else toString (set.key or key);
        in
        { key = key'; m = u; children = lib.imap1 (load u.file key') u.imports; };
      roots = lib.imap1 (load unknownModule "") modules;
      disabledKey = file: x:
        if isAttrs x && x ? key then x.key
        else if isString x && builtins.substring 0 1 x != "/" then "${toString modulesPath}/${x}"
        else toString x;
      nodes = genericClosure { startSet = roots; operator = n: n.children; };
      disabled = concatMap (n: map (disabledKey n.m.file) n.m.disabled) nodes;
      kept =
        if disabled == [ ] then nodes
        else genericClosure { startSet = filter (n: !(elem n.key disabled)) roots; operator = n: filter (c: !(elem c.key disabled)) n.children; };
    in
    map (n: n.m) kept;

  evalModules = evalArgs@{ modules, prefix ? [ ], specialArgs ? { }, args ? { }, check ? true, class ? null, ... }:
    let
      internal = {
        file = "lib/modules.nix";
        options._module = {
          args = mkOption { type = types.lazyAttrsOf types.raw; internal = true; description = "Additional arguments passed to each module."; };
          check = mkOption { type = types.bool; default = check; internal = true; description = "Whether to check whether all option definitions have matching declarations."; };
          freeformType = mkOption { type = types.nullOr types.optionType; default = null; internal = true; description = "Type of definitions that match no option."; };
          specialArgs = mkOption { readOnly = true; internal = true; type = types.raw; description = "Externally provided module arguments."; };
        };
        config._module = { args = { inherit extendModules; moduleType = type; } // args; inherit specialArgs; };
      };
      base = { inherit lib options specialArgs; config = config; _class = class; _prefix = prefix; } // specialArgs;
      call = key: f: f (base // mapAttrs
        (n: _: addErrorContext "while evaluating the module argument `${n}' in \"${key}\":" (base.${n} or config._module.args.${n}))
        (functionArgs f));
      loaded = loadModules (specialArgs.modulesPath or "") call modules ++ [ internal ];
      tree = evalTree prefix
        (map (m: { inherit (m) file options; }) loaded)
        (map (m: { inherit (m) file; value = m.config; }) loaded);
      options = tree.options;
      freeformType = tree.config._module.freeformType;
      freeform = freeformType.merge prefix (map (d: { inherit (d) file; value = setAttrByPath (lib.drop (length prefix) d.loc) d.value; }) tree.unmatched);
      config = if freeformType == null then tree.config else deepOver freeform tree.config;
      # Declared options win over freeform ones; only sets of options are entered.
      deepOver = a: b: a // mapAttrs (n: v: if a ? ${n} && isAttrs v && isAttrs a.${n} && !(v ? outPath) then deepOver a.${n} v else v) b;
      checked = v:
        if !(tree.config._module.check) || freeformType != null || tree.unmatched == [ ] then v
        else
          let
            d = head tree.unmatched;
            text = "The option `${showOption d.loc}' does not exist. Definition values:${showDefs [ d ]}";
          in
          if attrNames options == [ "_module" ] then
            throw "${text}\n\nHowever there are no options defined in `${showOption prefix}'. Are you sure you've\ndeclared your options properly? This can happen if you e.g. declared your options in `types.submodule'\nunder `config' rather than `options'."
          else throw text;
      extendModules = e@{ modules ? [ ], specialArgs ? { }, prefix ? null }: evalModules (evalArgs // {
        modules = evalArgs.modules ++ modules;
        specialArgs = evalArgs.specialArgs or { } // specialArgs;
        prefix = if prefix == null then evalArgs.prefix or [ ] else prefix;
      });
      type = types.submoduleWith { inherit modules specialArgs class; };
    in
    {
      _type = "configuration";
      options = checked options;
      config = checked (removeAttrs config [ "_module" ]);
      _module = checked config._module;
      inherit extendModules type class;
      graph = [ ];
    };

  # --- aliases of options --------------------------------------------------------------------------------------------

  doRename = { from, to, visible, warn, use, withPriority ? true, condition ? true }: { config, options, ... }:
    let
      fromOpt = lib.getAttrFromPath from options;
      toType = (lib.attrByPath to { } options).type or (types.submodule { });
    in
    {
      options = setAttrByPath from (mkOption ({
        inherit visible;
        description = "Alias of `${showOption to}`.";
        apply = _: use (lib.attrByPath to (abort "Renaming error: option `${showOption to}' does not exist.") config);
      } // (if lib.hasAttrByPath to options then { type = toType; } else { })));
      config = mkMerge [
        (lib.optionalAttrs (options ? warnings) {
          warnings = optional (warn && fromOpt.isDefined)
            "The option `${showOption from}' defined in ${showFiles fromOpt.files} has been renamed to `${showOption to}'.";
        })
        (setAttrByPath to (mkIf (condition && fromOpt.isDefined)
          ((if withPriority then mkOverride fromOpt.highestPrio else (x: x)) (mkMerge fromOpt.definitions))))
      ];
    };
in
{
  inherit mkIf mkAssert mkMerge mkOverride mkOptionDefault mkDefault defaultOverridePriority mkImageMediaOverride mkForce
    mkVMOverride mkStrict mkFixStrictness mkOrder mkBefore defaultOrderPriority mkAfter mkDefinition mergeDefinitions
    evalModules doRename pushDown;
  defaultPriority = defaultPrio;
  importJSONModule = p: { _file = p; config = lib.importJSON p; };
  setDefaultModuleLocation = file: m: { _file = file; imports = [ m ]; };
  fixMergeModules = modules: args: evalModules { inherit modules args; };
  importApply = f: staticArg: { _file = toString f; imports = [ (import f staticArg) ]; };
  mkAliasDefinitions = opt: mkIf opt.isDefined (mkMerge opt.definitions);
  mkAliasAndWrapDefinitions = wrap: opt: mkIf opt.isDefined (wrap (mkMerge opt.definitions));
  mkAliasIfDef = opt: mkIf opt.isDefined;
  mkDerivedConfig = opt: f: mkOverride (opt.highestPrio or defaultPrio) (f opt.value);
  mkRenamedOptionModule = from: to: doRename { inherit from to; visible = false; warn = true; use = x: x; };
  mkRenamedOptionModuleWith = { sinceRelease, from, to }: doRename { inherit from to; visible = false; warn = true; use = x: x; };
  mkAliasOptionModule = from: to: doRename { inherit from to; visible = true; warn = false; use = x: x; };
  mkAliasOptionModuleMD = from: to: doRename { inherit from to; visible = true; warn = false; use = x: x; };
  mkChangedOptionModule = from: to: f: { config, options, ... }: {
    options = setAttrByPath from (mkOption { visible = false; type = types.unspecified; description = "Changed to `${showOption to}`."; });
    config = setAttrByPath to (mkIf (lib.getAttrFromPath from options).isDefined (mkOverride 100 (f config)));
  };
  mkMergedOptionModule = froms: to: f: { config, options, ... }: {
    options = foldl' lib.recursiveUpdate { } (map (p: setAttrByPath p (mkOption { visible = false; type = types.unspecified; })) froms);
    config = setAttrByPath to (mkIf (any (p: (lib.getAttrFromPath p options).isDefined) froms) (f config));
  };
  mkRemovedOptionModule = path: replacement: { options, ... }:
    let opt = lib.getAttrFromPath path options; in
    {
      options = setAttrByPath path (mkOption {
        visible = false;
        apply = _: throw "The option `${showOption path}' can no longer be used since it's been removed. ${replacement}";
      });
      config.assertions = [{
        assertion = !opt.isDefined;
        message = "The option definition `${showOption path}' in ${showFiles opt.files} no longer has any effect; please remove it.\n${replacement}";
      }];
    };
}
