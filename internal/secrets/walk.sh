# shellcheck shell=sh disable=SC2034,SC2154 # a part: names come from, and go to, the others
# The way to a secret on a host where other users are busy. Root must not follow
# a name that somebody less privileged can change between two looks at it. So
# root walks: it enters one directory at a time, as its own working directory,
# which nobody can exchange, and compares what it entered with what it saw.
umask 077
set -f
PATH=$PATH:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
CDPATH=
export PATH LC_ALL=C
me=$(id -u)
tab=$(printf '\t')
nl='
'
need() { IFS= read -r "$1" || { echo "the connection ended early" >&2; exit 1; }; }

# steady UID MODE: nobody but root can exchange what is in such a directory.
steady() {
	case $1 in 0 | "$me") ;; *) return 1 ;; esac
	case $2 in
	[1357]???) ;;                # sticky
	*[2367] | *[2367]?) return 1 ;; # others or a group can write
	esac
}

# enter DIR MAKE: DIR becomes the working directory; with MAKE 1 what is missing
# of it is made. Afterwards $here is its path without links, $inode its device and
# inode, and $loose has a line for every directory on the way in which somebody else
# can exchange things: UID GID MODE USER GROUP PATH. $made grows by lines for
# leave_made. When it fails, $what and $why tell how.
enter() {
	for enter_try in 1 2 3 4 5; do # an automount, or an honest rename
		walk "$1" "$2" && return
		[ "$what" = moved ] || return 1
	done
	return 1
}
walk() {
	rest=$1 make=$2 links=0 steps=0
	here="" want="" loose=""
	what=moved why="$1 changes while it is being entered"
	cd -P / || return 1
	while :; do
		steps=$((steps + 1))
		[ "$steps" -le 300 ] || return 1
		while [ "${rest#/}" != "$rest" ]; do rest=${rest#/}; done
		part=${rest%%/*}
		rest=${rest#"$part"}
		seen=$(stat -c '%d:%i %u %g %a %U %G %F' -- . ${part:+"./$part"} 2>/dev/null)
		next=${seen#*"$nl"}
		[ "$next" != "$seen" ] || next=
		# shellcheck disable=SC2086 # words
		set -- ${seen%%"$nl"*}
		[ $# -gt 6 ] || return 1
		[ "${want:-$1}" = "$1" ] || return 1
		inode=$1 want=$1
		case $here/ in /nix/store/*)
			what=store why=$here
			return 1
			;;
		esac
		if steady "$2" "$4"; then
			firm=1
		else
			firm=
			loose="$loose$2 $3 $4 $5 $6 ${here:-/}$nl"
		fi
		[ -n "$part" ] || return 0
		case $part in
		.) continue ;;
		..) # out of a link of root's
			cd -P .. || return 1
			here=${here%/*} want=
			continue
			;;
		esac
		if [ -z "$next" ]; then
			what=nodir why=
			[ "$make" = 1 ] || return 1
			what="mkdir"
			if ! why=$(umask 022 && mkdir -- "./$part" 2>&1); then
				[ ! -d "./$part" ] || what=moved
				return 1
			fi
			what=moved why="$here/$part changes while it is being entered"
			made="$inode$tab${here:-/}$tab$part$nl$made"
			rest=$part$rest
			continue
		fi
		# shellcheck disable=SC2086 # words
		set -- $next
		child=$1 link_uid=$2 link_user=$5
		shift 6
		case $* in
		directory)
			cd -P "./$part" 2>/dev/null || return 1
			want=$child here=$here/$part
			;;
		'symbolic link')
			what=link why="$link_user $here/$part"
			case $firm$link_uid in 10 | "1$me") ;; *) return 1 ;; esac
			links=$((links + 1))
			[ "$links" -le 40 ] || return 1
			to=$(readlink -- "./$part") || return 1
			what=moved why="$here/$part changes while it is being entered"
			case $to in /*)
				cd -P / || return 1
				here="" want=""
				;;
			esac
			rest=$to$rest
			;;
		*)
			what="mkdir" why="$here/$part: Not a directory"
			return 1
			;;
		esac
	done
}

# sum_at NAME LENGTH: the sum of a regular file, behind $key. Neither a link is followed, nor
# a FIFO waited for, nor more read than can matter.
sum_at() {
	sum_of=$({
		printf '%s' "$key"
		dd "if=$1" iflag=nofollow,nonblock bs=65536 2>/dev/null | head -c "$(($2 + 1))"
	} | sha256sum) && printf '%s' "${sum_of%% *}"
}
