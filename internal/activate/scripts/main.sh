# The last lines of run.sh: sh run.sh VERB [ARGUMENT...]
D=$(cd "${0%/*}" && pwd) || exit 70
# shellcheck source=/dev/null
. "$D/env"
PATH=$PINNED_PATH
export PATH
umask 077
verb=$1
shift
case $verb in
apply | rollback | commit | plain | expire | again | detached | follow | confirm | cancel | facts | launch) "$verb" "$@" ;;
apply-ended) apply_ended ;;
rollback-ended) rollback_ended ;;
commit-ended) commit_ended ;;
plain-ended) plain_ended ;;
*)
	echo "run.sh: no verb $verb" >&2
	exit 64
	;;
esac
