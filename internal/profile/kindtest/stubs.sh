# shellcheck shell=sh
# What the functions of a kind find on a host; the name under which this is called says
# what it is. $ROOT is the host.
case ${0##*/} in
nix-env) # -p PROFILE --set X | --switch-generation N | --delete-generations N | -e NAME
	[ "$1" = -p ] || exit 0
	dir=${2%/*} name=${2##*/}
	case $3 in
	--set)
		n=$(readlink "$2")
		[ "$(readlink -f "$2")" != "$(readlink -f "$4")" ] || [ -z "$n" ] || exit 0
		n=${n#"$name-"}
		n=$((${n%-link} + 1))
		ln -s "$4" "$dir/$name-$n-link" && ln -sfn "$name-$n-link" "$2"
		;;
	--switch-generation) ln -sfn "$name-$4-link" "$2" ;;
	--delete-generations) rm "$dir/$name-$4-link" ;;
	*) exit 64 ;;
	esac
	;;
getent) echo "$2:x:$(id -u):$(id -g)::$ROOT/home:/bin/sh" ;; # passwd USER
systemctl) ;;
loginctl) ;;
activated) # PATH: an activation that does what the test says
	what=$(cat "$ROOT/${1##*/}-does" 2>/dev/null)
	echo "${1##*/}" >>"$ROOT/ran"
	case $what in
	fail) exit 1 ;;
	kill)
		# the shell that runs the function, and us
		kill -s KILL -- "-$(ps -o pgid= -p $$ | tr -d ' ')" 2>/dev/null
		;;
	esac
	;;
esac
