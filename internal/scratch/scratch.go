// Package scratch makes the temporary folders of godwit, and takes away those of runs
// that were killed.
//
// A folder holds a locked file as long as its process lives, and the kernel ends the
// lock with the process, however that ends. So whoever gets the lock of a folder knows
// that nobody needs it any more: the first folder that a run makes in a directory has
// the dead ones beside it removed, with the garbage collector roots in them.
package scratch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/crash"
)

const (
	prefix   = "godwit-"
	lockName = ".godwit-lock"
	newLock  = lockName + ".new"
	// Bounds of a sweep: a directory that many share may be full.
	sweepTime    = 2 * time.Second
	sweepEntries = 50000
	// How often a folder that somebody still writes to is emptied again, and the pause
	// before that.
	removeTries = 20
	removePause = 25 * time.Millisecond
)

// Dir is a private temporary folder.
type Dir struct {
	// Path is absolute.
	Path string
	lock *os.File
}

// New makes a folder in the system's directory for temporary files. what is a word
// for its name.
func New(what string) (*Dir, error) { return In(os.TempDir(), what) }

// In makes a folder in base, with mode 0700 whatever the umask.
func In(base, what string) (*Dir, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	sweepOnce(base)
	for {
		path, err := os.MkdirTemp(base, prefix+what)
		if err != nil {
			return nil, err
		}
		d := &Dir{Path: path}
		if err = os.Chmod(path, 0o700); err == nil {
			d.lock, err = lock(path)
		}
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EWOULDBLOCK):
			// Another run's sweep took it for one of a killed process: see sweepOne.
			_ = os.RemoveAll(path)
		default:
			_ = os.RemoveAll(path)
			return nil, err
		}
	}
}

// lock makes the locked file. It gets its name when it is locked, so that a sweep
// never sees an unlocked one of a process that lives.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, newLock), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err = flock(f); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, lockName))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}

// Remove takes the folder away with all that is in it.
func (d *Dir) Remove() error {
	err := remove(d.Path)
	d.lock.Close() // only now: nobody else is to begin with it
	return err
}

var (
	sweptMu sync.Mutex
	swept   = map[string]bool{}
)

// sweepOnce sweeps a directory once in a run, beside what the run does.
func sweepOnce(base string) {
	sweptMu.Lock()
	defer sweptMu.Unlock()
	if !swept[base] {
		swept[base] = true
		go func() { defer crash.Catch(); Sweep(base) }()
	}
}

// Sweep removes the folders in base whose process is dead: folders of this user with
// a lock that nobody holds. It follows no link, and ends after two seconds.
func Sweep(base string) {
	end := time.Now().Add(sweepTime)
	dir, err := os.Open(base)
	if err != nil {
		return
	}
	defer dir.Close()
	for n := 0; n < sweepEntries; {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			n++
			if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
				sweepOne(filepath.Join(base, e.Name()))
			}
			if time.Now().After(end) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func sweepOne(path string) {
	if st, err := os.Lstat(path); err != nil || !st.IsDir() || !ours(st) {
		return
	}
	for _, name := range []string{lockName, newLock} {
		f, err := os.OpenFile(filepath.Join(path, name), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			defer f.Close()
			if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && ours(st) && flock(f) == nil {
				_ = remove(path)
			}
		}
		return
	}
	// None of this package's, or its process was killed when it had just made it. One
	// that is only being made has another try (In).
	_ = os.Remove(path) // only an empty one goes
}

// remove takes a folder away, its lock last: who is killed meanwhile leaves a folder
// that the next sweep knows. It goes by descriptors and does not leave the folder.
// What a killed run started ends a little later than the run, and may still make a
// link in it: then it is emptied again, and keeps a lock for the next sweep.
func remove(path string) error {
	for try := 0; ; try++ {
		entries, err := os.ReadDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if e.Name() != lockName {
				if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
					return err
				}
			}
		}
		lock := filepath.Join(path, lockName)
		if err := os.Remove(lock); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = os.Remove(path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
			f.Close()
		}
		if !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) || try == removeTries {
			return err
		}
		time.Sleep(removePause)
	}
}

func ours(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid()
}
