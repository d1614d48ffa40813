package secrets

// hostScript runs as root on the host. It reads from its input:
//
//	the number of secrets
//	a line for each with its destination (to wait for file systems)
//	for each: index, destination, user, group, mode, mkdirs (0 or 1), length,
//	sha256, action id (or nothing), each in a line, then length bytes
//	commit
//
// and answers with lines: "staged INDEX new|changed|unchanged", "due INDEX" for
// an action left over from an earlier run, "placed INDEX", "unchanged INDEX",
// "error INDEX WHAT MESSAGE", "end 0".
const hostScript = `
umask 077
PATH=$PATH:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH LC_ALL=C
pending=/run/godwit-actions
temps= made= tab=$(printf '\t')
nl='
'
cleanup() {
	trap - EXIT
	trap '' HUP INT TERM PIPE
	printf '%s' "$temps" | while IFS= read -r t; do rm -f -- "$t"; done
	printf '%s' "$made" | while IFS= read -r d; do rmdir -- "$d" 2>/dev/null; done
}
trap cleanup EXIT
trap 'exit 129' HUP INT TERM PIPE
# fail INDEX WHAT COMMAND...: the message is what the command says
fail() { printf 'error %s %s %s\n' "$1" "$2" "$(printf '%s' "$3" | head -n 1)"; exit 1; }
need() { IFS= read -r "$1" || { echo "the connection ended early" >&2; exit 1; }; }

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

# The plan: a line for each secret that will be renamed.
plan= same=
i=0
while [ $i -lt "$n" ]; do
	need index; need dest; need user; need group; need mode; need mkdirs; need length; need sum; need action
	dir=${dest%/*}; dir=${dir:-/}
	[ -d "$dest" ] && fail "$index" isdir ""
	if [ ! -d "$dir" ]; then
		[ "$mkdirs" = 1 ] || fail "$index" nodir ""
		d=$dir new=
		while [ ! -e "$d" ] && [ -n "$d" ]; do new="$new$d$nl"; d=${d%/*}; done
		made="$new$made"
		out=$(umask 022; mkdir -p -m 755 -- "$dir" 2>&1) || fail "$index" mkdir "$out"
	fi
	temp=$(mktemp -- "$dir/.godwit-secret.XXXXXXXX" 2>&1) || fail "$index" write "$temp"
	temps="$temps$temp$nl"
	out=$(head -c "$length" 2>&1 >"$temp") || fail "$index" write "$out"
	got=$(sha256sum <"$temp") || fail "$index" write ""
	[ "${got%% *}" = "$sum" ] || fail "$index" short ""
	out=$(chown -- "$user:$group" "$temp" 2>&1) || fail "$index" owner "$out"
	out=$(chmod -- "$mode" "$temp" 2>&1) || fail "$index" mode "$out"
	state=new
	if [ -e "$dest" ] || [ -L "$dest" ]; then
		state=changed
		if [ -f "$dest" ] && [ ! -L "$dest" ] &&
			[ "$(stat -c '%u %g %a %s' -- "$temp")" = "$(stat -c '%u %g %a %s' -- "$dest")" ]; then
			old=$(sha256sum <"$dest") && [ "${old%% *}" = "$sum" ] && state=unchanged
		fi
	fi
	[ -n "$action" ] && [ -e "$pending/$action" ] && echo "due $index"
	echo "staged $index $state"
	if [ $state = unchanged ]; then
		rm -f -- "$temp"
		same="$same$index$nl"
	else
		sync -- "$temp" 2>/dev/null || sync
		plan="$plan$index$tab${action:--}$tab$temp$tab$dest$nl"
	fi
	i=$((i + 1))
done
need word
[ "$word" = commit ] || exit 1

# From here on it goes through to the end, whatever happens to the connection.
trap '' HUP INT TERM PIPE
made=
while IFS=$tab read -r index action temp dest; do
	[ -n "$index" ] || continue
	if [ "$action" != - ]; then
		mkdir -p "$pending" && : >"$pending/$action"
	fi
	out=$(mv -fT -- "$temp" "$dest" 2>&1) || fail "$index" rename "$out"
	dir=${dest%/*}
	sync -- "${dir:-/}" 2>/dev/null || :
	echo "placed $index"
done <<PLAN
$plan
PLAN
printf '%s' "$same" | while IFS= read -r index; do echo "unchanged $index"; done
echo "end 0"
`

// doneScript forgets actions that have run.
const doneScript = `
for a; do rm -f -- "/run/godwit-actions/$a"; done
rmdir /run/godwit-actions 2>/dev/null || :
`
