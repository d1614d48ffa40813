# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The last lines of run.sh: sh run.sh VERB [ARGUMENT...]
D=$(cd "${0%/*}" && pwd) || exit 70
# shellcheck source=/dev/null
. "$D/env"
PATH=$PINNED_PATH
export PATH
umask 077
[ -z "$SCOPE" ] || { XDG_RUNTIME_DIR=/run/user/$(id -u) && export XDG_RUNTIME_DIR; }
profile "$MAIN"
verb=$1
shift
case $verb in
apply | rollback | commit | plain | expire | tick | attend | again | detached | follow | confirm | cancel | facts | launch | repair | recover | supervise) "$verb" "$@" ;;
beside-arm) beside_arm ;;
beside-try) beside_try ;;
beside-keep) beside_keep ;;
beside-back) beside_back ;;
beside-end) beside_end "$@" ;;
beside-profiles) beside_profiles ;;
beside-record) beside_record ;;
apply-ended) apply_ended ;;
rollback-ended) rollback_ended ;;
commit-ended) commit_ended ;;
plain-ended) plain_ended ;;
*)
	echo "run.sh: no verb $verb" >&2
	exit 64
	;;
esac
