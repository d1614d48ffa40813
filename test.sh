#!/usr/bin/env bash
# ./test.sh          every test, on real parts; installs what it needs from Debian's packages (needs root)
# ./test.sh -short   what needs no root, no Nix and no containers: under a minute once Go's cache is warm
set -euo pipefail
cd "$(dirname "$0")"

short=
for arg in "$@"; do
	case $arg in
	-short | --short) short=1 ;;
	-h | --help)
		sed -n '2,3s/^# //p' "$0"
		exit 0
		;;
	*)
		echo "test.sh: unknown argument '$arg' (there is only -short)" >&2
		exit 1
		;;
	esac
done

step() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }

# What runs beside the steps: aside NAME CMD... starts it, finish NAME waits for it and shows what it printed.
names=() jobs=() logs=()
aside() {
	local log
	log=$(mktemp)
	if command -v setsid >/dev/null; then
		setsid "${@:2}" >"$log" 2>&1 </dev/null &
	else # as on a Mac: what it started itself may outlive an interrupted run
		"${@:2}" >"$log" 2>&1 </dev/null &
	fi
	names+=("$1") jobs+=("$!") logs+=("$log")
}
finish() {
	local i status=0
	for i in "${!names[@]}"; do
		[ "${names[i]}" = "$1" ] || continue
		test/idle --hurry "${jobs[i]}"
		wait "${jobs[i]}" || status=$?
		jobs[i]=
		step "$1"
		cat "${logs[i]}"
		return "$status"
	done
	return 1
}
stop_all() {
	local i
	for i in "${!jobs[@]}"; do
		[ -z "${jobs[i]}" ] || kill -- "-${jobs[i]}" 2>/dev/null || kill "${jobs[i]}" 2>/dev/null || :
		rm -f "${logs[i]}"
	done
}
trap stop_all EXIT

command -v go >/dev/null || {
	echo "test.sh: go is not installed; godwit needs Go $(sed -n 's/^go //p' go.mod) or newer: https://go.dev/dl/" >&2
	exit 1
}

# Go's own tools, of which none keeps much for long: without a collector, within bounds, they compute a sixth less.
compute() { GOGC=off GOMEMLIMIT=1GiB "$@"; }

dead_code() {
	local dead
	dead=$(compute go tool deadcode -test ./...) || return
	[ -z "$dead" ] || {
		printf '%s\n' "$dead"
		return 1
	}
}

# go_checks needs nothing but Go. Dead code is not looked for in a short run: it is a fifth of all that such a one
# computes, and nothing of it is kept.
go_checks() {
	echo "gofmt"
	unformatted=$(gofmt -l cmd internal test bench) || return
	[ -z "$unformatted" ] || {
		echo "not gofmt-clean:" "$unformatted" >&2
		return 1
	}
	echo "go vet"
	compute go vet ./... || return
	echo "staticcheck"
	compute go tool staticcheck ./... || return
	[ -n "${short-}" ] || { echo "dead code" && dead_code; }
}

shell_checks() {
	if command -v shellcheck >/dev/null; then
		named=() posix=() # with a first line that names a shell; scripts that godwit sends to hosts have none
		while IFS= read -r -d '' f; do
			case $f in *.go | *.md | *.nix | *.svg | *.json | *.golden) continue ;; esac
			[ -f "$f" ] || continue
			IFS= read -r first <"$f" || true
			case $first in
			'#!'*bash* | '#!'*/sh*) named+=("$f") ;;
			*) case $f in *.sh) posix+=("$f") ;; esac ;;
			esac
		done < <(git ls-files -co --exclude-standard -z)
		shellcheck "${named[@]}" && shellcheck -s sh "${posix[@]}"
	elif [ -z "${short-}" ]; then
		echo "test.sh: shellcheck is missing though test/setup.sh ran: apt-get install shellcheck" >&2
		return 1
	else
		echo "test.sh: shellcheck is not installed: the scripts are not checked" >&2
	fi
}

