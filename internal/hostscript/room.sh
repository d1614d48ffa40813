# shellcheck shell=sh
# room_of FOLDER: "KIB INODES" that are free on its file system. Inodes are "-" where
# there is no bound for them (btrfs, FAT), or no stat that knows file systems.
room_of() {
	room_of_is=$(stat -f -c '%S %a %c %d' "$1" 2>/dev/null)
	case $room_of_is in
	[1-9]*' '*' '*' '*)
		room_kib=${room_of_is%% *} room_inodes=${room_of_is#* }
		room_kib=$((room_kib * ${room_inodes%% *} / 1024)) room_inodes=${room_inodes#* }
		;;
	*)
		room_kib=$(df -Pk "$1" 2>/dev/null | { read -r _; read -r _ _ _ free _ && echo "$free"; })
		room_inodes=
		;;
	esac
	case $room_inodes in [1-9]*' '*) room_inodes=${room_inodes#* } ;; *) room_inodes=- ;; esac
	[ -z "$room_kib" ] || echo "$room_kib $room_inodes"
}

# own_ids: who runs this, in $own_uid and $own_gid; without a process where there is /proc.
own_uid='' own_gid=''
own_ids() {
	[ -z "$own_gid" ] || return 0
	{
		while read -r own_key _ own_value _; do
			case $own_key in
			Uid:) own_uid=$own_value ;;
			Gid:) own_gid=$own_value && break ;;
			esac
		done </proc/self/status
	} 2>/dev/null
	[ -n "$own_gid" ] || own_uid=$(id -u) own_gid=$(id -g)
}

# own_folder FOLDER: only who runs this (root, and root's group) can put something
# there, or exchange it.
own_folder() {
	own_ids
	own_is=$(stat -L -c '%u %g %a' "$1" 2>/dev/null || stat -L -f '%u %g %Lp' "$1" 2>/dev/null) || return 1 # GNU's, or a Mac's
	case $own_is in *[2367]) return 1 ;; esac # others can write
	case $own_is in
	"$own_uid $own_gid "*) ;;
	"$own_uid "*[2367]?) return 1 ;; # so can a group
	"$own_uid "*) ;;
	*) return 1 ;;
	esac
}
