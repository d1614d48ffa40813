# process_entry PROCESS prints what /proc says of it, if it is there: PID PARENT GROUP.
process_entry() {
	_p=$1 _l=''
	# Behind its name, in which anything can be, also a line break: STATE PARENT GROUP.
	{ while IFS= read -r _m; do _l="$_l $_m"; done <"/proc/$1/stat"; } 2>/dev/null
	# shellcheck disable=SC2086
	set -- ${_l##*)}
	[ $# -lt 3 ] || echo "$_p $2 $3"
}

# process_table prints the processes of this machine: PID PARENT GROUP, one a line.
process_table() {
	if [ -r /proc/self/stat ]; then
		for _d in /proc/[0-9]*; do process_entry "${_d#/proc/}"; done
	else
		ps -A -o pid= -o ppid= -o pgid=
	fi
}

# group_of PROCESS prints its process group, if it is there.
group_of() {
	if [ -r /proc/self/stat ]; then
		process_entry "$1" | { read -r _ _ _g && echo "$_g"; }
	else
		ps -o pgid= -p "$1" 2>/dev/null | tr -d ' '
	fi
}

# below GROUP leaves all processes of a group and all that descend from them in $below_pids, and the other groups
# of those in $below_groups.
below() {
	below_group=$1 below_pids=' ' below_groups=' ' _more=1 _table=$(process_table)
	while [ -n "$_more" ]; do
		_more=''
		# shellcheck disable=SC2086
		set -- $_table
		while [ $# -ge 3 ]; do
			case "$3$below_pids" in
			*" $1 "*) ;;
			"$below_group "* | *" $2 "*)
				below_pids="$below_pids$1 " _more=1
				case " 0 1 $below_group$below_groups" in
				*" $3 "*) ;;
				*) below_groups="$below_groups$3 " ;;
				esac
				;;
			esac
			shift 3
		done
	done
}
