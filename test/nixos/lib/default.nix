# The part of nixpkgs' lib that fleets and modules use. No packages, no I/O.
let
  basics = import ./basics.nix self;
  typeLib = import ./types.nix self;
  modules = import ./modules.nix self;
  options = import ./options.nix self;

  self = basics
    // {
      inherit (builtins)
        add sub lessThan seq deepSeq genericClosure isInt isFloat isBool isPath addErrorContext trace getEnv bitXor ceil
        floor readDir pathExists compareVersions tryEval hashString typeOf;
    }
    // basics.trivial // basics.lists // basics.attrsets // basics.debug // basics.fixedPoints // basics.customisation
    // basics.asserts // basics.meta // basics.versions // basics.strings
    // {
      inherit (basics.sources) cleanSource cleanSourceWith sourceByRegex commitIdFromGitRepo;
      inherit (typeLib) types;
      inherit (typeLib.types) mkOptionType isOptionType isType setType;
      inherit modules options;
      lib = self;
      systems = import ./systems.nix self;
      # What a flake's nixpkgs.lib has.
      nixosSystem = args: import ../nixos/lib/eval-config.nix ({ lib = self; system = null; } // args // {
        modules = args.modules ++ [ { nixpkgs.flake.source = modules.mkDefault (toString ../.); } ];
      });
      cli = rec {
        toGNUCommandLine = _: attrs: basics.lists.flatten (basics.attrsets.mapAttrsToList
          (k: v:
            let f = if builtins.stringLength k == 1 then "-${k}" else "--${k}"; in
            if v == true then [ f ] else if v == false || v == null then [ ] else map (x: [ f (toString x) ]) (basics.lists.toList v))
          attrs);
        toGNUCommandLineShell = o: a: basics.strings.escapeShellArgs (toGNUCommandLine o a);
      };
      extend = f: let n = self // f n self; in n;
    }
    // modules // options;
in
self
