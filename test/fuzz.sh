#!/usr/bin/env bash
# test/fuzz.sh          the third of the fuzz targets that is due today, 30 s each, two side by side; neighbours in
#                       their order, as what is compiled for one package serves all of its targets
# test/fuzz.sh 0|1|2    another third
# test/fuzz.sh all      all of them
# test/fuzz.sh NAME...  those whose name or package has NAME in it, as nix or FuzzExplain
# test/fuzz.sh keep     add inputs that earlier runs here found interesting to testdata/fuzz (small ones, a few per target)
#
# GODWIT_FUZZ_TIME (30s) is the time of each. What fails is written to the package's
# testdata/fuzz by Go: commit it with what mends it; every later go test tries it again.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${GODWIT_FUZZ_TIME:-30s}

mapfile -t targets < <(grep -rn --include='*_test.go' -o '^func Fuzz[A-Za-z0-9]*' internal |
	sed -n 's|^\(internal.*\)/[^/]*:[0-9]*:func \(.*\)$|\1 \2|p' | LC_ALL=C sort -u)
[ ${#targets[@]} -gt 20 ] || { echo "fuzz.sh: found only ${#targets[@]} targets" >&2; exit 1; }

if [ "${1-}" = keep ]; then
	for t in "${targets[@]}"; do
		read -r package name <<<"$t"
		from=$(go env GOCACHE)/fuzz/godwit/$package/$name to=$package/testdata/fuzz/$name
		[ -d "$from" ] || continue
		mkdir -p "$to"
		# The small ones first; what is there stays.
		find "$from" -type f -size -2k -printf '%s %p\n' | sort -n | head -n 24 | while read -r _ file; do
			cp -n "$file" "$to/"
		done
	done
	exit 0
fi

chosen=()
case ${1-} in
'' | 0 | 1 | 2)
	third=${1:-$(($(date +%s) / 86400 % 3))}
	for i in "${!targets[@]}"; do
		if ((i * 3 / ${#targets[@]} == third)); then chosen+=("${targets[i]}"); fi
	done
	echo "fuzzing third $third of ${#targets[@]} targets: ${#chosen[@]}, $time each"
	;;
all) chosen=("${targets[@]}") ;;
*)
	for t in "${targets[@]}"; do
		for want; do
			case $t in *"$want"*)
				chosen+=("$t")
				break
				;;
			esac
		done
	done
	;;
esac
[ ${#chosen[@]} -gt 0 ] || { echo "fuzz.sh: there is no such target" >&2; exit 1; }

one() { # PACKAGE NAME
	local said inputs
	if said=$(go test -vet=off "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 100x -parallel 1 2>&1) || at_end "$1" "$2" "$said"; then
		inputs=$(sed -n 's/.*execs: \([0-9]*\).*/\1 inputs/p' <<<"$said" | tail -1)
		echo "ok    $1 $2: ${inputs:-no time for more than the kept inputs}"
	else
		printf 'FAIL  %s %s\n%s\n' "$1" "$2" "$said"
		return 1
	fi
}

# Go before 1.27 can take the end of the time for a failure on a busy machine (go.dev/issue/75804). Then it names no
# input and says nothing but this.
at_end() { # PACKAGE NAME SAID
	[[ $3 =~ ^(fuzz:\ [^$'\n']*$'\n')+'--- FAIL: '"$2"' ('[0-9.]+$'s)\n    context deadline exceeded\nFAIL\nexit status 1\nFAIL\t'[a-z]+/"$1"$'\t'[0-9.]+s$ ]]
}
export -f one at_end
export time
printf '%s\n' "${chosen[@]}" | xargs -P 2 -L 1 bash -c 'one "$@"' one
