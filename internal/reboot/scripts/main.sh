# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
verb=$1
shift
case $verb in
go | tries | keep | back | watch | tidied | attach) "$verb" "$@" ;;
esac
