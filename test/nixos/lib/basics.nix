# Functions on lists, attribute sets, strings and numbers.
self:
let
  inherit (builtins)
    attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl' genList getAttr hasAttr head
    isAttrs isFunction isList isString length listToAttrs mapAttrs match removeAttrs replaceStrings sort stringLength
    substring tail toJSON tryEval typeOf zipAttrsWith;
in
rec {
  trivial = rec {
    id = x: x;
    const = x: _: x;
    flip = f: a: b: f b a;
    pipe = foldl' (x: f: f x);
    compose = f: g: x: f (g x);
    mergeAttrs = x: y: x // y;
    or = x: y: x || y;
    and = x: y: x && y;
    not = x: !x;
    xor = x: y: x != y;
    max = x: y: if x > y then x else y;
    min = x: y: if x < y then x else y;
    mod = a: b: a - (b * (a / b));
    bitAnd = builtins.bitAnd;
    bitOr = builtins.bitOr;
    boolToString = b: if b then "true" else "false";
    boolToYesNo = b: if b then "yes" else "no";
    compare = a: b: if a < b then -1 else if a > b then 1 else 0;
    importJSON = p: builtins.fromJSON (builtins.readFile p);
    importTOML = p: fromTOML (builtins.readFile p);
    fromTOML = builtins.fromTOML;
    warn = msg: builtins.trace "evaluation warning: ${msg}";
    warnIf = cond: msg: if cond then warn msg else id;
    warnIfNot = cond: warnIf (!cond);
    info = msg: builtins.trace "INFO: ${msg}";
    showWarnings = ws: res: foldl' (acc: w: warn w acc) res ws;
    throwIf = cond: msg: if cond then throw msg else id;
    throwIfNot = cond: throwIf (!cond);
    mapNullable = f: x: if x == null then null else f x;
    functionArgs = f: if f ? __functor then f.__functionArgs or (functionArgs (f.__functor f)) else builtins.functionArgs f;
    setFunctionArgs = f: args: { __functor = _: f; __functionArgs = args; };
    isFunction = f: builtins.isFunction f || (f ? __functor && isFunction (f.__functor f));
    toFunction = v: if isFunction v then v else _: v;
    toHexString = n:
      let d = elemAt [ "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "A" "B" "C" "D" "E" "F" ] (mod n 16);
      in if n < 16 then d else toHexString (n / 16) + d;
    inNixShell = builtins.getEnv "IN_NIX_SHELL" != "";
    inPureEvalMode = !(builtins ? currentSystem);
    release = "26.05";
    oldestSupportedRelease = 2511;
    version = "26.05.20261101.lab";
    versionSuffix = ".20261101.lab";
    codeName = "Lab";
    revisionWithDefault = d: d;
    isInOldestRelease = n: oldestSupportedRelease >= n;
    nixpkgsVersion = version;
    concat = x: y: x ++ y;
    defaultTo = d: x: if x == null then d else x;
  };

  lists = rec {
    inherit (builtins) head tail length elem elemAt filter map concatLists concatMap all any foldl' genList isList sort partition groupBy;
    singleton = x: [ x ];
    forEach = xs: f: map f xs;
    foldr = op: nul: list:
      let n = length list; go = i: if i == n then nul else op (elemAt list i) (go (i + 1)); in go 0;
    fold = foldr;
    foldl = op: nul: list:
      let go = i: if i < 0 then nul else op (go (i - 1)) (elemAt list i); in go (length list - 1);
    imap0 = f: list: genList (i: f i (elemAt list i)) (length list);
    imap1 = f: list: genList (i: f (i + 1) (elemAt list i)) (length list);
    ifilter0 = p: list: map (e: e.v) (filter (e: p e.i e.v) (imap0 (i: v: { inherit i v; }) list));
    flatten = x: if isList x then concatMap flatten x else [ x ];
    remove = e: filter (x: x != e);
    findFirst = pred: default: list:
      let found = filter pred list; in if found == [ ] then default else head found;
    findSingle = pred: default: multiple: list:
      let found = filter pred list; n = length found;
      in if n == 0 then default else if n > 1 then multiple else head found;
    findFirstIndex = pred: default: list:
      let go = i: if i == length list then default else if pred (elemAt list i) then i else go (i + 1); in go 0;
    count = pred: list: length (filter pred list);
    optional = cond: e: if cond then [ e ] else [ ];
    optionals = cond: es: if cond then es else [ ];
    toList = x: if isList x then x else [ x ];
    range = a: b: if a > b then [ ] else genList (n: a + n) (b - a + 1);
    replicate = n: e: genList (_: e) n;
    reverseList = xs: let l = length xs; in genList (n: elemAt xs (l - n - 1)) l;
    sortOn = f: list: map (p: p.v) (sort (a: b: a.k < b.k) (map (v: { k = f v; inherit v; }) list));
    naturalSort = sort (a: b: a < b);
    take = n: xs: genList (elemAt xs) (trivial.min (trivial.max n 0) (length xs));
    drop = n: xs: let l = length xs; m = trivial.max n 0; in if m >= l then [ ] else genList (i: elemAt xs (i + m)) (l - m);
    dropEnd = n: xs: take (length xs - n) xs;
    takeEnd = n: xs: drop (length xs - n) xs;
    sublist = start: n: xs: take n (drop start xs);
    hasPrefix = a: b: take (length a) b == a;
    last = xs: if xs == [ ] then throw "lists.last: list must not be empty!" else elemAt xs (length xs - 1);
    init = xs: if xs == [ ] then throw "lists.init: list must not be empty!" else take (length xs - 1) xs;
    unique = foldl' (acc: e: if elem e acc then acc else acc ++ [ e ]) [ ];
    uniqueStrings = xs: attrNames (listToAttrs (map (name: { inherit name; value = null; }) xs));
    allUnique = xs: length (unique xs) == length xs;
    intersectLists = e: filter (x: elem x e);
    subtractLists = e: filter (x: !(elem x e));
    mutuallyExclusive = a: b: length a == 0 || !(builtins.any (x: elem x b) a);
    zipListsWith = f: a: b: genList (n: f (elemAt a n) (elemAt b n)) (trivial.min (length a) (length b));
    zipLists = zipListsWith (fst: snd: { inherit fst snd; });
    crossLists = f: foldl (fs: args: concatMap (f: map f args) fs) [ f ];
    cartesianProductOfSets = attrsets.cartesianProduct;
    compareLists = cmp: a: b:
      if a == [ ] then (if b == [ ] then 0 else -1)
      else if b == [ ] then 1
      else let r = cmp (head a) (head b); in if r == 0 then compareLists cmp (tail a) (tail b) else r;
    # Depth-first order that puts `before a b` pairs right; { result } or { cycle, loops }.
    toposort = before: list:
      let
        go = done: rest:
          if rest == [ ] then { result = done; }
          else
            let ready = filter (x: !(builtins.any (y: y != x && before y x) rest)) rest; in
            if ready == [ ] then { cycle = rest; loops = rest; }
            else let r = head ready; in go (done ++ [ r ]) (filter (x: x != r) rest);
      in go [ ] list;
    listDfs = _: _: _: throw "lists.listDfs is not part of the small NixOS";
    sum = foldl' builtins.add 0;
    concat = x: y: x ++ y;
  };

  attrsets = rec {
    inherit (builtins) attrNames attrValues listToAttrs hasAttr isAttrs getAttr removeAttrs intersectAttrs mapAttrs zipAttrsWith;
    attrVals = names: set: map (n: set.${n}) names;
    attrByPath = path: default: set:
      if path == [ ] then set
      else if isAttrs set && set ? ${head path} then attrByPath (tail path) default set.${head path}
      else default;
    hasAttrByPath = path: set: path == [ ] || (isAttrs set && set ? ${head path} && hasAttrByPath (tail path) set.${head path});
    getAttrFromPath = path: attrByPath path (throw ("cannot find attribute '" + concatStringsSep "." path + "'"));
    setAttrByPath = path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
    nameValuePair = name: value: { inherit name value; };
    mapAttrs' = f: set: listToAttrs (map (n: f n set.${n}) (attrNames set));
    mapAttrsToList = f: set: map (n: f n set.${n}) (attrNames set);
    attrsToList = mapAttrsToList nameValuePair;
    concatMapAttrs = f: set: foldl' (a: b: a // b) { } (mapAttrsToList f set);
    filterAttrs = pred: set: removeAttrs set (filter (n: !(pred n set.${n})) (attrNames set));
    filterAttrsRecursive = pred: set:
      mapAttrs (_: v: if isAttrs v then filterAttrsRecursive pred v else v) (filterAttrs pred set);
    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
    genAttrs' = xs: f: listToAttrs (map f xs);
    optionalAttrs = cond: set: if cond then set else { };
    foldlAttrs = f: init: set: foldl' (acc: n: f acc n set.${n}) init (attrNames set);
    foldAttrs = op: nul: list: mapAttrs (_: lists.foldr op nul) (zipAttrsWith (_: vs: vs) list);
    catAttrs = builtins.catAttrs;
    getAttrs = names: set: genAttrs names (n: set.${n});
    mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
    mapAttrsRecursiveCond = cond: f:
      let go = path: mapAttrs (n: v: if isAttrs v && cond v then go (path ++ [ n ]) v else f (path ++ [ n ]) v); in go [ ];
    mapAttrsToListRecursive = f: set:
      let go = path: s: concatMap (n: let p = path ++ [ n ]; v = s.${n}; in if isAttrs v then go p v else [ (f p v) ]) (attrNames s);
      in go [ ] set;
    collect = pred: v: if pred v then [ v ] else if isAttrs v then concatMap (collect pred) (attrValues v) else [ ];
    cartesianProduct = sets:
      foldl' (acc: n: concatMap (p: map (v: p // { ${n} = v; }) sets.${n}) acc) [ { } ] (attrNames sets);
    isDerivation = v: v.type or null == "derivation";
    toDerivation = path: { type = "derivation"; name = baseNameOf path; outPath = path; outputs = [ "out" ]; };
    zipAttrsWithNames = names: f: sets: genAttrs names (n: f n (builtins.catAttrs n sets));
    zipAttrs = zipAttrsWith (_: vs: vs);
    recursiveUpdateUntil = stop: lhs: rhs:
      let
        go = path: zipAttrsWith (n: vs:
          let here = path ++ [ n ]; in
          if length vs == 1 || stop here (elemAt vs 1) (head vs) then lists.last vs else go here vs);
      in go [ ] [ lhs rhs ];
    recursiveUpdate = lhs: rhs:
      lhs // mapAttrs (n: v: if isAttrs v && isAttrs (lhs.${n} or null) then recursiveUpdate lhs.${n} v else v) rhs;
    matchAttrs = pattern: set: builtins.all (n: set ? ${n} && (if isAttrs pattern.${n} then isAttrs set.${n} && matchAttrs pattern.${n} set.${n} else pattern.${n} == set.${n})) (attrNames pattern);
    overrideExisting = old: new: mapAttrs (n: v: new.${n} or v) old;
    updateManyAttrsByPath = updates: set: foldl' (acc: u: recursiveUpdate acc (setAttrByPath u.path (u.update (attrByPath u.path null acc)))) set updates;
    getOutput = output: pkg: pkg.${output} or pkg.out or pkg;
    getBin = getOutput "bin";
    getLib = getOutput "lib";
    getDev = getOutput "dev";
    getMan = getOutput "man";
    chooseDevOutputs = map getDev;
    recurseIntoAttrs = set: set // { recurseForDerivations = true; };
    dontRecurseIntoAttrs = set: set // { recurseForDerivations = false; };
    unionOfDisjoint = x: y: x // y;
    attrNamesToTrue = names: genAttrs names (_: true);
    longestValidPathPrefix = path: v:
      let go = i: if i == 0 || hasAttrByPath (lists.take i path) v then lists.take i path else go (i - 1); in go (length path);
  };

  strings = rec {
    inherit (builtins) concatStringsSep stringLength substring isString replaceStrings toJSON fromJSON readFile
      unsafeDiscardStringContext match split;
    isPath = builtins.isPath;
    concatStrings = concatStringsSep "";
    concatMapStrings = f: xs: concatStrings (map f xs);
    concatMapStringsSep = sep: f: xs: concatStringsSep sep (map f xs);
    concatImapStrings = f: xs: concatStrings (lists.imap1 f xs);
    concatImapStringsSep = sep: f: xs: concatStringsSep sep (lists.imap1 f xs);
    concatMapAttrsStringSep = sep: f: set: concatStringsSep sep (attrsets.mapAttrsToList f set);
    concatLines = concatMapStrings (s: s + "\n");
    intersperse = sep: list: if list == [ ] then [ ] else tail (concatMap (x: [ sep x ]) list);
    optionalString = cond: s: if cond then s else "";
    hasPrefix = p: s: substring 0 (stringLength p) s == p;
    hasSuffix = p: s:
      let l = stringLength s; n = stringLength p; in l >= n && substring (l - n) n s == p;
    hasInfix = p: s: match ".*${escapeRegex p}.*" "${replaceStrings [ "\n" ] [ " " ] s}" != null;
    removePrefix = p: s: if hasPrefix p s then substring (stringLength p) (-1) s else s;
    removeSuffix = p: s: if p != "" && hasSuffix p s then substring 0 (stringLength s - stringLength p) s else s;
    stringToCharacters = s: genList (i: substring i 1 s) (stringLength s);
    splitString = sep: s:
      let c = builtins.getContext s; parts = filter isString (builtins.split (escapeRegex sep) (unsafeDiscardStringContext s));
      in if c == { } then parts else map (p: builtins.appendContext p c) parts;
    splitStringBy = _: _: _: throw "strings.splitStringBy is not part of the small NixOS";
    escape = chars: replaceStrings chars (map (c: "\\" + c) chars);
    escapeRegex = escape [ "\\" "^" "$" "." "[" "]" "{" "}" "(" ")" "*" "+" "?" "|" ];
    escapeShellArg = arg:
      let s = toString arg; in
      if match "[[:alnum:],._+:@%/-]+" s == null then "'" + replaceStrings [ "'" ] [ "'\\''" ] s + "'" else s;
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    escapeNixString = s: escape [ "$" ] (toJSON s);
    escapeNixIdentifier = s: if match "[a-zA-Z_][a-zA-Z0-9_'-]*" s != null && !(elem s keywords) then s else escapeNixString s;
    keywords = [ "if" "then" "else" "assert" "with" "let" "in" "rec" "inherit" "or" ];
    # Snippets of the activation.
    noDepEntry = text: { inherit text; deps = [ ]; };
    fullDepEntry = text: deps: { inherit text deps; };
    packEntry = deps: { inherit deps; text = ""; };
    stringAfter = deps: text: { inherit deps text; };
    isValidPosixName = name: match "[a-zA-Z_][a-zA-Z0-9_]*" name != null;
    toShellVar = name: value:
      if isList value then throw "toShellVar: lists need bash" else "${name}=${escapeShellArg value}";
    toShellVars = vars: concatStringsSep "\n" (attrsets.mapAttrsToList toShellVar vars);
    escapeXML = replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];
    escapeURL = s: concatMapStrings (c: if match "[A-Za-z0-9_.~-]" c != null then c else throw "escapeURL: character not supported") (stringToCharacters s);
    lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
    upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    toLower = replaceStrings upperChars lowerChars;
    toUpper = replaceStrings lowerChars upperChars;
    toSentenceCase = s: toUpper (substring 0 1 s) + toLower (substring 1 (-1) s);
    trim = s: let m = match "[ \t\r\n]*(.*[^ \t\r\n])?[ \t\r\n]*" s; in if m == null || head m == null then "" else head m;
    addContextFrom = a: b: substring 0 0 a + b;
    fixedWidthString = width: filler: s:
      let n = stringLength s; in if n >= width then s else fixedWidthString width filler (filler + s);
    fixedWidthNumber = width: n: fixedWidthString width "0" (toString n);
    replicate = n: s: concatStrings (genList (_: s) n);
    versionOlder = a: b: builtins.compareVersions b a == 1;
    versionAtLeast = a: b: !(versionOlder a b);
    getName = x: if isString x then (builtins.parseDrvName x).name else x.pname or (builtins.parseDrvName x.name).name;
    getVersion = x: if isString x then (builtins.parseDrvName x).version else x.version or (builtins.parseDrvName x.name).version;
    nameFromURL = url: sep: head (splitString sep (lists.last (splitString "/" url)));
    toInt = s:
      let m = match "[[:space:]]*(-?[[:digit:]]+)[[:space:]]*" s; in
      if m == null then throw "toInt: Could not convert ${escapeNixString s} to int."
      else if match "-?0[[:digit:]]+" (head m) != null then throw "toInt: Ambiguity in interpretation of ${escapeNixString s} between octal and zero padded integer."
      else builtins.fromJSON (head m);
    toIntBase10 = s: builtins.fromJSON (head (match "0*([[:digit:]]+)" (trim s)));
    floatToString = f: let s = toString f; in s;
    isStringLike = v: isString v || builtins.isPath v || v ? outPath || v ? __toString;
    isConvertibleWithToString = v: isStringLike v || v == null || elem (typeOf v) [ "int" "float" "bool" ] || (isList v && builtins.all isConvertibleWithToString v);
    isCoercibleToString = isConvertibleWithToString;
    isStorePath = x: isStringLike x && match "${builtins.storeDir}/[^/]+" (toString x) != null;
    fileContents = f: removeSuffix "\n" (builtins.readFile f);
    readPathsFromFile = root: file: map (p: root + "/${p}") (filter (l: l != "") (splitString "\n" (builtins.readFile file)));
    makeSearchPath = sub: paths: concatStringsSep ":" (map (p: "${p}/${sub}") (filter (x: x != null) paths));
    makeSearchPathOutput = out: sub: paths: makeSearchPath sub (map (attrsets.getOutput out) paths);
    makeLibraryPath = makeSearchPathOutput "lib" "lib";
    makeBinPath = makeSearchPathOutput "bin" "bin";
    makeIncludePath = makeSearchPathOutput "dev" "include";
    normalizePath = s: replaceStrings [ "//" ] [ "/" ] s;
    sanitizeDerivationName = s:
      let
        parts = filter isString (builtins.split "[^[:alnum:]+._?=-]+" (unsafeDiscardStringContext (toString s)));
        out = concatStringsSep "-" parts;
        clean = builtins.head (match "\\.*(.*)" out);
      in if clean == "" then "unknown" else substring 0 207 clean;
    mesonOption = f: v: "-D${f}=${v}";
    enableFeature = flag: name: "--${if flag then "enable" else "disable"}-${name}";
    withFeature = flag: name: "--${if flag then "with" else "without"}-${name}";
    levenshtein = a: b: if a == b then 0 else 1;
    charToInt = c: throw "strings.charToInt is not part of the small NixOS";
  };

  versions = rec {
    splitVersion = builtins.splitVersion;
    major = v: elemAt (splitVersion v) 0;
    minor = v: elemAt (splitVersion v) 1;
    patch = v: elemAt (splitVersion v) 2;
    majorMinor = v: concatStringsSep "." (lists.take 2 (splitVersion v));
    pad = n: v: concatStringsSep "." (lists.take n (splitVersion v ++ genList (_: "0") n));
  };

  asserts = rec {
    assertMsg = pred: msg: pred || throw msg;
    assertOneOf = name: val: xs: assertMsg (elem val xs) "${name} must be one of ${toPretty { } xs}, but is: ${toPretty { } val}";
    assertEachOneOf = name: vals: xs: assertMsg (builtins.all (v: elem v xs) vals) "each element in ${name} must be one of ${toPretty { } xs}, but is: ${toPretty { } vals}";
    checkAssertWarn = assertions: warnings: val:
      let failed = map (x: x.message) (filter (x: !x.assertion) assertions); in
      if failed != [ ] then throw "\nFailed assertions:\n${concatStringsSep "\n" (map (x: "- ${x}") failed)}"
      else trivial.showWarnings warnings val;
  };
  inherit (generators) toPretty;

  debug = rec {
    traceVal = x: builtins.trace x x;
    traceValFn = f: x: builtins.trace (f x) x;
    traceIf = p: msg: x: if p then builtins.trace msg x else x;
    traceSeq = x: y: builtins.trace (builtins.deepSeq x x) y;
    traceValSeq = x: traceVal (builtins.deepSeq x x);
    traceValSeqN = _: traceValSeq;
    traceSeqN = _: traceSeq;
    traceFnSeqN = _: name: f: x: traceSeq name (f x);
    runTests = tests: filter (t: t != null) (attrsets.mapAttrsToList (name: t: if t.expr == t.expected then null else { inherit name; inherit (t) expected; result = t.expr; }) tests);
  };

  fixedPoints = rec {
    fix = f: let x = f x; in x;
    fix' = f: let x = f x // { __unfix__ = f; }; in x;
    extends = overlay: f: final: let prev = f final; in prev // overlay final prev;
    composeExtensions = f: g: final: prev:
      let a = f final prev; b = g final (prev // a); in a // b;
    composeManyExtensions = lists.foldr composeExtensions (_: _: { });
    makeExtensible = makeExtensibleWithCustomName "extend";
    makeExtensibleWithCustomName = name: rattrs:
      fix' (s: rattrs s // { ${name} = f: makeExtensibleWithCustomName name (extends f rattrs); });
    toExtension = f: if trivial.isFunction f then (final: prev: let r = f final; in if trivial.isFunction r then r prev else f prev) else (_: _: f);
    converge = f: x: let y = f x; in if y == x then x else converge f y;
  };

  customisation = rec {
    overrideDerivation = drv: f: derivation (drv.drvAttrs // f drv);
    makeOverridable = f: args0:
      let
        wanted = trivial.functionArgs f;
        result = f args0;
        again = new: makeOverridable f (args0 // (if trivial.isFunction new then new args0 else new));
      in
      if isAttrs result then result // {
        override = trivial.setFunctionArgs again wanted;
        overrideDerivation = fdrv: makeOverridable (trivial.setFunctionArgs (a: overrideDerivation (f a) fdrv) wanted) args0;
        ${if result ? overrideAttrs then "overrideAttrs" else null} = fdrv: makeOverridable (trivial.setFunctionArgs (a: (f a).overrideAttrs fdrv) wanted) args0;
      }
      else result;
    callPackageWith = auto: fn: args:
      let
        f = if trivial.isFunction fn then fn else import fn;
        wanted = trivial.functionArgs f;
        given = builtins.intersectAttrs wanted auto // args;
        missing = filter (n: !wanted.${n} && !(given ? ${n})) (attrNames wanted);
      in
      if missing == [ ] then makeOverridable f given
      else throw "lib.customisation.callPackageWith: Function called without required argument \"${head missing}\"";
    callPackagesWith = auto: fn: args: (if trivial.isFunction fn then fn else import fn) (builtins.intersectAttrs (trivial.functionArgs (if trivial.isFunction fn then fn else import fn)) auto // args);
    makeScope = newScope: f:
      let
        s = f s // {
          newScope = scope: newScope (s // scope);
          callPackage = s.newScope { };
          overrideScope = g: makeScope newScope (fixedPoints.extends g f);
          packages = f;
        };
      in s;
    extendDerivation = cond: passthru: drv: if cond then drv // passthru else throw "derivation refused";
    hydraJob = x: x;
  };

  meta = rec {
    getExe = x: getExe' x (x.meta.mainProgram or (strings.getName x));
    getExe' = x: y: "${attrsets.getBin x}/bin/${y}";
    addMetaAttrs = new: drv: drv // { meta = (drv.meta or { }) // new; };
    setPrio = priority: addMetaAttrs { inherit priority; };
    lowPrio = setPrio 10;
    hiPrio = setPrio (-10);
    availableOn = platform: pkg: !(pkg ? meta.platforms) || elem platform.system pkg.meta.platforms;
    platformMatch = platform: elem': platform.system == elem';
    mapDerivationAttrset = f: mapAttrs (_: v: if attrsets.isDerivation v then f v else v);
  };

  licenses = builtins.listToAttrs (map (n: { name = n; value = { shortName = n; free = true; fullName = n; }; }) [ "mit" "bsd3" "gpl2" "gpl3" "gpl3Only" "gpl3Plus" "agpl3Only" "asl20" "isc" "lgpl21" "mpl20" "unfree" ]);
  maintainers = { };
  platforms = rec {
    linux = [ "x86_64-linux" "aarch64-linux" "armv7l-linux" "armv6l-linux" "i686-linux" "riscv64-linux" ];
    darwin = [ "x86_64-darwin" "aarch64-darwin" ];
    unix = linux ++ darwin;
    all = unix;
  };

  generators = rec {
    mkValueStringDefault = _: v:
      if isString v then v
      else if v == true then "true" else if v == false then "false" else if v == null then "null"
      else if isAttrs v && v ? outPath then toString v
      else if elem (typeOf v) [ "int" "float" "path" ] then toString v
      else throw "generators.mkValueStringDefault: ${typeOf v} is not supported";
    mkKeyValueDefault = { mkValueString ? mkValueStringDefault { } }: sep: k: v: "${strings.escape [ sep ] k}${sep}${mkValueString v}";
    toKeyValue = { mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false, indent ? "" }: set:
      strings.concatStrings (lists.flatten (attrsets.mapAttrsToList
        (k: v: map (x: indent + mkKeyValue k x + "\n") (if listsAsDuplicateKeys then lists.toList v else [ v ])) set));
    toINI = { mkSectionName ? strings.escape [ "[" "]" ], mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false }: set:
      concatStringsSep "\n" (attrsets.mapAttrsToList
        (name: sect: "[${mkSectionName name}]\n" + toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } sect) set);
    toINIWithGlobalSection = args: { globalSection, sections ? { } }:
      (if globalSection == { } then "" else toKeyValue (removeAttrs args [ "mkSectionName" ]) globalSection + "\n") + toINI args sections;
    toGitINI = toINI { };
    toJSON = _: builtins.toJSON;
    toYAML = toJSON;
    toLua = _: _: throw "generators.toLua is not part of the small NixOS";
    withRecursion = _: v: v;
    toPretty = { multiline ? true, allowPrettyValues ? false, indent ? "" }:
      let
        go = indent: v:
          let
            t = typeOf v;
            nl = if multiline then "\n${indent}  " else " ";
            end = if multiline then "\n${indent}" else " ";
            deeper = go (indent + "  ");
          in
          if t == "string" then
            (if multiline && strings.hasSuffix "\n" v && length (strings.splitString "\n" v) > 1
              then "''" + strings.concatMapStrings (l: "\n${indent}  ${l}") (lists.init (strings.splitString "\n" v)) + "\n${indent}''"
              else "\"" + strings.escape [ "\\" "\"" ] (replaceStrings [ "\n" "\t" ] [ "\\n" "\\t" ] (strings.unsafeDiscardStringContext v)) + "\"")
          else if t == "bool" then trivial.boolToString v
          else if t == "null" then "null"
          else if t == "int" then toString v
          else if t == "float" then "~${toString v}"
          else if t == "path" then toString v
          else if t == "list" then (if v == [ ] then "[ ]" else "[" + nl + concatStringsSep nl (map deeper v) + end + "]")
          else if t == "lambda" then
            let a = attrNames (builtins.functionArgs v); in
            if a == [ ] then "<function>" else "<function, args: {${concatStringsSep ", " a}}>"
          else if v ? __pretty && allowPrettyValues then v.__pretty v.val
          else if v == { } then "{ }"
          else if v ? type && v.type == "derivation" then "<derivation ${v.name or "???"}>"
          else "{" + nl + concatStringsSep nl (map (n: "${strings.escapeNixIdentifier n} = ${deeper v.${n}};") (attrNames v)) + end + "}";
      in go indent;
  };

  sources = {
    cleanSource = src: src;
    cleanSourceWith = { src, filter ? (_: _: true), name ? "source" }: builtins.path { inherit name filter; path = src; };
    sourceByRegex = src: _: src;
    pathType = p: (builtins.readDir (dirOf p)).${baseNameOf p};
    pathIsDirectory = p: builtins.pathExists (toString p + "/.");
    commitIdFromGitRepo = _: throw "no git here";
  };
  filesystem = {
    listFilesRecursive = dir:
      concatMap
        (n: let p = dir + "/${n}"; in if (builtins.readDir dir).${n} == "directory" then filesystem.listFilesRecursive p else [ p ])
        (attrNames (builtins.readDir dir));
    inherit (sources) pathType pathIsDirectory;
    pathIsRegularFile = p: builtins.pathExists p && !(sources.pathIsDirectory p);
    packagesFromDirectoryRecursive = _: throw "filesystem.packagesFromDirectoryRecursive is not part of the small NixOS";
  };
  path = {
    append = p: s: p + "/${s}";
    hasPrefix = a: b: strings.hasPrefix (toString a + "/") (toString b + "/");
    removePrefix = a: b: "./" + strings.removePrefix (toString a + "/") (toString b);
  };
}
