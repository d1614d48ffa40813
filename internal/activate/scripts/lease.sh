# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# While the new system waits for its confirmation the deployer has to be heard,
# over a connection that was opened after the activation: else the host would
# stay cut off for as long as the checks may take.

# tick: PID 1 calls it every $TICK seconds. Ticks are counted, not seconds: when
# the clock of a paused machine jumps, nobody had a chance to be heard.
tick() {
	[ ! -e "$D/final" ] && [ ! -L "$D/decision" ] && is_phase activated || return 0
	peek missed
	missed=$((${got:-0} + 1))
	[ "$missed" -ge "$TICKS" ] || ! put missed "$missed" || return 0
	if [ -e "$D/heard" ]; then
		unconfirmed "not heard from the deployer for ${SILENCE}s"
	else
		unconfirmed "not reached on a new connection within ${SILENCE}s"
	fi
}

# renew: a sign of life. It only ever delays the decision: one that comes too late
# finds it made.
renew() {
	is_phase activated && [ ! -L "$D/decision" ] && put missed 0
}

# attend: the deployer's new connection, a line from it every few seconds. It
# ends with the state when there is nothing left to wait for.
attend() {
	if renew; then
		put heard 1
		beat
		timeout "$((CONFIRM + STOP))" cat | {
			while IFS= read -r _; do
				renew || break
				beat
			done
			facts
		}
	else
		facts
	fi
}

# hold: what saw the activation end stays connected for a while. Where no new
# connection can be made this old one still can say so.
hold() {
	order=$(timeout "$SILENCE" head -n 1)
	case $order in
	'back '*) [ -L "$D/decision" ] || unconfirmed "${order#back }" ;;
	esac
}

# beat: a sign of life from here: after how many seconds the host goes back if it
# hears nothing more (0: it is about to, or it will not), how far it is, and what
# systemd is busy with.
beat() {
	left
	peek phase
	printf '::godwit beat %s %s %s\n' "$left" "$got" "$busy"
}

# left: the seconds until the host goes back, into $left.
left() {
	uptime_look
	peek phase
	[ ! -L "$D/decision" ] && left_decided='' || left_decided=yes
	case $MODE/$got/$left_decided in
	guard//) # SILENCE begins when the activation has ended, or was ended
		left=$((ACTIVATE + STOP + SILENCE - (uptime_now - ARMED))) ;;
	guard/activated/)
		peek activated-at
		left=$((CONFIRM - (uptime_now - ${got:-$uptime_now})))
		peek missed
		missed=$(((TICKS - ${got:-0}) * TICK))
		[ "$TICKS" = 0 ] || [ "$left" -lt "$missed" ] || left=$missed
		;;
	*) left=0 ;;
	esac
	[ "$left" -gt 0 ] || left=0
}
