#!/bin/bash
# Checks the small NixOS: a table of evaluations, errors and builds. Needs nix and shellcheck; uses the machine's store.
# shellcheck disable=SC2016 # Nix code stands in single quotes
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
export NIX_PATH=nixpkgs=${NIXPKGS:-$here}
export NIX_CONFIG=$'build-users-group =\nsubstituters =\nsandbox = false'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

pass() { passed=$((passed + 1)); }
fail() {
  failed=$((failed + 1))
  printf 'FAILED: %s\n%s\n' "$1" "$2" | head -n 30
}

# In every expression: lib, evalM [modules] (the module system alone), nixos module (a system for x86_64-linux),
# bare module (a system without a platform), network file.
prelude='
let
  lib = import <nixpkgs/lib>;
  inherit (lib) mkOption mkIf mkMerge mkDefault mkForce mkBefore mkAfter mkOrder mkEnableOption types;
  evalM = modules: (lib.evalModules { inherit modules; }).config;
  bareWith = args: module: import <nixpkgs/nixos/lib/eval-config.nix> ({ system = null; modules = [ module ]; } // args);
  bare = bareWith { };
  nixos = module: bare { imports = [ module ]; nixpkgs.hostPlatform = mkDefault "x86_64-linux"; system.stateVersion = mkDefault "25.11"; };
  top = c: c.config.system.build.toplevel;
  network = f: import '"$here"'/examples/morph-eval.nix { network = f; };
  opt = type: mkOption { inherit type; };
in
'
# evals NAME EXPRESSION JSON [OPTION...]
evals() {
  local name=$1 expr=$2 want=$3 got
  shift 3
  if ! got=$(nix-instantiate --eval --strict --json "$@" -E "$prelude $expr" 2>"$work/err"); then
    fail "$name" "$(cat "$work/err")"
  elif [ "$got" != "$want" ]; then
    fail "$name" "got  $got"$'\n'"want $want"
  else
    pass
  fi
}
# refuses NAME EXPRESSION TEXT [OPTION...]: fails with the text in its error, wherever lines break.
refuses() {
  local name=$1 expr=$2 text=$3 flat
  shift 3
  if nix-instantiate --eval --strict "$@" -E "$prelude $expr" >"$work/out" 2>"$work/err"; then
    fail "$name" "evaluated to $(cat "$work/out")"
    return
  fi
  flat=$(tr -s ' \n' ' ' <"$work/err")
  case $flat in
  *"$text"*) pass ;;
  *) fail "$name" "no «$text» in"$'\n'"$(cat "$work/err")" ;;
  esac
}

# --- lib and the module system ---------------------------------------------------------------------------------------
evals strings '[ (lib.hasInfix "b.c" "ab.cd") (lib.splitString "." "a.b") (lib.removeSuffix ".nix" "x.nix") (lib.escapeShellArg "it'\''s") (lib.toInt "42") (lib.versionAtLeast "2.18" "2.8") ]' \
  '[true,["a","b"],"x","'"'it'\\\\''s'"'",42,true]'
evals lists '[ (lib.unique [ 1 2 1 ]) (lib.flatten [ 1 [ 2 [ 3 ] ] ]) (lib.imap1 (i: v: i + v) [ 1 1 ]) (lib.foldr (a: b: a - b) 0 [ 3 2 1 ]) (lib.last [ 1 2 ]) (lib.range 1 3) ]' \
  '[[1,2],[1,2,3],[2,3],2,2,[1,2,3]]'
evals attrsets '[ (lib.recursiveUpdate { a.b = 1; a.c = 1; } { a.b = 2; }) (lib.mapAttrs'\'' (n: v: lib.nameValuePair "x${n}" v) { a = 1; }) (lib.attrByPath [ "a" "b" ] 0 { a.b = 5; }) (lib.genAttrs [ "a" ] (n: n)) (lib.filterAttrs (n: v: v) { a = true; b = false; }) ]' \
  '[{"a":{"b":2,"c":1}},{"xa":1},5,{"a":"a"},{"a":true}]'