# vet compiles them, too.
other_platforms() {
	local platform
	for platform in darwin/arm64 darwin/amd64 linux/arm64; do
		echo "$platform"
		GOOS=${platform%/*} GOARCH=${platform#*/} compute go vet ./... || return
	done
}

if [ -n "$short" ]; then
	# The tests wait now and then.
	aside "static checks" bash -c "$(declare -f compute go_checks shell_checks); short=1; go_checks && shell_checks"
	aside "every package and test on the other platforms that people deploy from" bash -c "$(declare -f compute other_platforms); other_platforms"
	step "go test -short"
	go test -short -p 4 -parallel 8 ./...
	finish "every package and test on the other platforms that people deploy from"
	finish "static checks"
	exit 0
fi

# As a release, the demo and the other platforms are compiled, so that every package is compiled once for each of
# them, and linked without what a debugger needs; and go test checks no package that go vet has checked.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:+$GOFLAGS }-trimpath -ldflags=-w"
# Beside what is downloaded and unpacked, which computes little.
aside "gofmt, go vet, staticcheck, dead code" bash -c "$(declare -f compute dead_code go_checks); go_checks"
step "what the tests need"
# The lab's images, made beside the static checks, and there before the tests' clocks run: their packages are
# downloaded beside those of this machine, then two images at a time, as each takes one processor.
make_images() { for image in "$@"; do test/images/make-image "${image%:*}" "${image#*:}" >/dev/null || return; done; }
downloads=()
for image in bookworm:arm64 trixie:amd64 bookworm:amd64 forky:amd64; do
	test/images/make-image --fetch "${image%:*}" "${image#*:}" 2>/dev/null & # what fails is said below
	downloads+=("$!")
done
test/setup.sh
wait "${downloads[@]}" || :
aside "the lab's images" bash -c "$(declare -f make_images)"'
	make_images bookworm:arm64 forky:amd64 &
	make_images trixie:amd64 bookworm:amd64 && wait "$!"'
step "shellcheck"
shell_checks
finish "gofmt, go vet, staticcheck, dead code"
# What only computes takes a small share of the time, mostly what tests leave.
aside "every package and test on the other platforms that people deploy from" test/idle bash -c "$(declare -f compute other_platforms); other_platforms"

step "the small NixOS"
test/nixos/check.sh

finish "the lab's images"

# Compiled anew for it; what only computes fits beside the tests, these tests do not.
raced() { # TESTS
	# Tests run their own binary as the fakes of other programs; each would wait a second at its end for reports.
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 go test -vet=off -race -short -run "$1" ./internal/{deploy,builder,nix,ui}
}
aside "what go test -race needs" test/idle bash -c "$(declare -f compute raced); compute raced '^$'"

step "go test"
# They wait more than they compute: what takes longest begins first, and four packages run at a time.
go test -vet=off -p 4 -parallel 6 -timeout 30m ./internal/{source/morph,secrets,ssh,activate,builder,store,source/flake,nix,flakeref} \
	./cmd/... ./internal/... ./bench/...

finish "what go test -race needs"
step "go test -race, where goroutines meet"
raced .

# What only computes gets what the tests leave of the processors, for as long as its targets may take.
aside "the fuzz targets that are due today" test/idle test/fuzz.sh
step "go test on real hosts" # alone: they take all that two cores have
go test -vet=off -count=1 -timeout 60m ./test/e2e

# The faults wait for hosts a third of their time: what else there is fits beside them.
aside "README's own lines" go test -vet=off -count=1 -v -timeout 30m ./test/readme # the demo with the time of its parts
aside "the lab, the release" go test -vet=off -count=1 -p 1 -timeout 30m ./test/{lab,release}
step "go test of faults, and the rest"
go list ./test/... | grep -vE '/test/(e2e|readme|lab|release)$' | xargs go test -vet=off -count=1 -p 1 -timeout 60m

finish "README's own lines"
finish "the lab, the release"
finish "the fuzz targets that are due today"
finish "every package and test on the other platforms that people deploy from"
