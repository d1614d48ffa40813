# Declaring options, and how they and their definitions are shown in errors.
lib:
let
  inherit (builtins) all concatStringsSep elem elemAt filter head isAttrs isList length map tail tryEval isFunction;
  inherit (lib) take optionalString;
in
rec {
  mkOption = attrs: attrs // { _type = "option"; };
  isOption = lib.isType "option";
  mkEnableOption = name: mkOption {
    default = false;
    example = true;
    description = "Whether to enable ${toString name}.";
    type = lib.types.bool;
  };
  mkPackageOption = pkgs: name: { nullable ? false, default ? name, example ? null, extraDescription ? "", pkgsText ? "pkgs" }:
    let
      path = lib.toList default;
      name' = if isList name then lib.last name else name;
    in
    mkOption ({
      type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
      description = "The ${name'} package to use.${optionalString (extraDescription != "") " "}${extraDescription}";
    } // (if default == null then { default = null; } else {
      default = lib.attrByPath path (throw "${concatStringsSep "." path} cannot be found in ${pkgsText}") pkgs;
      defaultText = literalExpression "${pkgsText}.${concatStringsSep "." path}";
    }));
  mkPackageOptionMD = mkPackageOption;
  mkSinkUndeclaredOptions = attrs: mkOption ({
    internal = true;
    visible = false;
    default = false;
    description = "Sink for option definitions.";
    type = lib.mkOptionType { name = "sink"; check = _: true; merge = _: _: false; };
    apply = _: throw "Option value is not readable because the option is not declared.";
  } // attrs);

  literalExpression = text: { _type = "literalExpression"; inherit text; };
  literalExample = literalExpression;
  literalMD = text: { _type = "literalMD"; inherit text; };
  literalDocBook = literalMD;
  mdDoc = text: text;
  scrubOptionValue = x:
    if lib.isDerivation x then x // { outPath = "‹derivation›"; drvPath = "‹derivation›"; }
    else if isList x then map scrubOptionValue x
    else if isAttrs x then builtins.mapAttrs (_: scrubOptionValue) (removeAttrs x [ "_args" ])
    else x;
  renderOptionValue = v: if v ? _type && v ? text then v else literalExpression (lib.generators.toPretty { } v);
  unknownModule = "<unknown-file>";

  showOption = parts:
    let part = p: if elem p [ "*" "<name>" "<function body>" ] then p else lib.escapeNixIdentifier p; in
    concatStringsSep "." (map part parts);
  showOptionWithDefLocs = opt: "${showOption opt.loc}, with values defined in:\n${concatStringsSep "\n" (map (f: "  - ${f}") opt.files)}\n";
  showFiles = files: lib.concatMapStringsSep " and " (f: "`${f}'") files;
  # One line a definition; values of several lines go below it, at most five of them.
  showDefs = defs: lib.concatMapStrings
    (def:
      let
        r = tryEval (let s = lib.generators.toPretty { } def.value; in builtins.seq s s);
        lines = lib.splitString "\n" r.value;
        shown = concatStringsSep "\n    " (take 5 lines ++ lib.optional (length lines > 5) "...");
      in
      "\n- In `${def.file}'"
      + (if !r.success then "" else if length lines > 1 then ":\n    ${shown}" else ": ${shown}"))
    defs;

  getValues = map (d: d.value);
  getFiles = map (d: d.file);

  mergeOneOption = mergeUniqueOption { message = ""; };
  mergeUniqueOption = args@{ message ? "", merge ? null }: loc: defs:
    if length defs == 1 then (if merge == null then (head defs).value else merge loc defs)
    else throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\n${optionalString (message != "") "${message}\n"}Definition values:${showDefs defs}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";
  mergeEqualOption = loc: defs:
    let first = head defs; in
    if length defs == 1 then first.value
    else (builtins.foldl'
      (acc: d: if d.value == acc.value then acc
        else throw "The option `${showOption loc}' has conflicting definition values:${showDefs [ acc d ]}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.")
      first
      (tail defs)).value;
  mergeDefaultOption = loc: defs:
    let vs = getValues defs; in
    if length vs == 1 then head vs
    else if all isFunction vs then x: mergeDefaultOption loc (map (d: d // { value = d.value x; }) defs)
    else if all isList vs then builtins.concatLists vs
    else if all isAttrs vs then builtins.foldl' lib.mergeAttrs { } vs
    else if all builtins.isBool vs then builtins.foldl' lib.or false vs
    else if all builtins.isString vs then lib.concatStrings vs
    else if all builtins.isInt vs && all (v: v == head vs) vs then head vs
    else throw "Cannot merge definitions of `${showOption loc}'. Definition values:${showDefs defs}";

  optionAttrSetToDocList = opts: lib.concatMap
    (o: lib.optional (!(o.internal or false)) {
      loc = o.loc;
      name = showOption o.loc;
      description = o.description or null;
      declarations = o.declarations;
      internal = false;
      visible = o.visible or true;
      readOnly = o.readOnly or false;
      type = o.type.description or "unspecified";
    })
    (lib.collect isOption opts);
}
