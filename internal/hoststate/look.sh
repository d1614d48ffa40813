# look.sh: what a host runs, boots and keeps. Reads, changes nothing. Answers
# "name value" lines, the last of which is "end". LINK: the profile that stands for the
# host. REPORT: the function in which its kind tells the rest.
PATH=$(real /run/current-system/sw)/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
tell() { [ -z "$2" ] || printf '%s %s\n' "$1" "$2"; }

tell uname "$(uname -r)"
tell clock "$(date +%s)"
for folder in /nix/store /boot; do
	tell disk "$folder $(df -Pk "$folder" 2>/dev/null | { read -r _; read -r device total _ free _ && echo "$device $total $free"; }) $(stat -f -c '%c %d' "$folder" 2>/dev/null)"
done
find "${LINK%/*}" -maxdepth 1 -name "${LINK##*/}-*-link" -printf 'generation %f %T@ %l\n' 2>/dev/null
"$REPORT"
echo end