evals generators '[ (lib.generators.toINI { } { s.k = true; }) (lib.generators.toKeyValue { } { a = 1; }) ]' '["[s]\nk=true\n","a=1\n"]'
evals priorities 'evalM [ { options.a = opt types.int; options.b = opt (types.listOf types.int); } { a = mkDefault 1; b = mkAfter [ 3 ]; } { a = 2; b = [ 2 ]; } { b = mkBefore [ 1 ]; } ]' '{"a":2,"b":[1,2,3]}'
evals force 'evalM [ { options.a = opt types.str; } { a = "x"; } { a = mkForce "y"; } ]' '{"a":"y"}'
evals default-not-forced 'evalM [ { options.a = mkOption { type = types.str; default = throw "no"; }; } { a = "x"; } ]' '{"a":"x"}'
evals conditions 'evalM [ { options.a = opt types.lines; options.on = mkEnableOption "x"; } ({ config, ... }: mkIf config.on { a = "two"; }) { a = mkMerge [ (mkIf false "no") "one" ]; on = true; } ]' '{"a":"two\none","on":true}'
evals submodules 'evalM [ { options.u = opt (types.attrsOf (types.submodule ({ name, ... }: { options.n = mkOption { default = name; type = types.str; }; options.l = mkOption { default = [ ]; type = types.listOf types.int; }; }))); } { u.a = { }; u.b.l = [ 1 ]; } ({ lib, ... }: { u.b.l = lib.mkBefore [ 0 ]; }) ]' '{"u":{"a":{"l":[],"n":"a"},"b":{"l":[0,1],"n":"b"}}}'
evals freeform 'evalM [ { freeformType = types.attrsOf types.int; options.a = mkOption { default = 1; type = types.int; }; } { b = 2; } ]' '{"a":1,"b":2}'
evals submodule-freeform 'evalM [ { options.s = opt (types.submodule { freeformType = types.attrsOf types.anything; options.a = mkOption { default = 1; type = types.int; }; }); } { s.x.y = 2; } { s.x.z = 3; } ]' '{"s":{"a":1,"x":{"y":2,"z":3}}}'
evals declared-twice 'evalM [ { options.s = opt (types.submodule { options.a = mkOption { default = 1; type = types.int; }; }); } { options.s = opt (types.submodule { options.b = mkOption { default = 2; type = types.int; }; }); } { s = { }; } ]' '{"s":{"a":1,"b":2}}'
evals coerced 'evalM [ { options.a = opt (types.coercedTo types.str (s: { v = s; }) types.attrs); options.b = opt (types.either types.int types.str); options.c = opt (types.nullOr types.port); } { a = "x"; b = "y"; c = null; } ]' '{"a":{"v":"x"},"b":"y","c":null}'
evals apply 'evalM [ { options.a = mkOption { type = types.int; apply = x: x + 1; default = 1; }; } ]' '{"a":2}'
evals args 'evalM [ ({ config, foo, ... }: { options.a = mkOption { default = foo; }; config._module.args.foo = "bar"; }) ]' '{"a":"bar"}'
evals imports-once 'evalM (let m = { key = "k"; imports = [ ]; l = [ 1 ]; }; in [ { options.l = opt (types.listOf types.int); } m m ])' '{"l":[1]}'
evals disabled 'evalM [ { options.l = mkOption { type = types.listOf types.int; default = [ ]; }; } { imports = [ { key = "gone"; l = [ 1 ]; } ]; disabledModules = [ { key = "gone"; } ]; } ]' '{"l":[]}'
evals renamed '(nixos { services.openssh.permitRootLogin = "no"; }).config.services.openssh.settings.PermitRootLogin' '"no"'
evals deferred 'evalM [ { options.m = opt types.deferredModule; options.r = mkOption { default = 0; }; } ({ config, ... }: { m.options.x = mkOption { default = 7; }; r = evalM [ config.m ]; m.imports = [ ]; }) ] // { m = 0; }' '{"m":0,"r":{"x":7}}'
evals extend '((lib.evalModules { modules = [ { options.a = opt types.int; config.a = mkDefault 1; } ]; }).extendModules { modules = [ { a = 2; } ]; }).config' '{"a":2}'
evals is-defined 'let e = lib.evalModules { modules = [ { options.a = opt types.int; options.b = opt types.int; config.a = 1; } ]; }; in [ e.options.a.isDefined e.options.b.isDefined "${e.options.a}" ]' '[true,false,"a"]'

