package hostscript

import (
	_ "embed" // room.sh
	"fmt"
	"strconv"
	"strings"
)

// RoomOf defines room_of FOLDER, whose answer ParseRoom reads, and own_folder FOLDER.
//
//go:embed room.sh
var RoomOf string

// Room is what is free on a file system.
type Room struct {
	Bytes int64
	// Inodes is how many more files and directories it takes; negative where there is no
	// bound.
	Inodes int64
}

// ParseRoom reads the answer of room_of.
func ParseRoom(said string) (Room, error) {
	w := strings.Fields(said)
	if len(w) != 2 {
		return Room{}, fmt.Errorf("df on the host says %q", said)
	}
	kib, err := strconv.ParseInt(w[0], 10, 64)
	if err != nil {
		return Room{}, fmt.Errorf("df on the host says %q", said)
	}
	r := Room{Bytes: kib << 10, Inodes: -1}
	if w[1] != "-" {
		if r.Inodes, err = strconv.ParseInt(w[1], 10, 64); err != nil {
			return Room{}, fmt.Errorf("stat on the host says %q", said)
		}
	}
	return r, nil
}
