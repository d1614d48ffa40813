# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What the supervisor knows, for arm.sh too.

# systemctl: of the user's own manager, for who has no root.
systemctl() { command systemctl ${SCOPE:+"$SCOPE"} "$@"; }

# units_failed: as systemd lists those that failed, or fail again and again.
units_failed() { systemctl list-units --state=failed,auto-restart --plain --no-legend --no-pager; }

# current_is: the deployment that has the lock; current_is_ours: is it the one whose folder is $D?
current_is() { [ -L "$RUN/current" ] && readlink "$RUN/current"; }
# shellcheck disable=SC3013 # POSIX has -ef since 2024; dash, bash 3.2 and busybox have it
current_is_ours() { [ "$RUN/current" -ef "$D" ]; }

# alive ID: does a unit of that deployment still live, or can't we know?
alive() {
	states=
	[ "$MODE" = detached ] || states=$(systemctl show --property=ActiveState --value "godwit-rollback-$1.timer" \
		"godwit-rollback-$1.service" "godwit-apply-$1.service" "godwit-commit-$1.service" "godwit-confirm-$1.timer" "godwit-lease-$1.timer") || return 0
	for word in $states; do
		case $word in inactive | failed) ;; *) return 0 ;; esac
	done
	! { read -r pid <"$RUN/$1/pid" && kill -0 "$pid"; } 2>/dev/null || return 0
	return 1
}

# jobs_run: what systemd is busy with, of its jobs the first that runs and is not ours.
jobs_run() {
	systemctl list-jobs --plain --no-legend --no-pager 2>/dev/null | while read -r _ unit job stage; do
		case $unit in godwit-*) continue ;; esac
		[ "$stage" != running ] || { printf '%s %s' "$job" "$unit" && break; }
	done
}
