# shellcheck shell=sh
# room_of FOLDER: "KIB INODES" that are free on its file system. Inodes are "-" where
# there is no bound for them (btrfs, FAT), or no stat that knows file systems.
room_of() {
	room_kib=$(df -Pk "$1" 2>/dev/null | { read -r _; read -r _ _ _ free _ && echo "$free"; })
	room_inodes=$(stat -f -c '%c %d' "$1" 2>/dev/null)
	case $room_inodes in [1-9]*' '*) room_inodes=${room_inodes#* } ;; *) room_inodes=- ;; esac
	[ -z "$room_kib" ] || echo "$room_kib $room_inodes"
}
