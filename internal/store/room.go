package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// Room is what is free on the file system of a store.
type Room struct {
	Bytes int64
	// Inodes is how many more files and directories it takes; negative where there is no
	// bound.
	Inodes int64
}

// String is "1.2 GiB", and how many inodes where they are few.
func (r Room) String() string {
	if r.Inodes >= 0 && r.Inodes < fewInodes {
		return size(r.Bytes) + " and " + count(int(r.Inodes), "inode")
	}
	return size(r.Bytes)
}

// fewInodes is what a message names: a system update may have as many files.
const fewInodes = 50000

// Lacks says why paths of so many bytes do not fit; "" when they may. What files are
// in them is not known: each path takes one inode at least.
func (r Room) Lacks(paths int, bytes int64) string {
	switch {
	case r.Bytes < bytes:
		return fmt.Sprintf("needs %s for %s, and its store has %s free", size(bytes), count(paths, "path"), r)
	case r.Inodes >= 0 && r.Inodes < int64(paths):
		return fmt.Sprintf("needs an inode or more for each of %s, and its store has %s free", count(paths, "path"), r)
	}
	return ""
}

// Begun is what a host says when a copy to it begins.
type Begun struct {
	Room Room // in its store
	// Cut says that the host went down during an earlier copy, so that what it
	// holds for valid may not be.
	Cut bool
	// Rooted says that the roots were all there, and are garbage collector roots.
	Rooted bool
}

// askRoom begins the copy at the host, or asks how much room there is, while other
// questions are under way, and gives what waits for the answer. A host that does
// not say has enough.
func (t *transfer) askRoom(ctx context.Context) func() (Begun, error) {
	ask := t.d.Begin
	if ask == nil || t.p.opt.DryRun {
		if t.d.Room == nil {
			return func() (Begun, error) { return Begun{Room: Room{Bytes: math.MaxInt64, Inodes: -1}}, nil }
		}
		ask = func(ctx context.Context) (Begun, error) {
			room, err := t.d.Room(ctx)
			return Begun{Room: room}, err
		}
	}
	type answer struct {
		begun Begun
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		defer crash.Catch()
		b, err := ask(ctx)
		ch <- answer{b, err}
	}()
	return func() (Begun, error) { a := <-ch; return a.begun, a.err }
}

// addRoom names the numbers when the host's disk is full.
func (t *transfer) addRoom(ctx context.Context, err error, left int64) error {
	var f *fault.Error
	if !errors.Is(err, ErrDiskFull) || !errors.As(err, &f) {
		return err
	}
	// Nix says it in its own words, or in those of its database.
	text := fmt.Sprintf("no space left there: %s of %s have arrived, %s are missing", size(t.res.Bytes), size(t.res.Bytes+left), size(left))
	if t.d.Room != nil {
		if room, err := t.d.Room(ctx); err == nil {
			text += fmt.Sprintf(", and its store has %s free", room)
		}
	}
	f.Lines = append([]string{text}, f.Lines...)
	return f
}

// Room that Nix itself needs to open a store: its database and its locks have
// files of their own, beside the paths.
const (
	openBytes  = 256 << 10
	openInodes = 10
)

// unopened says so when a store that does not open has no room for that.
func (t *transfer) unopened(ctx context.Context, err error) error {
	if t.d.Room == nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	room, roomErr := t.d.Room(ctx)
	if roomErr != nil || room.Bytes >= openBytes && (room.Inodes < 0 || room.Inodes >= openInodes) {
		return err
	}
	return fault.New("Nix there cannot open its store, which has %s free", room).Because(ErrDiskFull).
		Detail(text.OneLine(err.Error())).Hint("free space there with `nix-collect-garbage -d`")
}
