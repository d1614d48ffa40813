# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The supervisor on a Mac: jobs of launchd's system domain, in the place of systemd's units.
# Their files are in the folder of the deployment, so a boot forgets them. launchd neither
# bounds a job nor runs something after it: a shell around each verb does (supervise).
# When that shell is killed, too, the deadman is what is left.
launchd() {
	unit_deadman() { job deadman; }
	unit_apply() { job "$1"; }
	unit_confirm() { job confirm; }
	unit_lease() { job lease; }
	unit_commit() { job commit; }
	unit_again() { true; } # supervise goes on by itself
	rollback_begin() { job rollback; }
	# apply_stop: the verb and all that stayed in its process group; what left it goes on.
	apply_stop() {
		stop_pid=$(get apply-pid)
		[ -n "$stop_pid" ] || return 0
		stop_left=$((STOP * 5))
		while kill -s TERM -- "-$stop_pid" 2>/dev/null && [ "$stop_left" -gt 0 ]; do
			stop_left=$((stop_left - 1))
			sleep 0.2
		done
		! kill -s KILL -- "-$stop_pid" 2>/dev/null || sleep 0.2
	}
	waits_end() {
		job_end confirm
		job_end lease
	}
	deadman_end() { job_end deadman; }
}

# job NAME: starts it, unless it runs.
job() {
	put "$1.plist" "$(
		printf '%s\n' '<?xml version="1.0" encoding="UTF-8"?>' \
			'<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">' \
			'<plist version="1.0"><dict>' "<key>Label</key><string>godwit-$1-$ID</string>" '<key>ProgramArguments</key><array>'
		for word in "$SH" "$D/run.sh" supervise "$1"; do printf '<string>%s</string>\n' "$word"; done
		printf '%s\n' '</array>' '<key>RunAtLoad</key><true/>' '<key>AbandonProcessGroup</key><true/>' '<key>ProcessType</key><string>Interactive</string>' \
			"<key>StandardOutPath</key><string>$D/log</string>" "<key>StandardErrorPath</key><string>$D/log</string>" '</dict></plist>'
	)" || return 1 # two may want the same at the same moment
	launchctl bootstrap system "$D/$1.plist" </dev/null 2>/dev/null 9>&- || launchctl kickstart "system/godwit-$1-$ID" </dev/null >/dev/null 2>&1 9>&-
}
# job_end NAME: not of the one that calls it, which would end here.
job_end() { [ "${supervised:-}" = "$1" ] || launchctl bootout "system/godwit-$1-$ID" 2>/dev/null; }

# supervise NAME: what a job runs.
supervise() {
	supervised=$1
	export supervised
	case $1 in
	deadman) sleep "$DEADMAN" && rollback_begin ;;
	confirm) sleep "$CONFIRM" && expire ;;
	lease) while sleep "$TICK" && [ ! -e "$D/final" ] && [ ! -L "$D/decision" ]; do tick; done ;;
	apply | plain)
		bounded "$ACTIVATE" "$STOP" "$1"
		"${1}_ended"
		;;
	commit)
		supervise_left=3
		while [ "$supervise_left" -gt 0 ] && ! bounded "$((2 * COMMIT_MAX + 60))" "$COMMIT_MAX" commit; do
			commit_ended
			supervise_left=$((supervise_left - 1))
			sleep 1
		done
		;;
	rollback)
		supervise_left=6
		while [ "$supervise_left" -gt 0 ] && [ ! -e "$D/final" ]; do
			bounded "$ROLLBACK_MAX" 10 rollback
			rollback_ended
			supervise_left=$((supervise_left - 1))
			[ -e "$D/final" ] || sleep 3
		done
		;;
	esac
}

# bounded SECONDS STOP VERB: in a process group of its own, which timeout makes.
bounded() {
	timeout -k "$2" "$1" "$SH" "$D/run.sh" "$3" &
	[ "$3" != apply ] || put apply-pid "$!"
	wait "$!"
	EXIT_STATUS=$? EXIT_CODE=exited SERVICE_RESULT=exit-code
	case $EXIT_STATUS in 0) SERVICE_RESULT=success ;; 124 | 137) SERVICE_RESULT=timeout ;; esac
	return "$EXIT_STATUS"
}
[ "$_kernel" != Darwin ] || launchd
