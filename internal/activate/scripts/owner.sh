# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Profiles of other users than root, for all scripts. What such a user wrote is not
# to be believed: a path with other letters than a store's could end a line of ours.

is_plain() { case $1 in *[!A-Za-z0-9/+._?=:@,-]*) return 1 ;; esac; }

# points LINK: the path that it names.
points() { [ -e "$1" ] && points_to=$(real "$1") && is_plain "$points_to" && echo "$points_to"; }

home_of() { getent passwd "${1:-root}" | cut -d : -f 6; } # USER

# owner_fits: is there such a user here?
owner_fits() {
	[ -z "$OWNER" ] || id -u "$OWNER" >/dev/null 2>&1 || {
		echo "there is no user $OWNER on the host"
		return 1
	}
	[ -z "$SCOPE" ] || [ "$OWNER" = "$(id -un)" ] || {
		echo "it is of the user $OWNER, and $(id -un), who logs in, cannot become root"
		return 1
	}
}
