package store

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/storepath"
)

// Info is what a store knows about one of its paths.
type Info struct {
	Path       string
	Deriver    string // may be empty
	References []string
	NarSize    int64
	NarHash    Hash
	CA         string
	Sigs       []string

	// height is 1 + the greatest height of the references; 0 while it is not
	// known. See order.
	height int32
	// stream is which connection to a host carries the path, where it gets
	// several. See deal.
	stream uint8
	// visit is the last search for a closure that met the path. See Closure.
	visit uint32
}

// DefaultIdle is how long a peer may be silent while it owes an answer. It is
// long because a host may collect garbage before it makes room for a path.
const DefaultIdle = 5 * time.Minute

// Closure asks src for everything that roots refer to, the roots included, and
// gives the infos, references before referrers. Two round trips.
func Closure(ctx context.Context, src Endpoint, roots []string) ([]*Info, error) {
	p := NewPusher(src, Options{})
	defer p.Close()
	return p.Closure(ctx, roots)
}

// PathInfos asks for the infos of those paths that are valid there.
func PathInfos(ctx context.Context, ep Endpoint, paths []string) ([]*Info, error) {
	c, err := dial(ctx, ep, false, DefaultIdle)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.queryPathInfos(paths)
}

// Missing tells which of paths are not valid there, in the order given.
func Missing(ctx context.Context, ep Endpoint, paths []string) ([]string, error) {
	c, err := dial(ctx, ep, false, DefaultIdle)
	if err != nil {
		return nil, err
	}
	defer c.close()
	valid, err := c.queryValidPaths(paths, false, false)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range paths {
		if !valid.has(p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// pathSet is which of some paths are in a set. There is one for each host, so
// that it is to be small.
type pathSet struct {
	paths []string // sorted
	in    []bool
}

// newPathSet makes a set with none of paths in it. Sorted paths are not copied.
func newPathSet(paths []string) pathSet {
	if !slices.IsSorted(paths) {
		paths = slices.Sorted(slices.Values(paths))
	}
	return pathSet{paths, make([]bool, len(paths))}
}

// add puts p in, and tells whether it is one of the paths.
func (s pathSet) add(p string) bool {
	k, ok := slices.BinarySearch(s.paths, p)
	if ok {
		s.in[k] = true
	}
	return ok
}

// remove takes p out.
func (s pathSet) remove(p string) {
	if k, ok := slices.BinarySearch(s.paths, p); ok {
		s.in[k] = false
	}
}

func (s pathSet) has(p string) bool {
	k, ok := slices.BinarySearch(s.paths, p)
	return ok && s.in[k]
}

// pathsOf gives the paths of infos, sorted.
func pathsOf(infos []*Info) []string {
	paths := make([]string, len(infos))
	for k, i := range infos {
		paths[k] = i.Path
	}
	slices.Sort(paths)
	return paths
}

// request sends b and, if list is not nil, that list; before it the greeting if
// that has not been sent. It reads the greeting's answer, and answer the rest. The
// request is written by a goroutine of its own, for both pipes are finite, and a
// long list in parts, for there may be many hosts.
func (c *conn) request(b []byte, list []string, doing string, answer func() error) error {
	if !c.greeted {
		b = append(greeting(), b...)
	}
	sent := make(chan error, 1)
	go func() { defer crash.Catch(); sent <- c.sendList(b, list) }()
	c.owe(1)
	defer c.owe(-1)
	if err := c.greet(); err != nil {
		return err
	}
	c.r.begin()
	if err := answer(); err != nil {
		return c.explain(unexpected(err), doing)
	}
	if err := <-sent; err != nil {
		return c.explain(err, doing)
	}
	return nil
}

func (c *conn) sendList(b []byte, list []string) error {
	const part = 8 << 10
	if list != nil {
		b = putUint(slices.Grow(b, min(part, 256*len(list))), uint64(len(list)))
	}
	for _, s := range list {
		b = putString(b, s)
		if len(b) > part-256 {
			if err := c.send(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return c.send(b)
}

// queryValidPaths asks which paths are valid. lock takes temporary roots that
// the server holds until it ends; substitute lets it fetch missing ones first.
func (c *conn) queryValidPaths(paths []string, lock, substitute bool) (pathSet, error) {
	for _, p := range paths {
		if err := storepath.Check(p); err != nil {
			return pathSet{}, fault.New("%s: %w", c.name, err)
		}
	}
	if paths == nil {
		paths = []string{}
	}
	set := newPathSet(paths)
	b := putUint(nil, opQueryValidPaths)
	b = putBool(b, lock)
	b = putBool(b, substitute)
	err := c.request(b, set.paths, "while asking what is there", func() error {
		return c.r.strings(func(s string) error {
			if !set.add(s) {
				return fmt.Errorf("answered with %q, which was not asked for", s)
			}
			return nil
		})
	})
	if err != nil {
		return pathSet{}, err
	}
	return set, nil
}

// queryClosure asks for the closure of paths.
func (c *conn) queryClosure(paths []string) ([]string, error) {
	for _, p := range paths {
		if err := storepath.Check(p); err != nil {
			return nil, fault.New("%s: %w", c.name, err)
		}
	}
	b := putUint(nil, opQueryClosure)
	b = putBool(b, false)
	var out []string
	err := c.request(b, paths, "while asking for a closure", func() error {
		return c.r.strings(func(s string) error {
			if err := storepath.Check(s); err != nil {
				return err
			}
			out = append(out, s)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(out)
	for _, p := range paths {
		if _, ok := slices.BinarySearch(out, p); !ok {
			return nil, fault.New("%s: its answer for the closure of %s lacks that path", c.name, p)
		}
	}
	return slices.Compact(out), nil
}

// queryPathInfos asks for infos. Paths that are not valid are left out.
func (c *conn) queryPathInfos(paths []string) ([]*Info, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	asked := make(map[string]string, len(paths)) // one copy of each path's text
	for _, p := range paths {
		if err := storepath.Check(p); err != nil {
			return nil, fault.New("%s: %w", c.name, err)
		}
		asked[p] = p
	}
	intern := func(s string) string {
		if t, ok := asked[s]; ok {
			return t
		}
		return s
	}
	b := putUint(nil, opQueryPathInfos)
	out := make([]*Info, 0, len(paths))
	seen := newPathSet(paths)
	err := c.request(b, paths, "while asking about paths", func() error {
		for {
			s, err := c.r.string()
			if err != nil || s == "" {
				return err
			}
			if seen.has(s) || !seen.add(s) {
				return fmt.Errorf("answered about %q, which was not asked for", s)
			}
			i, err := c.readInfo(intern)
			if err != nil {
				return unexpected(err)
			}
			i.Path = intern(s)
			out = append(out, i)
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *conn) readInfo(intern func(string) string) (*Info, error) {
	i := new(Info)
	var err error
	if i.Deriver, err = c.r.string(); err != nil {
		return nil, err
	}
	if i.Deriver != "" {
		if err := storepath.Check(i.Deriver); err != nil {
			return nil, err
		}
	}
	if err = c.r.strings(func(s string) error {
		if err := storepath.Check(s); err != nil {
			return err
		}
		i.References = append(i.References, intern(s))
		return nil
	}); err != nil {
		return nil, err
	}
	if _, err = c.r.uint(); err != nil { // download size, which says nothing new
		return nil, err
	}
	size, err := c.r.uint()
	if err != nil {
		return nil, err
	}
	if size == 0 || size > 1<<50 {
		return nil, fmt.Errorf("a NAR of %d bytes cannot be", size)
	}
	i.NarSize = int64(size)
	h, err := c.r.string()
	if err != nil {
		return nil, err
	}
	if i.NarHash, err = ParseHash(h); err != nil {
		return nil, err
	}
	if i.CA, err = c.r.string(); err != nil {
		return nil, err
	}
	err = c.r.strings(func(s string) error { i.Sigs = append(i.Sigs, s); return nil })
	return i, err
}

// writeHeader writes AddToStoreNar up to the NAR itself. The registration time is
// left to the host, and the path was not built there.
func writeHeader(w *bufio.Writer, i *Info) {
	// An error stays in w. What is longer than its buffer goes out in parts, since
	// a path may have thousands of references.
	room := func(n int) []byte {
		if w.Available() < n {
			_ = w.Flush()
		}
		return w.AvailableBuffer()
	}
	number := func(n uint64) { _, _ = w.Write(putUint(room(8), n)) }
	text := func(s string) { _, _ = w.Write(putString(room(len(s)+16), s)) }
	list := func(l []string) {
		number(uint64(len(l)))
		for _, s := range l {
			text(s)
		}
	}
	number(opAddToStoreNar)
	text(i.Path)
	text(i.Deriver)
	number(2 * uint64(len(i.NarHash)))
	_, _ = w.Write(hex.AppendEncode(room(2*len(i.NarHash)), i.NarHash[:]))
	list(i.References)
	number(0)
	number(uint64(i.NarSize))
	number(0)
	list(i.Sigs)
	text(i.CA)
}

// order puts infos so that every path comes after all that it refers to: by
// height, then by path. The order of two paths is the same in every closure that
// holds both, so that hosts with different systems meet the paths they share in
// one order and one reading of the source can serve them.
//
// A path without references has the height 1, except that large ones are spread
// over the first heights by their name: a host registers small paths more slowly
// than the wire carries them, and large ones in between keep the wire busy.
func order(infos []*Info) error {
	by := make(map[string]*Info, len(infos))
	for _, i := range infos {
		by[i.Path] = i
	}
	const fresh, open = 0, -1
	// Depth first without recursion: closures can be deep.
	type frame struct {
		i *Info
		n int
	}
	var stack []frame
	for _, root := range infos {
		if root.height != fresh {
			continue
		}
		root.height = open
		stack = append(stack[:0], frame{i: root})
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.n == len(f.i.References) {
				h := spread(f.i)
				for _, r := range f.i.References {
					if r != f.i.Path {
						h = max(h, by[r].height+1)
					}
				}
				f.i.height = h
				stack = stack[:len(stack)-1]
				continue
			}
			r := f.i.References[f.n]
			f.n++
			if r == f.i.Path {
				continue
			}
			next, ok := by[r]
			if !ok {
				return fmt.Errorf("%s refers to %s, which is not in its closure", f.i.Path, r)
			}
			switch next.height {
			case fresh:
				next.height = open
				stack = append(stack, frame{i: next})
			case open:
				return fmt.Errorf("%s and %s refer to each other", f.i.Path, r)
			}
		}
	}
	slices.SortFunc(infos, compareInfo)
	return nil
}

// spread is the least height of a path.
func spread(i *Info) int32 {
	const large, over = 128 << 10, 24
	if i.NarSize < large || len(i.References) > 1 || len(i.References) == 1 && i.References[0] != i.Path {
		return 1
	}
	h := uint32(0)
	for _, c := range []byte(i.Path) {
		h = h*31 + uint32(c)
	}
	return 1 + int32(h%over)
}

func compareInfo(a, b *Info) int {
	if a.height != b.height {
		return int(a.height) - int(b.height)
	}
	switch {
	case a.Path < b.Path:
		return -1
	case a.Path > b.Path:
		return 1
	}
	return 0
}
