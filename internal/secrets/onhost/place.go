//go:build linux

package onhost

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// enter opens a folder, one step at a time and by descriptors, so that nobody can
// exchange one between two looks at it. A link on the way counts only where nobody but
// root can have made it. What is missing is made if that is asked for, and else an error.
func enter(folder string, create bool) (fd int, err error) {
	const how = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if fd, err = unix.Open("/", how, 0); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			fd = -1
		}
	}()
	step := func(name string) error {
		next, err := unix.Openat(fd, name, how, 0)
		if err != nil {
			return fmt.Errorf("%s on the way to %s: %w", name, folder, err)
		}
		unix.Close(fd)
		fd = next
		return nil
	}
	rest, links := strings.Split(folder, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." { // out of a link of root's
			if err := step(part); err != nil {
				return fd, err
			}
			continue
		}
		var in, st unix.Stat_t
		if err := unix.Fstat(fd, &in); err != nil {
			return fd, err
		}
		err := unix.Fstatat(fd, part, &st, unix.AT_SYMLINK_NOFOLLOW)
		if create && errors.Is(err, unix.ENOENT) {
			if err := unix.Mkdirat(fd, part, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
				return fd, fmt.Errorf("cannot make %s: %w", folder, err)
			}
			err = unix.Fstatat(fd, part, &st, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil {
			return fd, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			if err := step(part); err != nil {
				return fd, err
			}
			continue
		}
		if links++; links > 40 || st.Uid != 0 || !steady(in) {
			return fd, fmt.Errorf("%s on the way to %s is a link that users other than root can change, so it is not followed", part, folder)
		}
		to := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, part, to)
		if err != nil {
			return fd, err
		}
		if path.IsAbs(string(to[:n])) {
			root, err := unix.Open("/", how, 0)
			if err != nil {
				return fd, err
			}
			unix.Close(fd)
			fd = root
		}
		rest = append(strings.Split(string(to[:n]), "/"), rest...)
	}
	return fd, nil
}

// steady: nobody but root can exchange what is in such a folder.
func steady(st unix.Stat_t) bool {
	return st.Uid == 0 && (st.Mode&0o022 == 0 || st.Mode&unix.S_ISVTX != 0)
}

// place makes a link at a destination, and tells whether there was none. What is there and
// is no link of ours is left, with an error. Whoever owns the folder can put something
// else there: that misleads who reads it, and nobody else.
func (h *Host) place(at, to string, replace bool) (made bool, err error) {
	fd, err := enter(path.Dir(at), true)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if inStore(fd) {
		return false, fmt.Errorf("%s is in the Nix store of the host, which everybody can read", at)
	}
	name := path.Base(at)
	err = unix.Symlinkat(to, fd, name)
	if !errors.Is(err, unix.EEXIST) {
		return err == nil, err
	}
	is, ok := h.ours(fd, name)
	if !ok && replace && isRegular(fd, name) {
		if err := unix.Renameat(fd, name, fd, name+pushed); err != nil {
			return false, err
		}
		if err := unix.Symlinkat(to, fd, name); err != nil {
			return false, errors.Join(err, unix.Renameat(fd, name+pushed, fd, name))
		}
		return true, nil
	}
	if !ok {
		return false, fmt.Errorf("there is something at %s that godwit did not put there: move it away", at)
	}
	if is == to {
		return false, nil
	}
	next := name + ".godwit-next"
	if err := unix.Unlinkat(fd, next, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, err
	}
	if err := unix.Symlinkat(to, fd, next); err != nil {
		return false, err
	}
	return false, unix.Renameat(fd, next, fd, name)
}

// ours gives where a link leads if it is one to secrets.
func (h *Host) ours(fd int, name string) (string, bool) {
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, to)
	if err != nil {
		return "", false
	}
	return string(to[:n]), strings.HasPrefix(string(to[:n]), h.link()+"/")
}

// unlink removes a link of ours at a destination, and gives back the file that was pushed
// there; anything else stays. After a power cut there may be that file alone. It tells
// whether the folder was there to look into.
func (h *Host) unlink(at string) bool {
	fd, err := enter(path.Dir(at), false)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	name := path.Base(at)
	_, ours := h.ours(fd, name)
	var st unix.Stat_t
	if !ours && !errors.Is(unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT) {
		return true
	}
	if isRegular(fd, name+pushed) && unix.Renameat(fd, name+pushed, fd, name) == nil {
		return true
	}
	if ours {
		_ = unix.Unlinkat(fd, name, 0)
	}
	return true
}

// pushed is behind the name of a file that was pushed to a destination, for as long as it
// is not certain that a link to a secret of a release stays in its place.
const pushed = ".godwit-pushed"

// forgetPushed removes what a destination had before the release was kept.
func (h *Host) forgetPushed(at string) {
	fd, err := enter(path.Dir(at), false)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if name := path.Base(at) + pushed; isRegular(fd, name) {
		_ = unix.Unlinkat(fd, name, 0)
	}
}

func isRegular(fd int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// inStore tells whether a folder lies in the Nix store.
func inStore(fd int) bool {
	var store, st unix.Stat_t
	if unix.Stat("/nix/store", &store) != nil {
		return false
	}
	at, err := unix.Openat(fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { unix.Close(at) }()
	for last := (unix.Stat_t{}); unix.Fstat(at, &st) == nil; last = st {
		if st.Dev == store.Dev && st.Ino == store.Ino {
			return true
		}
		if st.Dev == last.Dev && st.Ino == last.Ino { // the root
			return false
		}
		up, err := unix.Openat(at, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return true
		}
		unix.Close(at)
		at = up
	}
	return true
}
