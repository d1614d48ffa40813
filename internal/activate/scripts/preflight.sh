# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# preflight.sh: reads, changes nothing. Answers "name value" lines.
PATH=$(readlink -f "$CURRENT/sw")/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
tell() { [ -z "$2" ] || printf '::godwit fact %s %s\n' "$1" "$2"; }
same() { [ "$(readlink -f "$1")" = "$(readlink -f "$2")" ]; }
tell uid "$(id -u)"
tell foreign "$(foreign)"
tell boot-id "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
# Containers of one kernel may share its boot id; no two machines share a /run.
tell machine "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null):$(stat -c %d /run 2>/dev/null)"
tell current "$(readlink -f "$CURRENT")"
tell booted "$(readlink -f /run/booted-system)"
tell profile "$(readlink -f "$PROFILE")"
tell generation "$(readlink "$PROFILE")"
# deploy-rs's profile is a folder of links around the system, beside its own programs.
if [ -e "$PROFILE/deploy-rs-activate" ]; then
	wrapped=$(readlink -f "$PROFILE/bin/switch-to-configuration")
	tell wrapped "${wrapped%/bin/switch-to-configuration}"
fi
[ "$PROFILE" != /nix/var/nix/profiles/system ] || tell boots "$(boot_differs "$(boot_default)" "$PROFILE")"
[ ! -d /run/systemd/system ] || tell systemd "$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
for tool in systemd-run systemctl flock nix-env base64 setsid; do
	command -v "$tool" >/dev/null || tell missing "$tool"
done
systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null | while read -r unit _; do tell failed "$unit"; done
tell rebuild "$(systemctl list-units --plain --no-legend --no-pager 'nixos-rebuild-switch-to-configuration*' 2>/dev/null | head -n 1 | sed 's/ .*//')"
for folder in /nix /boot /run; do
	tell free "$folder $(room_of "$folder")"
done
pending=$(readlink "$RUN/current") && [ -d "$RUN/$pending" ] && [ ! -e "$RUN/$pending/final" ] && tell pending "$pending" && [ -r "$RUN/$pending/run.sh" ] &&
	sh "$RUN/$pending/run.sh" facts 2>/dev/null | sed -n 's/^::godwit fact /&pending-/p'
held=$(switch_holder) && switch_ours "$held" || held=
tell held "$held"
[ ! -s "$STATE/pending" ] || tell interrupted "$(head -n 1 "$STATE/pending")"
for special in "$PROFILE"/specialisation/*; do
	if [ -e "$special" ] && same "$special" "$CURRENT"; then tell specialisation "${special##*/}"; fi
done
if [ -n "$NEW" ]; then
	tell new "$(readlink -f "$NEW")"
	for system in "$NEW" "$TOPLEVEL"; do
		if [ ! -e "$system" ]; then tell absent "$system"; elif [ -e "$system/bin/switch-to-configuration" ] && [ ! -s "$system/bin/switch-to-configuration" ]; then tell hollow "$system"; elif [ ! -x "$system/bin/switch-to-configuration" ]; then tell no-switch "$system"; fi
	done
	[ -x "$CURRENT/bin/switch-to-configuration" ] || tell no-switch-old "$(readlink -f "$CURRENT")"
	for part in kernel initrd kernel-modules kernel-params systemd; do
		# A container has none of these, and nothing of it is due by a reboot.
		{ [ ! -e "$NEW/$part" ] || [ ! -e "/run/booted-system/$part" ]; } || same "$NEW/$part" "/run/booted-system/$part" ||
			cmp -s "$NEW/$part" "/run/booted-system/$part" || tell differs "$part"
	done
	if [ -e "$NEW/init-interface-version" ] && ! cmp -s "$NEW/init-interface-version" "$CURRENT/init-interface-version"; then tell init-changed yes; fi
	if [ -e "$NEW/switch-inhibitors" ] && [ -e /run/booted-system/switch-inhibitors ] &&
		! cmp -s "$NEW/switch-inhibitors" /run/booted-system/switch-inhibitors; then tell inhibited yes; fi
	if [ -n "$CHECK" ] && [ -z "$held" ] && grep -qs PRE_SWITCH_CHECK "$NEW/bin/switch-to-configuration"; then
		check=$("$NEW/bin/switch-to-configuration" check 2>&1 </dev/null) && failed= || failed=$?
		case $check in
		*'Could not acquire lock'*) tell held "${held:-unknown}" ;;
		*'Pre-switch checks failed'*) tell check-failed "${failed:-0}" ;; # it ends with an errno, which may be 0
		*sage:\ *) ;;                                                     # it cannot check alone
		*) tell check-failed "$failed" ;;
		esac
		printf '%s\n' "$check" | tail -n 40 | while IFS= read -r line; do tell check-line "$line"; done
	fi
fi
printf '::godwit end\n'
