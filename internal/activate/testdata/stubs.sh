# shellcheck shell=sh
# systemd-run, systemctl, nix-env, loginctl and setpriv for the tests of the scripts: units run at
# once and in the foreground, timers are only noted. $ROOT is the test's folder;
# the name under which this is called says what it is.
ROOT=${0%/*/sw/bin/*}
me=${0##*/}
echo "$me $*" >>"$ROOT/calls"

run_service() { # UNIT: its command, its ExecStopPost, again on failure
	left=4
	while [ "$left" -gt 0 ]; do
		left=$((left - 1))
		sh -c "$(cat "$ROOT/units/$1.cmd")" >>"$(cat "$ROOT/units/$1.log")" 2>&1 </dev/null
		status=$?
		result=exit-code
		[ "$status" != 0 ] || result=success
		SERVICE_RESULT=$result EXIT_CODE=exited EXIT_STATUS=$status sh -c "$(cat "$ROOT/units/$1.post")" >>"$(cat "$ROOT/units/$1.log")" 2>&1
		if [ "$status" = 0 ] || [ ! -e "$ROOT/units/$1.restart" ]; then break; fi
	done
}

case $me in
systemd-run)
	[ ! -e "$ROOT/no-systemd-run" ] || exit 1
	timer='' post=true log=/dev/null restart=''
	while [ $# -gt 0 ]; do
		case $1 in
		--unit=*) unit=${1#--unit=} ;;
		--on-active=*) timer=1 ;;
		-p)
			shift
			case $1 in
			ExecStopPost=*) post=${1#*=} ;;
			StandardOutput=append:*) log=${1#*append:} ;;
			Restart=on-failure) restart=1 ;;
			esac
			;;
		-*) ;;
		*) break ;;
		esac
		shift
	done
	echo "$*" >"$ROOT/units/$unit.cmd"
	echo "$post" >"$ROOT/units/$unit.post"
	echo "$log" >"$ROOT/units/$unit.log"
	[ -z "$restart" ] || echo 1 >"$ROOT/units/$unit.restart"
	[ -n "$timer" ] || run_service "$unit"
	;;
systemctl)
	case "$*" in
	start*)
		for unit; do :; done
		[ -e "$ROOT/units/${unit%.service}.cmd" ] || exit 5
		exec 7>>"$ROOT/busy" && flock -s 7 # what runs on in the background holds it
		# Not "run_service 8>&-": a shell keeps a copy of a descriptor that it
		# closes for a function.
		(exec 8>&- 9>&- && run_service "${unit%.service}") >/dev/null 2>&1 &
		;;
	*nixos-rebuild*) ;;
	list-units*) [ ! -e "$ROOT/no-units" ] && { cat "$ROOT/failed" 2>/dev/null || true; } ;;
	show*) cat "$ROOT/states" 2>/dev/null || echo inactive ;;
	*) true ;;
	esac
	;;
loginctl) # list-users [--no-legend] | show-user --property=State --value -- NAME
	case $1 in
	list-users) cat "$ROOT/users" 2>/dev/null || true ;;
	show-user)
		grep -qs " $5\$" "$ROOT/users" || exit 1
		cat "$ROOT/user-state" 2>/dev/null || echo active
		;;
	*) exit 64 ;;
	esac
	;;
setpriv) grep -qsxF "$2" "$ROOT/answers" ;; # --reuid UID ... busctl --user status
nix-env) # -p PROFILE --set X | --switch-generation N | --delete-generations N
	dir=${2%/*} name=${2##*/}
	case $3 in
	--set)
		[ ! -e "$ROOT/nix-broken" ] || exit 1
		n=$(readlink "$2")
		[ "$(readlink -f "$2")" = "$(readlink -f "$4")" ] && exit 0
		n=${n#"$name-"}
		n=$((${n%-link} + 1))
		ln -s "$4" "$dir/$name-$n-link" && ln -sfn "$name-$n-link" "$2"
		;;
	--switch-generation) ln -sfn "$name-$4-link" "$2" ;;
	--delete-generations) rm "$dir/$name-$4-link" ;;
	esac
	;;
esac