refuses no-option 'nixos { services.openshh.enable = true; } // { x = (nixos { services.openshh.enable = true; }).config; }' "The option \`services.openshh' does not exist. Definition values: - In \`"
refuses no-option-value '(evalM [ { _file = "/x.nix"; a.b = { enable = true; }; options.a.c = opt types.int; } ])' "unsupported attribute \`a'"
refuses no-option-shown '(evalM [ { options.a.c = mkOption { default = 1; }; } { _file = "/x.nix"; a.b = { enable = true; }; } ])' "The option \`a.b' does not exist. Definition values: - In \`/x.nix': { enable = true; }"
refuses wrong-type '(evalM [ { options.a = opt types.int; } { _file = "/y.nix"; a = "one"; } ])' "A definition for option \`a' is not of type \`signed integer'. Definition values: - In \`/y.nix': \"one\""
refuses wrong-element '(evalM [ { options.a = opt (types.listOf types.str); } { a = [ 1 ]; } ])' "A definition for option \`a.\"[definition 1-entry 1]\"' is not of type \`string'. Definition values: - In \`<unknown-file>': 1"
refuses undefined '(evalM [ { options.a = opt types.str; } ])' "The option \`a' is used but not defined."
refuses conflict '(evalM [ { options.a = opt types.str; } { _file = "/a.nix"; a = "x"; } { _file = "/b.nix"; a = "y"; } ])' "The option \`a' has conflicting definition values: - In \`/a.nix': \"x\" - In \`/b.nix': \"y\" Use \`lib.mkForce value\` or \`lib.mkDefault value\` to change the priority on any of these definitions."
refuses read-only '(evalM [ { options.a = mkOption { type = types.int; readOnly = true; default = 1; }; } { a = 2; } ])' "The option \`a' is read-only, but it's set multiple times."
refuses removed '(top (nixos { services.openssh.challengeResponseAuthentication = true; }))' "no longer has any effect; please remove it."
refuses enum '(evalM [ { options.a = opt (types.enum [ "x" "y" ]); } { a = "z"; } ])' "is not of type \`one of \"x\", \"y\"'"
refuses module-string '(evalM [ 5 ])' "does not look like a module"
refuses recursion '(evalM [ ({ config, ... }: { options.a = mkOption { default = config.a; }; }) ])' "infinite recursion encountered"

# --- NixOS ------------------------------------------------------------------------------------------------------------
evals host-name '(nixos { networking.hostName = "a"; networking.domain = "b.c"; }).config.networking.fqdn' '"a.b.c"'
evals system-name '(top (nixos { networking.hostName = "a"; })).name' '"nixos-system-a-26.05.20261101.lab"'
evals tags '(top (nixos { networking.hostName = "a"; system.nixos.tags = [ "x" ]; })).name' '"nixos-system-a-x-26.05.20261101.lab"'
evals release '(nixos { }).config.system.nixos.release' '"26.05"'
evals firewall '(nixos { services.openssh.enable = true; networking.firewall.allowedTCPPorts = [ 80 ]; }).config.networking.firewall.allowedTCPPorts' '[22,80]'
evals own-options '(nixos ({ config, ... }: { options.services.mine.enable = mkEnableOption "mine"; options.programs.mine.x = mkOption { default = 1; }; config.programs.other.deep = [ 1 ]; })).config.programs.mine.x' '1'
evals special-args '(bareWith { specialArgs.who = "me"; } ({ who, ... }: { nixpkgs.hostPlatform = "x86_64-linux"; networking.hostName = who; })).config.networking.hostName' '"me"'
evals modules-path '(nixos ({ modulesPath, ... }: { imports = [ (modulesPath + "/profiles/qemu-guest.nix") (modulesPath + "/installer/scan/not-detected.nix") ]; })).config.hardware.enableRedistributableFirmware' 'true'
refuses assertion '(top (nixos { assertions = [ { assertion = false; message = "no way"; } ]; }))' "Failed assertions: - no way"
refuses bad-user '(top (nixos { users.users.anna = { }; }))' "Exactly one of users.users.anna.isSystemUser and users.users.anna.isNormalUser must be set."
refuses bad-host-name '(top (nixos { networking.hostName = "a.b"; }))' "A definition for option \`networking.hostName' is not of type \`string matching the pattern"
refuses no-root '(top (nixos { lab.requireRootFileSystem = true; boot.loader.systemd-boot.enable = true; }))' "The ‘fileSystems’ option does not specify your root file system."

