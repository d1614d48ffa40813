//go:build linux

package onhost

import (
	"context"
	"io/fs"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"godwit/internal/secrets/bundle"
)

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}

// owner gives the numbers of who owns a secret; there is false while the host has none.
func (h *Host) owner(e bundle.Entry) (uid, gid int, there bool) {
	uid, ok1 := h.Number("passwd", orRoot(e.User))
	gid, ok2 := h.Number("group", orRoot(e.Group))
	return uid, gid, ok1 && ok2
}

// number looks a name up: in the file, then as the host's own directory services do.
func number(database, name string) (int, bool) {
	if name == "root" {
		return 0, true
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), true
	}
	text := ""
	if database == "passwd" {
		if u, err := user.Lookup(name); err == nil {
			text = u.Uid
		}
	} else if g, err := user.LookupGroup(name); err == nil {
		text = g.Gid
	}
	if text == "" {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "getent", database, name).Output()
		if f := strings.Split(string(out), ":"); err == nil && len(f) > 2 {
			text = f[2]
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// mine tells whether a file is of who runs this: root, but in tests.
func mine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == syscall.Geteuid()
}

// links1 tells whether a file has one name alone.
func links1(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1
}
