# shellcheck shell=sh
# room_of FOLDER: "KIB INODES" that are free on its file system. Inodes are "-" where
# there is no bound for them (btrfs, FAT), or no stat that knows file systems.
room_of() {
	room_kib=$(df -Pk "$1" 2>/dev/null | { read -r _; read -r _ _ _ free _ && echo "$free"; })
	room_inodes=$(stat -f -c '%c %d' "$1" 2>/dev/null)
	case $room_inodes in [1-9]*' '*) room_inodes=${room_inodes#* } ;; *) room_inodes=- ;; esac
	[ -z "$room_kib" ] || echo "$room_kib $room_inodes"
}

# own_folder FOLDER: only who runs this (root, and root's group) can put something
# there, or exchange it.
own_folder() {
	own_is=$(stat -L -c '%u %g %a' "$1" 2>/dev/null) || return 1
	case $own_is in *[2367]) return 1 ;; esac # others can write
	case $own_is in
	"$(id -u) $(id -g) "*) ;;
	"$(id -u) "*[2367]?) return 1 ;; # so can a group
	"$(id -u) "*) ;;
	*) return 1 ;;
	esac
}