# --- platforms ----------------------------------------------------------------------------------------------------------
refuses no-platform '(top (bare { }))' "Neither nixpkgs.hostPlatform nor the legacy option nixpkgs.system has been set."
evals host-platform '(top (bare { nixpkgs.hostPlatform = "aarch64-linux"; })).system' '"aarch64-linux"'
evals legacy-system '(top (bare { nixpkgs.system = "aarch64-linux"; })).system' '"aarch64-linux"'
evals local-system '(top (bare { nixpkgs.localSystem.system = "aarch64-linux"; })).system' '"aarch64-linux"'
evals local-system-config '(top (bare { nixpkgs.localSystem.config = "aarch64-unknown-linux-gnu"; })).system' '"aarch64-linux"'
evals system-argument '(top (bareWith { system = "aarch64-linux"; } { })).system' '"aarch64-linux"'
evals host-platform-wins '(top (bareWith { system = "x86_64-linux"; } { nixpkgs.hostPlatform = "aarch64-linux"; })).system' '"aarch64-linux"'
evals cross 'let c = bare { nixpkgs.hostPlatform = "aarch64-linux"; nixpkgs.buildPlatform = "x86_64-linux"; }; in [ (top c).system c.pkgs.stdenv.hostPlatform.system c.pkgs.buildPackages.stdenv.hostPlatform.system ]' '["x86_64-linux","aarch64-linux","x86_64-linux"]'
evals cross-system '(bare { nixpkgs.localSystem.system = "x86_64-linux"; nixpkgs.crossSystem.system = "aarch64-linux"; }).pkgs.stdenv.hostPlatform.system' '"aarch64-linux"'
evals pkgs-option '(bare { nixpkgs.pkgs = import <nixpkgs> { system = "aarch64-linux"; }; nixpkgs.hostPlatform = "x86_64-linux"; }).pkgs.stdenv.hostPlatform.system' '"aarch64-linux"'
evals overlays '(nixos { nixpkgs.overlays = [ (final: prev: { hello = prev.hello // { tag = final.curl.pname; }; }) ]; }).pkgs.hello.tag' '"curl"'
evals overlay-on-pkgs '(bare { nixpkgs.pkgs = import <nixpkgs> { system = "x86_64-linux"; }; nixpkgs.overlays = [ (final: prev: { x = 1; }) ]; }).pkgs.x' '1'
evals unfree '(nixos { nixpkgs.config.allowUnfree = true; }).pkgs.lab-unfree.pname' '"lab-unfree"'
refuses unfree-refused '(nixos { }).pkgs.lab-unfree.name' "has an unfree license"
refuses config-and-pkgs '(top (bare { nixpkgs.pkgs = import <nixpkgs> { system = "x86_64-linux"; }; nixpkgs.config.allowUnfree = true; }))' "Your system configures nixpkgs with an externally created instance."
refuses mac 'builtins.mapAttrs (_: top) (network '"$here"'/examples/legacy.nix)' "assertion '(stdenv).isLinux' failed" --option system aarch64-darwin
evals mac-pi 'builtins.mapAttrs (_: h: (top h).system) (network '"$here"'/examples/pi.nix)' '{"router":"aarch64-linux"}' --option system aarch64-darwin
evals mac-container '(top (bareWith { system = builtins.currentSystem; } { boot.isContainer = true; })).system' '"aarch64-darwin"' --option system aarch64-darwin

# --- packages -----------------------------------------------------------------------------------------------------------
evals override-attrs '((import <nixpkgs> { system = "x86_64-linux"; }).hello.overrideAttrs (o: { version = "9"; })).name' '"hello-9"'
evals call-package '((import <nixpkgs> { system = "x86_64-linux"; }).callPackage ({ lib, hello, n ? 1 }: { inherit (hello) pname; inherit n; }) { n = 2; }).n' '2'
evals pkgs-nixos '((import <nixpkgs> { system = "aarch64-linux"; }).nixos { networking.hostName = "z"; }).config.system.build.toplevel.system' '"aarch64-linux"'

