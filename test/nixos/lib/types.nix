# Option types: how a value is checked and how several definitions become one value.
lib:
let
  inherit (builtins)
    all any attrNames concatLists concatMap concatStringsSep elem filter foldl' head isAttrs isBool isFloat isFunction isInt
    isList isPath isString length listToAttrs mapAttrs match substring tail zipAttrsWith;
  inherit (lib) showOption showDefs mergeEqualOption mergeOneOption mergeUniqueOption mergeDefinitions last;

  isType = type: v: (v._type or "") == type;
  setType = type: v: v // { _type = type; };

  mkOptionType = t@{ name, ... }:
    let
      self = {
        _type = "option-type";
        description = name;
        descriptionClass = null;
        check = _: true;
        merge = lib.mergeDefaultOption;
        emptyValue = { };
        getSubOptions = _: { };
        getSubModules = null;
        substSubModules = _: self;
        deprecationMessage = null;
        nestedTypes = { };
        functor = { name = t.name; type = null; wrapped = null; payload = null; binOp = null; };
        # null when two declarations of one option cannot be one.
        typeMerge = other: if other.name == t.name && other.description == self.description then self else null;
      } // t;
    in
    self;

  # "list of X", "null or X": put composed descriptions in parentheses.
  noun = t: if elem t.descriptionClass [ "noun" "nonRestrictiveClause" ] || t.descriptionClass == null then t.description else "(${t.description})";
  conj = t: if elem t.descriptionClass [ "noun" "conjunction" ] || t.descriptionClass == null then t.description else "(${t.description})";

  simple = name: description: check: mkOptionType { inherit name description check; descriptionClass = "noun"; merge = mergeEqualOption; };
  wrap = name: inner: remake: attrs: mkOptionType (attrs // {
    inherit name;
    nestedTypes.elemType = inner;
    typeMerge = other:
      if other.name != name then null
      else let m = inner.typeMerge other.nestedTypes.elemType; in if m == null then null else remake m;
    getSubModules = inner.getSubModules;
    substSubModules = m: remake (inner.substSubModules m);
  });

  show = v: if isString v then ''"${v}"'' else if isInt v then toString v else if isBool v then lib.boolToString v else if v == null then "null" else "<${builtins.typeOf v}>";

  types = rec {
    inherit mkOptionType isType setType;
    isOptionType = isType "option-type";

    unspecified = mkOptionType { name = "unspecified"; description = "unspecified value"; descriptionClass = "noun"; };
    raw = mkOptionType { name = "raw"; description = "raw value"; descriptionClass = "noun"; check = _: true; merge = mergeOneOption; };
    anything = mkOptionType {
      name = "anything";
      description = "anything";
      descriptionClass = "noun";
      merge = loc: defs:
        let
          kind = v: if isAttrs v && lib.isStringLike v then "stringy" else builtins.typeOf v;
          kinds = lib.unique (map (d: kind d.value) defs);
        in
        if length kinds > 1 then mergeEqualOption loc defs
        else if head kinds == "set" then (lazyAttrsOf anything).merge loc defs
        else if head kinds == "stringy" then mergeOneOption loc defs
        else if head kinds == "lambda" then x: anything.merge (loc ++ [ "<function body>" ]) (map (d: { inherit (d) file; value = d.value x; }) defs)
        else mergeEqualOption loc defs;
    };
    optionType = mkOptionType { name = "optionType"; description = "optionType"; descriptionClass = "noun"; check = isOptionType; merge = loc: defs: (head defs).value; };
    pkgs = simple "pkgs" "Nixpkgs package set" (v: v._type or "" == "pkgs");

    bool = simple "bool" "boolean" isBool;
    boolByOr = bool // { name = "boolByOr"; description = "boolean (merged using or)"; merge = _: defs: any (d: d.value) defs; };
    int = simple "int" "signed integer" isInt;
    float = simple "float" "floating point number" isFloat;
    number = either int float;
    numbers = {
      between = lo: hi: addCheck number (x: x >= lo && x <= hi) // { description = "integer or floating point number between ${toString lo} and ${toString hi} (both inclusive)"; };
      nonnegative = addCheck number (x: x >= 0) // { description = "nonnegative integer or floating point number, meaning >=0"; };
      positive = addCheck number (x: x > 0) // { description = "positive integer or floating point number, meaning >0"; };
    };
    ints = rec {
      between = lo: hi: simple "intBetween" "integer between ${toString lo} and ${toString hi} (both inclusive)" (x: isInt x && x >= lo && x <= hi);
      unsigned = simple "unsignedInt" "unsigned integer, meaning >=0" (x: isInt x && x >= 0);
      positive = simple "positiveInt" "positive integer, meaning >0" (x: isInt x && x > 0);
      bits = n: lo: hi: text: simple "${text}Int${toString n}" "${toString n} bit ${text} integer; between ${toString lo} and ${toString hi} (both inclusive)" (x: isInt x && x >= lo && x <= hi);
      u8 = bits 8 0 255 "unsigned";
      u16 = bits 16 0 65535 "unsigned";
      u32 = bits 32 0 4294967295 "unsigned";
      s8 = bits 8 (-128) 127 "signed";
      s16 = bits 16 (-32768) 32767 "signed";
      s32 = bits 32 (-2147483648) 2147483647 "signed";
    };
    port = ints.u16;

    str = simple "str" "string" isString;
    nonEmptyStr = simple "nonEmptyStr" "non-empty string" (x: isString x && match "[ \t\n]*" x == null);
    singleLineStr = simple "singleLineStr" "(optionally newline-terminated) single-line string" (s: isString s && match "[^\n\r]*\n?" s != null)
      // { merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs); };
    strMatching = pattern: simple "strMatching ${lib.escapeNixString pattern}" "string matching the pattern ${pattern}" (x: isString x && match pattern x != null);
    passwdEntry = t: addCheck t (s: !(lib.hasInfix ":" s || lib.hasInfix "\n" s)) // { name = "passwdEntry ${t.name}"; description = "${t.description}, not containing newlines or colons"; };
    separatedString = sep: mkOptionType {
      name = "separatedString";
      description = if sep == "" then "Concatenated string" else "strings concatenated with ${builtins.toJSON sep}";
      descriptionClass = "noun";
      check = isString;
      merge = _: defs: concatStringsSep sep (map (d: d.value) defs);
    };
    lines = separatedString "\n";
    commas = separatedString ",";
    envVar = separatedString ":";
    string = separatedString "";

    attrs = mkOptionType { name = "attrs"; description = "attribute set"; check = isAttrs; emptyValue.value = { }; merge = _: defs: foldl' (acc: d: acc // d.value) { } defs; };
    package = mkOptionType {
      name = "package";
      description = "package";
      descriptionClass = "noun";
      check = x: lib.isDerivation x || lib.isStorePath x;
      merge = loc: defs: let v = mergeOneOption loc defs; in if lib.isDerivation v then v else lib.toDerivation v;
    };
    shellPackage = package // { check = x: lib.isDerivation x && x ? shellPath; };
    path = mkOptionType {
      name = "path";
      description = "absolute path";
      descriptionClass = "noun";
      check = x: lib.isStringLike x && substring 0 1 (toString x) == "/";
      merge = mergeEqualOption;
    };
    pathInStore = simple "pathInStore" "path in the Nix store" (x: lib.isStringLike x && match "${builtins.storeDir}/[^.].*" (toString x) != null);
    externalPath = path;
    pathWith = _: path;

    listOf = elem: wrap "listOf" elem listOf {
      description = "list of ${noun elem}";
      descriptionClass = "composite";
      check = isList;
      emptyValue.value = [ ];
      merge = loc: defs: concatLists (lib.imap1
        (n: def: concatLists (lib.imap1
          (m: v: let r = mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elem [{ inherit (def) file; value = v; }]; in
            if r.isDefined then [ r.mergedValue ] else [ ])
          def.value))
        defs);
      getSubOptions = prefix: elem.getSubOptions (prefix ++ [ "*" ]);
    };
    nonEmptyListOf = elem: addCheck (listOf elem) (l: l != [ ]) // { description = "non-empty ${(listOf elem).description}"; emptyValue = { }; };

    attrsOf = attrsWith' false "name";
    lazyAttrsOf = attrsWith' true "name";
    attrsWith = { elemType, lazy ? false, placeholder ? "name" }: attrsWith' lazy placeholder elemType;
    attrsWith' = lazy: placeholder: elem: wrap (if lazy then "lazyAttrsOf" else "attrsOf") elem (attrsWith' lazy placeholder) {
      description = "${if lazy then "lazy " else ""}attribute set of ${noun elem}";
      descriptionClass = "composite";
      check = isAttrs;
      emptyValue.value = { };
      merge = loc: defs:
        let
          merged = zipAttrsWith
            (name: ds: mergeDefinitions (loc ++ [ name ]) elem ds)
            (map (d: mapAttrs (_: v: { inherit (d) file; value = v; }) d.value) defs);
        in
        if lazy then mapAttrs (_: r: if r.isDefined then r.mergedValue else elem.emptyValue.value or r.mergedValue) merged
        else mapAttrs (_: r: r.mergedValue) (removeAttrs merged (filter (n: !merged.${n}.isDefined) (attrNames merged)));
      getSubOptions = prefix: elem.getSubOptions (prefix ++ [ "<${placeholder}>" ]);
    };
    loaOf = attrsOf;

    uniq = unique { message = ""; };
    unique = { message ? "" }: t: wrap "unique" t (unique { inherit message; }) {
      inherit (t) description descriptionClass check;
      merge = mergeUniqueOption { inherit message; merge = t.merge; };
    };
    nullOr = t: wrap "nullOr" t nullOr {
      description = "null or ${conj t}";
      descriptionClass = "conjunction";
      check = x: x == null || t.check x;
      emptyValue.value = null;
      merge = loc: defs:
        let nulls = filter (d: d.value == null) defs; in
        if length nulls == length defs then null
        else if nulls != [ ] then throw "The option `${showOption loc}' is defined both null and not null, in ${lib.showFiles (map (d: d.file) defs)}."
        else t.merge loc defs;
      getSubOptions = t.getSubOptions;
    };
    functionTo = t: wrap "functionTo" t functionTo {
      description = "function that evaluates to a(n) ${noun t}";
      descriptionClass = "composite";
      check = lib.isFunction;
      merge = loc: defs: x: (mergeDefinitions (loc ++ [ "<function body>" ]) t (map (d: d // { value = d.value x; }) defs)).mergedValue;
    };

    enum = values: mkOptionType {
      name = "enum";
      description =
        if values == [ ] then "impossible (empty enum)"
        else if length values == 1 then "value ${show (head values)} (singular enum)"
        else "one of ${lib.concatMapStringsSep ", " show values}";
      descriptionClass = if length values < 2 then "noun" else "conjunction";
      check = v: elem v values;
      merge = mergeEqualOption;
      functor = { name = "enum"; payload = values; wrapped = null; type = enum; binOp = a: b: a ++ b; };
      typeMerge = o: if o.name == "enum" then enum (lib.unique (values ++ o.functor.payload)) else null;
    };
    either = a: b: mkOptionType {
      name = "either";
      description = "${noun a} or ${conj b}";
      descriptionClass = "conjunction";
      check = x: a.check x || b.check x;
      merge = loc: defs:
        let vs = map (d: d.value) defs; in
        if all a.check vs then a.merge loc defs
        else if all b.check vs then b.merge loc defs
        else mergeOneOption loc defs;
      nestedTypes = { left = a; right = b; };
    };
    oneOf = ts: if ts == [ ] then throw "types.oneOf needs to get at least one type in its argument" else foldl' either (head ts) (tail ts);
    coercedTo = from: f: to: mkOptionType {
      name = "coercedTo";
      description = "${to.description} or ${from.description} convertible to it";
      check = x: (from.check x && to.check (f x)) || to.check x;
      merge = loc: defs: to.merge loc (map (d: d // { value = if from.check d.value then f (from.merge loc [ d ]) else d.value; }) defs);
      inherit (to) emptyValue getSubOptions getSubModules;
      nestedTypes = { coercedType = from; finalType = to; };
    };
    addCheck = t: check: t // { check = x: t.check x && check x; };

    deferredModule = deferredModuleWith { };
    deferredModuleWith = { staticModules ? [ ] }: mkOptionType {
      name = "deferredModule";
      description = "module";
      descriptionClass = "noun";
      check = x: isAttrs x || lib.isFunction x || path.check x;
      merge = loc: defs: { imports = staticModules ++ map (d: { _file = "${d.file}, via option ${showOption loc}"; imports = [ d.value ]; }) defs; };
    };

    submodule = m: submoduleWith { shorthandOnlyDefinesConfig = true; modules = lib.toList m; };
    submoduleWith = args@{ modules, specialArgs ? { }, shorthandOnlyDefinesConfig ? false, description ? null, class ? null }:
      let
        base = lib.evalModules { inherit modules specialArgs class; };
        freeform = base._module.freeformType;
        load = d: { _file = d.file; } // (if shorthandOnlyDefinesConfig && isAttrs d.value then { config = d.value; } else { imports = [ d.value ]; });
      in
      mkOptionType {
        name = "submodule";
        description = if description != null then description else "submodule";
        descriptionClass = "noun";
        check = x: isAttrs x || lib.isFunction x || path.check x;
        merge = loc: defs: (base.extendModules {
          modules = [{ _module.args.name = lib.mkOptionDefault (last loc); }] ++ map load defs;
          prefix = loc;
        }).config;
        emptyValue.value = { };
        getSubOptions = prefix: (base.extendModules { inherit prefix; }).options;
        getSubModules = modules;
        substSubModules = m: submoduleWith (args // { modules = m; });
        functor = { name = "submodule"; payload = args; wrapped = null; type = submoduleWith; binOp = null; };
        typeMerge = o:
          if o.name != "submodule" then null
          else submoduleWith (args // {
            modules = modules ++ o.functor.payload.modules;
            specialArgs = specialArgs // o.functor.payload.specialArgs or { };
            shorthandOnlyDefinesConfig = shorthandOnlyDefinesConfig || o.functor.payload.shorthandOnlyDefinesConfig or false;
          });
      };
  };
in
{ inherit types; }
