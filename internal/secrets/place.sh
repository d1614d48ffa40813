# shellcheck shell=sh disable=SC2030,SC2031,SC2034,SC2154 # need and walk.sh assign
# Runs as root on the host, behind walk.sh; place.go tells what it reads and answers.
#
# A secret is staged in a folder of root's own beside its destination: nobody else
# can enter it, so nobody can exchange or open what is in it, and the last step is
# one rename within a file system, which does not follow a link either.
pending=/run/godwit-actions
key="" stages="" made=""
cleanup() {
	trap - EXIT
	trap '' HUP INT TERM PIPE
	leave_stages
	leave_made
}
trap cleanup EXIT
trap 'exit 129' HUP INT TERM PIPE
# fail INDEX WHAT MESSAGE
fail() { printf 'error %s %s %s\n' "$1" "$2" "$(printf '%s' "$3" | head -n 1)"; exit 1; }

# into PATH INODE [INODE]: enters a directory that is known already, and tells whether
# it, and the one above it, are still what they were.
into() {
	cd -P -- "$1" 2>/dev/null || return 1
	into_is=$(stat -c %d:%i -- . ..) || return 1
	[ "$2" = "${into_is%%"$nl"*}" ] && [ "${3:-${into_is#*"$nl"}}" = "${into_is#*"$nl"}" ]
}
# leave_stages: no trace of the folders in $stages.
leave_stages() {
	printf '%s' "$stages" | while IFS=$tab read -r inode home path name; do
		(set +f && into "$path/$name" "$inode" "$home" && rm -f -- ./* && cd -P .. && rmdir -- "./$name" 2>/dev/null)
	done
	stages=
}
# leave_made: no trace of directories that were made in vain.
leave_made() {
	printf '%s' "$made" | while IFS=$tab read -r inode path name; do
		(into "$path" "$inode" && rmdir -- "./$name" 2>/dev/null)
	done
}
# own_folder: the working directory is a folder that only root can enter, in $inode.
own_folder() {
	own_is=$(stat -c '%d:%i %u %a' -- . ..) || return 1
	# shellcheck disable=SC2086 # words
	set -- $own_is
	[ "$2 $4" = "$me $inode" ] || return 1
	case $3 in 700 | 2700) stage_inode=$1 ;; *) return 1 ;; esac
}
# nobody_yet: the owner may come with the activation, and the host does not have it.
nobody_yet() {
	[ "$late" = 1 ] && command -v getent >/dev/null || return 1
	! getent passwd "$user" >/dev/null || ! getent group "$group" >/dev/null
}
# sweep: what a killed upload left in the working directory more than an hour ago.
sweep() {
	set +f
	set -- ./.godwit-secret.*
	set -f
	sweep_left=20
	for old; do
		sweep_age=$(stat -c '%Y %F' -- "$old" 2>/dev/null) || continue
		[ "$sweep_left" -gt 0 ] || return 0
		sweep_left=$((sweep_left - 1))
		[ "$((begun - ${sweep_age%% *}))" -gt 3600 ] || continue
		case ${sweep_age#* } in
		directory) (set +f && cd -P "$old" && own_folder && rm -f -- ./[0-9]* && cd -P .. && rmdir "$old") 2>/dev/null ;;
		regular*) rm -f -- "$old" ;; # of an earlier version
		esac
	done
}

need n
i=0
set --
while [ $i -lt "$n" ]; do
	need dest
	dest=$(printf '%s' "$dest" | sed 's/[\\"]/\\&/g')
	set -- "$@" "--property=RequiresMountsFor=\"$dest\""
	i=$((i + 1))
done
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
	out=$(systemd-run --quiet --collect --wait "$@" true 2>&1 </dev/null) || fail -1 mounts "$out"
fi
begun=$(date +%s)
# A rename across file systems is an error, not a copy.
nocopy=
! mv --no-copy --version >/dev/null 2>&1 || nocopy=--no-copy

# The plan: a line for each secret that will be renamed.
plan="" same="" last=""
i=0
while [ $i -lt "$n" ]; do
	need index; need dest; need user; need group; need late; need mode; need mkdirs; need length; need sum; need action
	dir=${dest%/*}/ name=${dest##*/}
	if [ "$dir" != "$last" ]; then
		last=
		enter "$dir" "$mkdirs" || fail "$index" "$what" "$why"
		sweep
		stage=$(mktemp -d ./.godwit-secret.XXXXXXXX 2>&1) || fail "$index" write "$stage"
		stage=${stage#./}
		{ cd -P "./$stage" && own_folder && [ -z "$(ls -A)" ]; } 2>/dev/null || fail "$index" moved "$here"
		stages="$stage_inode$tab$inode$tab${here:-/}$tab$stage$nl$stages"
		last=$dir
	fi
	[ -d "../$name" ] && fail "$index" isdir ""
	file=./$index
	out=$(head -c "$length" 2>&1 >"$file") || fail "$index" write "$out"
	got=$(sha256sum <"$file") || fail "$index" write ""
	[ "${got%% *}" = "$sum" ] || fail "$index" short ""
	out=$(chown -- "$user:$group" "$file" 2>&1) || { nobody_yet && echo "late $index"; } || fail "$index" owner "$out"
	out=$(chmod -- "$mode" "$file" 2>&1) || fail "$index" mode "$out"
	have=$(stat -c '%u %g|%a %s %F' -- "$file") || fail "$index" write ""
	if [ -z "$firm" ]; then
		# The owner of a directory may have set what it hands down to new files.
		case $(ls -ld -- "$file") in ??????????+*)
			setfacl -b -- "$file" 2>/dev/null && chmod -- "$mode" "$file"
			case $(ls -ld -- "$file") in ??????????+*) fail "$index" acl "$here" ;; esac
			;;
		esac
	fi
	printf '%s' "$loose" | while IFS= read -r line; do printf 'loose %s %s %s\n' "$index" "${have%%|*}" "$line"; done
	state=new
	if [ -e "../$name" ] || [ -L "../$name" ]; then
		state=changed
		[ "$have" = "$(stat -c '%u %g|%a %s %F' -- "../$name")" ] && [ "$(sum_at "../$name" "$length")" = "$sum" ] && state=unchanged
	fi
	[ -n "$action" ] && [ -e "$pending/$action" ] && echo "due $index"
	echo "staged $index $state"
	if [ $state = unchanged ]; then
		rm -f -- "$file"
		same="$same$index$nl"
	else
		sync -- "$file" 2>/dev/null || sync
		plan="$plan$index$tab${action:--}$tab$stage_inode$tab$inode$tab${here:-/}$tab$stage$tab$name$nl"
	fi
	i=$((i + 1))
done
need word
[ "$word" = commit ] || exit 1

# From here on it goes through to the end, whatever happens to the connection.
trap '' HUP INT TERM PIPE
while IFS=$tab read -r index action stage_inode inode here stage name; do
	[ -n "$index" ] || continue
	into "$here/$stage" "$stage_inode" "$inode" || fail "$index" moved "$here"
	if [ "$action" != - ]; then
		mkdir -p "$pending" && : >"$pending/$action"
	fi
	out=$(mv -fT $nocopy -- "./$index" "../$name" 2>&1) || fail "$index" rename "$out"
	sync -- .. 2>/dev/null || :
	made=
	echo "placed $index"
done <<PLAN
$plan
PLAN
leave_stages
printf '%s' "$same" | while IFS= read -r index; do echo "unchanged $index"; done
echo "end 0"