# --- the examples: they evaluate, and the system builds -------------------------------------------------------------------
for e in simple healthchecks secrets; do
  if nix-instantiate --eval --strict -E "$prelude builtins.mapAttrs (_: h: (top h).drvPath) (network $here/examples/$e.nix)" >"$work/out" 2>"$work/err"; then pass; else fail "examples/$e.nix" "$(cat "$work/err")"; fi
done
cat >"$work/host.nix" <<'NIX'
{ config, lib, pkgs, ... }: {
  nixpkgs.hostPlatform = builtins.currentSystem;
  networking.hostName = "web01";
  system.stateVersion = "25.11";
  system.extraDependencies = [ (pkgs.writeText "extra" "x") ];
  system.preSwitchChecks.ok = "true";
  services.nginx.enable = true;
  services.openssh.enable = true;
  environment.systemPackages = [ pkgs.hello ];
  environment.etc."app/conf" = { text = "a"; mode = "0600"; user = "daemon"; };
  users.users.anna = { isNormalUser = true; extraGroups = [ "wheel" ]; openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA anna" ]; };
  systemd.services.job = { script = "echo 100%"; startAt = "daily"; path = [ pkgs.git ]; environment.A = "b c"; restartIfChanged = false; };
  systemd.tmpfiles.rules = [ "d /run/x" ];
  system.activationScripts.mine = { deps = [ "etc" ]; text = "touch /run/mine"; };
  specialisation.other.configuration = { environment.etc.other.text = "x"; };
}
NIX
start=$(date +%s%N)
if t=$(nix-build -Q --no-out-link -E "$prelude top (bare $work/host.nix)" 2>"$work/err"); then
  pass
  echo "built in $((($(date +%s%N) - start) / 1000000)) ms: $t"
  for f in activate bin/switch-to-configuration dry-activate init etc/systemd/system/nginx.service sw/bin/hello sw/bin/sh kernel initrd kernel-params \
    nixos-version system init-interface-version configuration-name boot.json etc/systemd/system/multi-user.target.wants/nginx.service \
    etc/systemd/system/timers.target.wants/job.timer etc/tmpfiles.d/00-nixos.conf specialisation/other/etc/other etc/ssh/authorized_keys.d/anna; do
    if [ -e "$t/$f" ] || [ -L "$t/$f" ]; then pass; else fail "toplevel has $f" "$(ls -R "$t")"; fi
  done
  has_line() { if grep -qxF -e "$2" "$t/$1"; then pass; else fail "$1 has «$2»" "$(cat "$t/$1")"; fi; }
  has_line etc/systemd/system/job.service 'X-RestartIfChanged=false'
  has_line etc/systemd/system/job.service 'Environment="A=b c"'
  has_line etc/systemd/system/job.timer 'OnCalendar=daily'
  has_line etc-copies/app%conf '0600 daemon:0'
  has_line built-on "$(uname -m)"
  if nix-store -qR "$t" | grep -q -- '-extra$'; then pass; else fail extraDependencies "$(nix-store -qR "$t")"; fi
  if out=$(shellcheck -s sh "$t/activate" "$t/dry-activate" "$t/bin/switch-to-configuration" "$here"/nixos/modules/system/*.sh 2>&1); then pass; else fail shellcheck "$out"; fi
  for f in activate bin/switch-to-configuration; do
    if dash -n "$t/$f" && bash -n "$t/$f"; then pass; else fail "syntax of $f" ""; fi
  done
else
  fail build "$(cat "$work/err")"
fi
if out=$(shellcheck "$here/check.sh" 2>&1); then pass; else fail "shellcheck check.sh" "$out"; fi
if nix-build -Q --no-out-link -E "$prelude (nixos { }).pkgs.lab-fails" >/dev/null 2>"$work/err"; then fail lab-fails "built"; else pass; fi

# --- ten at once ---------------------------------------------------------------------------------------------------------
start=$(date +%s%N)
if nix-instantiate --eval --strict -E "$prelude builtins.genList (n: (top (bare { imports = [ $work/host.nix ]; networking.hostName = mkForce \"h\${toString n}\"; })).drvPath) 10" >"$work/out" 2>"$work/err"; then
  ms=$((($(date +%s%N) - start) / 1000000))
  echo "ten systems evaluated in $ms ms"
  pass
else
  fail "ten systems" "$(cat "$work/err")"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
