# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# preflight.sh: reads, changes nothing. Answers "name value" lines; those about
# another profile than the main one have its number before their name.
of=
tell() { [ -z "$2" ] || printf '::godwit fact %s%s %s\n' "$of" "$1" "$2"; }
own_ids
tell uid "$own_uid"
[ -z "$SCOPE" ] || tell linger "$(loginctl show-user --property=Linger --value "$(id -un)" 2>/dev/null)"
boot_is=$(boot_id)
tell boot-id "$boot_is"
# Containers of one kernel may share its boot id; no two machines share a /run.
tell machine "$boot_is:$(stat -c %d /run 2>/dev/null)"
[ ! -d /run/systemd/system ] || tell systemd "$(systemctl --version 2>/dev/null | { read -r _ version _ && echo "${version%%[!0-9]*}"; })"
tools='systemd-run systemctl'
if [ "$_kernel" = Darwin ]; then
	tools=launchctl
	[ "$own_uid" != 0 ] || tell launchd 1
fi
for tool in $tools flock nix-env base64 setsid; do
	command -v "$tool" >/dev/null || tell missing "$tool"
done
# Asked once: which failed, and whether somebody's nixos-rebuild runs.
units=$(systemctl list-units --plain --no-legend --no-pager 2>/dev/null)
printf '%s\n' "$units" | while read -r unit _ active _; do [ "$active" != failed ] || tell failed "$unit"; done
for folder in /nix /boot /run; do
	tell free "$folder $(room_of "$folder")"
done
pending=$(current_is) && [ -d "$RUN/$pending" ] && [ ! -e "$RUN/$pending/final" ] && tell pending "$pending" && [ -r "$RUN/$pending/run.sh" ] &&
	sh "$RUN/$pending/run.sh" facts 2>/dev/null | sed -n 's/^::godwit fact /&pending-/p'
[ ! -s "$LOCK_FILE" ] || tell lock "$(head -c 4096 "$LOCK_FILE" | tr -d '\n\r')"
[ ! -s "$STATE/pending" ] || tell interrupted "$(head -n 1 "$STATE/pending")"
for n in $PROFILES; do
	load "$n"
	[ "$n" = "$MAIN" ] && of= || of=$n:
	OLD=$("${KIND}_now")
	tell current "$OLD"
	tell profile "$(points "$LINK")"
	link=
	[ ! -L "$LINK" ] || link=$(readlink "$LINK")
	! is_plain "$link" || tell generation "$link"
	[ -z "$NEW" ] || tell new "$(real "$NEW")"
	"${KIND}_look"
done
printf '::godwit end\n'
