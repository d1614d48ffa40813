# gc.sh PROFILE menu|keep-menu GENERATION...: deletes generations of the system
# profile, and then what nothing refers to. Answers "::word rest" lines.
PATH=$(real /run/current-system/sw)/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
profile=$1 menu=$2
shift 2
tell() { printf '::%s\n' "$*"; }

# The lock under which deployments are armed: none begins while we look.
{ mkdir -p /run/godwit && own_folder /run/godwit && true >>/run/godwit/lock; } || {
	tell busy "cannot write to /run/godwit, or users other than root can"
	exit 0
}
exec 9>>/run/godwit/lock
flock -w 20 9 || {
	tell busy "a deployment is being armed"
	exit 0
}
holder=$(readlink /run/godwit/current)
if [ -n "$holder" ] && [ -d "/run/godwit/$holder" ] && [ ! -e "/run/godwit/$holder/final" ]; then
	tell busy "deployment $holder is pending"
	exit 0
fi

current=$(real /run/current-system)
named=$(real "$profile")
booted=$(real /run/booted-system)
pushed_done "$current" "$named" "$booted" # those are rooted anyway
count=0
for number; do
	system=$(real "$profile-$number-link")
	case $system in
	'' | "$current" | "$named" | "$booted") continue ;; # came into use since it was looked at
	esac
	if said=$(nix-env -p "$profile" --delete-generations "$number" 2>&1); then
		count=$((count + 1))
	else
		tell warn "generation $number stays: $(printf '%s' "$said" | tail -n 1)"
	fi
done
tell generations "$count"
if [ "$menu" = menu ] && [ "$count" -gt 0 ] && [ "$named" = "$current" ]; then
	NIXOS_INSTALL_BOOTLOADER=0 timeout 120 "$named/bin/switch-to-configuration" boot >/run/godwit/gc-menu 2>&1 </dev/null 9>&- ||
		tell warn "the boot menu was not made anew: $(tail -n 1 /run/godwit/gc-menu)"
	rm -f /run/godwit/gc-menu
fi
exec 9>&-

# Nix says a line for every path: only their number is passed on.
{
	nix-store --gc 2>&1 </dev/null
	echo "::status $?"
} | {
	paths=0
	while IFS= read -r line; do
		case $line in
		deleting\ *)
			paths=$((paths + 1))
			[ $((paths % 200)) != 0 ] || tell paths "$paths"
			;;
		::status*) printf '%s\n' "$line" ;;
		*) tell said "$line" ;;
		esac
	done
}
