# Builders. All of them run /bin/sh with PATH=/bin:/usr/bin and need only coreutils beside the shell.
final: prev:
let
  inherit (final) lib;
  inherit (builtins) concatStringsSep isFunction stringLength toString;
  inherit (lib) escapeShellArg;
  buildSystem = final.buildPlatform.system;

  # One derivation: `script` runs with `set -eu`, attributes of `env` in the environment.
  raw = { name, script, env ? { }, system ? buildSystem, passthru ? { }, meta ? { }, version ? null, pname ? null, outputs ? [ "out" ] }:
    let
      drv = derivation (env // {
        inherit name system;
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/bin:/usr/bin";
      } // (if outputs == [ "out" ] then { } else { inherit outputs; }));
    in
    drv // passthru // { inherit meta passthru name; inherit (drv) drvAttrs; }
    // (if pname == null then { } else { inherit pname version; });
in
{
  rawDerivation = raw;
  runtimeShell = "/bin/sh";
  runtimeShellPackage = final.bash;

  # The small mkDerivation: buildCommand, or src with the usual phases, as far as a shell and coreutils go.
  mkDerivationFrom = fnOrAttrs:
    let
      attrs = if isFunction fnOrAttrs then fnOrAttrs self else fnOrAttrs;
      name = attrs.name or "${attrs.pname}-${attrs.version}";
      hook = n: attrs.${n} or "";
      phases =
        if attrs ? buildCommand then attrs.buildCommand
        else ''
          ${if attrs ? src && attrs.src != null && !(attrs.dontUnpack or false) then ''
            if [ -d ${toString attrs.src} ]; then cp -R ${attrs.src} source; chmod -R u+w source; cd source
            else mkdir source; cp ${attrs.src} source/; cd source; fi
          '' else ""}
          ${hook "unpackPhase"}
          ${hook "patchPhase"}
          ${hook "postPatch"}
          ${hook "configurePhase"}
          ${hook "preBuild"}
          ${hook "buildPhase"}
          ${hook "postBuild"}
          ${hook "preInstall"}
          ${attrs.installPhase or "mkdir -p \"$out\""}
          ${hook "postInstall"}
          ${hook "fixupPhase"}
        '';
      env = removeAttrs attrs [
        "name" "pname" "version" "meta" "passthru" "buildCommand" "src" "unpackPhase" "patchPhase" "postPatch" "configurePhase"
        "preBuild" "buildPhase" "postBuild" "preInstall" "installPhase" "postInstall" "fixupPhase" "phases" "env" "outputs"
        "dontUnpack" "dontBuild" "dontConfigure" "doCheck" "system"
      ] // attrs.env or { };
      clean = builtins.mapAttrs (_: v: if builtins.isBool v then (if v then "1" else "") else v)
        (lib.filterAttrs (_: v: v != null && !(builtins.isAttrs v && !(v ? outPath)) && !isFunction v) env);
      self = raw {
        inherit name;
        env = clean // { pname = attrs.pname or name; version = attrs.version or ""; };
        script = "cd \"\${TMPDIR:-/tmp}\"\n" + phases;
        outputs = attrs.outputs or [ "out" ];
        pname = attrs.pname or (lib.getName name);
        version = attrs.version or (lib.getVersion name);
        meta = { inherit name; available = true; } // attrs.meta or { };
        passthru = attrs.passthru or { };
      } // {
        overrideAttrs = f: final.mkDerivationFrom (let
          new = if isFunction f then (let r = f attrs; in if isFunction r then f (attrs // r attrs) attrs else r) else f;
        in attrs // new);
      };
    in
    self;

  runCommand = name: env: script: raw { inherit name script; env = removeAttrs env [ "passthru" "meta" "nativeBuildInputs" "buildInputs" "preferLocalBuild" "allowSubstitutes" ]; passthru = env.passthru or { }; meta = env.meta or { }; };
  runCommandNoCC = final.runCommand;
  runCommandCC = final.runCommand;
  runCommandLocal = name: env: final.runCommand name ({ preferLocalBuild = true; allowSubstitutes = false; } // env);

  writeTextFile = { name, text, executable ? false, destination ? "", checkPhase ? "", meta ? { }, passthru ? { }, ... }:
    let big = stringLength text > 60000; in
    raw {
      name = lib.strings.sanitizeDerivationName name;
      inherit meta passthru;
      env = { inherit text; } // (if big then { passAsFile = [ "text" ]; } else { });
      script = concatStringsSep "\n" [
        "t=\"$out\"${escapeShellArg destination}"
        (if destination == "" then "" else "mkdir -p \"\${t%/*}\"")
        (if big then "cat \"$textPath\" > \"$t\"" else "printf '%s' \"$text\" > \"$t\"")
        (if executable then "chmod 755 \"$t\"" else "")
      ];
    };
  writeText = name: text: final.writeTextFile { inherit name text; };
  writeTextDir = path: text: final.writeTextFile { name = baseNameOf path; destination = "/${path}"; inherit text; };
  writeScript = name: text: final.writeTextFile { inherit name text; executable = true; };
  writeScriptBin = name: text: final.writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; meta.mainProgram = name; };
  writeShellScript = name: text: final.writeScript name "#!${final.runtimeShell}\n${text}\n";
  writeShellScriptBin = name: text: final.writeScriptBin name "#!${final.runtimeShell}\n${text}\n";
  writeShellApplication = { name, text, runtimeInputs ? [ ], ... }: final.writeShellScriptBin name ''
    set -eu
    ${if runtimeInputs == [ ] then "" else "export PATH=\"${lib.makeBinPath runtimeInputs}:$PATH\""}
    ${text}'';
  concatText = name: files: raw { inherit name; script = "cat ${lib.escapeShellArgs files} > \"$out\""; };
  formats = {
    json = _: { type = lib.types.anything; generate = name: v: final.writeText name (builtins.toJSON v); };
    yaml = _: final.formats.json { };
    toml = _: final.formats.json { };
    ini = _: { type = lib.types.anything; generate = name: v: final.writeText name (lib.generators.toINI { } v); };
    keyValue = _: { type = lib.types.anything; generate = name: v: final.writeText name (lib.generators.toKeyValue { } v); };
  };

  linkFarm = name: entries:
    let list = if builtins.isAttrs entries then lib.mapAttrsToList (name: path: { inherit name path; }) entries else entries; in
    raw {
      inherit name;
      script = "mkdir -p \"$out\"\n" + lib.concatMapStrings (e: ''
        t="$out"/${escapeShellArg e.name}; [ -d "''${t%/*}" ] || mkdir -p "''${t%/*}"; ln -s ${escapeShellArg e.path} "$t"
      '') list;
    };
  linkFarmFromDrvs = name: drvs: final.linkFarm name (map (d: { inherit (d) name; path = d; }) drvs);

  # Directories are joined, files linked; the first path wins, as with buildEnv's lowest priority.
  buildEnv = lib.makeOverridable ({ name, paths, pathsToLink ? [ "/" ], ignoreCollisions ? false, postBuild ? "", passthru ? { }, meta ? { }, ... }: raw {
    inherit name passthru meta;
    env.pathsToLink = pathsToLink;
    env.paths = map toString (lib.unique (map (p: "${lib.getBin p}") (lib.flatten paths)));
    script = ''
      join() { # FROM TO; what is to be linked is added to them, for one process: each is slow under emulation
        [ -d "$2" ] || mkdir -p "$2"
        for f in "$1"/* "$1"/.[!.]*; do
          [ -e "$f" ] || [ -L "$f" ] || continue
          t=$2/''${f##*/}
          if [ -d "$f" ] && { [ ! -L "$f" ] || [ -d "$t" ]; }; then join "$f" "$t"
          elif [ ! -e "$t" ] && [ ! -L "$t" ]; then set -- "$@" "$f"; fi
        done
        [ "$#" = 2 ] || { t=$2; shift 2; ln -s -t "$t" "$@"; }
      }
      mkdir -p "$out"
      for p in $paths; do
        ${if builtins.elem "/" pathsToLink then ''[ ! -d "$p" ] || join "$p" "$out"'' else lib.concatMapStringsSep "\n  " (d: ''[ ! -d "$p${d}" ] || join "$p${d}" "$out${d}"'') pathsToLink}
      done
      ${postBuild}
    '';
  });
  symlinkJoin = args@{ paths, postBuild ? "", ... }: final.buildEnv {
    name = args.name or "${args.pname}-${args.version}";
    inherit paths postBuild;
    passthru = args.passthru or { };
    meta = args.meta or { };
  };

  substituteAll = args: raw {
    name = args.name or (baseNameOf (toString args.src));
    script = throw "substituteAll is not part of the small NixOS";
  };
  replaceVars = src: _: src;
  fetchurl = a: throw "the small NixOS cannot fetch ${a.url or "anything"}";
  fetchFromGitHub = a: throw "the small NixOS cannot fetch ${a.owner}/${a.repo}";
  fetchgit = final.fetchFromGitHub;
  fetchpatch = final.fetchurl;
  mkShell = a: final.mkDerivationFrom ({ name = "nix-shell"; buildCommand = "mkdir -p \"$out\""; } // removeAttrs a [ "packages" ]);
  mkShellNoCC = final.mkShell;
  writers = { writeBash = final.writeShellScript; writeDash = final.writeShellScript; writeBashBin = final.writeShellScriptBin; writeDashBin = final.writeShellScriptBin; };
  stdenvCC = final.gcc;
  lowPrio = lib.lowPrio;
  hiPrio = lib.hiPrio;
}
