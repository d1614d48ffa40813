#!/bin/sh
# Records what Nix writes to stderr with --log-format internal-json, as the
# golden input of the tests of internal/nixlog.
#
#	record.sh            this machine's Nix, into testdata/nix-VERSION/
#	record.sh IMAGE...   the Nix in a container image, e.g. godwit-lab:forky-...
#
# It builds derivations of a few bytes with /bin/sh, needs no network, and
# leaves nothing behind but them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" != --inside ]; then
	if [ $# = 0 ]; then
		exec sh "$here/record.sh" --inside "$here"
	fi
	for image; do
		docker run --rm --network none -v "$here:/golden" --entrypoint /bin/sh "$image" /golden/record.sh --inside /golden
	done
	exit
fi

golden=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset NIX_PATH NIX_REMOTE
version=$(nix-store --version | sed 's/.* //')
out=$golden/nix-$version
mkdir -p "$out"
rm -f "$out"/*.log

# A different seed makes different derivations, so that each run builds.
seed=$(date +%s)
cat > lib.nix <<EOF
{ name, script, deps ? [ ], system ? "$(uname -m)-linux", extra ? { } }:
derivation ({
  inherit name system;
  builder = "/bin/sh";
  args = [ "-c" script ];
  seed = "$seed";
  inherit deps;
  PATH = "/usr/bin:/bin";
} // extra)
EOF
cat > ok.nix <<'EOF'
let
  mk = import ./lib.nix;
  a = mk { name = "nixlog-a"; script = "echo a one; printf '\\033[31mred\\033[0m and \\a bell\\n'; printf 'tab\\there\\n10%%\\r20%%\\r100%%\\n'; echo hi > $out"; };
  b = mk { name = "nixlog-b"; deps = [ a ]; script = ''
    printf '@nix { "action": "setPhase", "phase": "unpackPhase" }\n' >&2
    echo unpacking
    printf '@nix { "action": "setPhase", "phase": "buildPhase" }\n' >&2
    i=0; while [ $i -lt 30 ]; do echo "line $i"; i=$((i+1)); done
    printf 'not utf-8: \377\376\n'
    printf 'no line feed at the end'
    echo b > $out
  ''; };
in mk { name = "nixlog-c"; deps = [ a b ]; script = "echo c > $out"; }
EOF
cat > fail.nix <<'EOF'
let
  mk = import ./lib.nix;
  good = mk { name = "nixlog-good"; script = "echo fine; echo x > $out"; };
  bad = mk { name = "nixlog-bad"; deps = [ good ]; script = ''
    i=0; while [ $i -lt 25 ]; do echo "step $i"; i=$((i+1)); done
    echo "cc: error: no such file: foo.c" >&2
    exit 3
  ''; };
in {
  top1 = mk { name = "nixlog-top1"; deps = [ bad ]; script = "echo > $out"; };
  top2 = mk { name = "nixlog-top2"; deps = [ bad good ]; script = "echo > $out"; };
  other = mk { name = "nixlog-other"; script = "echo other; echo > $out"; };
}
EOF
cat > more.nix <<'EOF'
let mk = import ./lib.nix; in {
  foreign = mk { name = "nixlog-foreign"; system = "riscv64-linux"; script = "echo > $out"; };
  slow = mk { name = "nixlog-slow"; script = "echo started; exec sleep 30"; };
  mismatch = mk { name = "nixlog-mismatch"; script = "echo hello > $out"; extra = {
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = "0000000000000000000000000000000000000000000000000000000000000000"; }; };
  noout = mk { name = "nixlog-noout"; script = "echo I forgot"; };
  cached = mk { name = "nixlog-cached"; script = "i=0; while [ $i -lt 9000 ]; do echo some text that takes room; i=$((i+1)); done > $out"; };
  killed = mk { name = "nixlog-killed"; script = "kill -9 $$"; };
}
EOF
cat > eval.nix <<'EOF'
{
  throw = let f = x: throw "the option `services.openshh' does not exist"; in { y = f 1; };
  multi = throw "Failed assertions:\n- first of them\n- second of them";
  undefined = import ./undefined.nix;
  missing = { a = 1; }.b;
  recursion = let x = x + 1; in x;
  type = "a" + 1;
  assertion = assert (1 == 2); 3;
  trace = builtins.trace "a trace line" (derivation { name = "nixlog-t"; system = "x"; builder = "/bin/sh"; });
}
EOF
echo 'let y = 1; in y + nowhere' > undefined.nix
echo 'let x = ; in x' > syntax.nix

record() { # NAME COMMAND...
	name=$1
	shift
	status=0
	"$@" --log-format internal-json $trace > "$name.out" 2> "$out/$name.log" || status=$?
	echo "$version $name: exit $status, $(wc -l < "$out/$name.log") lines"
}
trace=
cat > nix.conf <<EOF
sandbox = false
build-users-group =
substituters =
require-sigs = false
system = $(uname -m)-linux
experimental-features = nix-command
EOF
export NIX_CONF_DIR="$work"
inst() { nix-instantiate "$@" 2>/dev/null; }

record ok nix-store --realise "$(inst ok.nix)" -v
record again nix-store --realise "$(inst ok.nix)" -v
# Several derivations, one word each.
# shellcheck disable=SC2046
record fail nix-store --realise $(inst fail.nix -A top1 -A top2 -A other) -v --keep-going
record fail-quiet nix-store --realise "$(inst fail.nix -A top1)" --option log-lines 0
for a in foreign mismatch noout killed; do
	record "$a" nix-store --realise "$(inst more.nix -A "$a")" -v
done
record timeout nix-store --realise "$(inst more.nix -A slow)" -v --timeout 2
for a in throw multi undefined missing recursion type assertion trace; do
	record "eval-$a" nix-instantiate eval.nix --eval --strict -A "$a"
done
record eval-syntax nix-instantiate syntax.nix
trace=--show-trace
record eval-throw-trace nix-instantiate eval.nix --eval --strict -A throw
trace=

# A binary cache in a directory: copying to it and fetching from it.
drv=$(inst more.nix -A cached)
path=$(nix-store --realise "$drv" 2>/dev/null)
record copy nix copy --to "file://$work/cache" "$path" -v
nix-store --delete "$path" > /dev/null 2>&1 || echo "cannot delete $path" >&2
record substitute nix-store --realise "$path" -v --option substitute true --option substituters "file://$work/cache"
# Interrupted.
echo | nix-store --realise "$(inst more.nix -A slow)" --log-format internal-json -v > /dev/null 2> "$out/interrupted.log" &
pid=$!
sleep 2
kill -INT $pid 2>/dev/null || true
sleep 1
kill -TERM $pid 2>/dev/null || true
wait $pid || true
echo "$version interrupted: $(wc -l < "$out/interrupted.log") lines"
# What differs from run to run and says nothing goes away: the work directory.
for f in "$out"/*.log; do
	sed -i "s|$work|/fleet|g" "$f"
done
chmod -R a+rX "$out"
