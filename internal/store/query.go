package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"godwit/internal/fault"
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
		if !valid[p] {
			out = append(out, p)
		}
	}
	return out, nil
}

// request sends b, before it the greeting if that has not been sent, and reads
// the greeting's answer. The request is written by a goroutine of its own, for
// both pipes are finite.
func (c *conn) request(b []byte, doing string, answer func() error) error {
	if !c.greeted {
		b = append(greeting(), b...)
	}
	sent := make(chan error, 1)
	go func() { sent <- c.send(b) }()
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

// queryValidPaths asks which paths are valid. lock takes temporary roots that
// the server holds until it ends; substitute lets it fetch missing ones first.
func (c *conn) queryValidPaths(paths []string, lock, substitute bool) (map[string]bool, error) {
	asked := make(map[string]bool, len(paths)) // false: asked
	for _, p := range paths {
		if err := CheckPath(p); err != nil {
			return nil, fault.New("%s: %w", c.name, err)
		}
		asked[p] = false
	}
	b := putUint(nil, opQueryValidPaths)
	b = putBool(b, lock)
	b = putBool(b, substitute)
	b = putStrings(b, paths)
	err := c.request(b, "while asking what is there", func() error {
		return c.r.strings(func(s string) error {
			if _, ok := asked[s]; !ok {
				return fmt.Errorf("answered with %q, which was not asked for", s)
			}
			asked[s] = true
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return asked, nil
}

// queryClosure asks for the closure of paths.
func (c *conn) queryClosure(paths []string) ([]string, error) {
	for _, p := range paths {
		if err := CheckPath(p); err != nil {
			return nil, fault.New("%s: %w", c.name, err)
		}
	}
	b := putUint(nil, opQueryClosure)
	b = putBool(b, false)
	b = putStrings(b, paths)
	var out []string
	err := c.request(b, "while asking for a closure", func() error {
		return c.r.strings(func(s string) error {
			if err := CheckPath(s); err != nil {
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
		if err := CheckPath(p); err != nil {
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
	b = putStrings(b, paths)
	out := make([]*Info, 0, len(paths))
	seen := make(map[string]bool, len(paths))
	err := c.request(b, "while asking about paths", func() error {
		for {
			s, err := c.r.string()
			if err != nil || s == "" {
				return err
			}
			if _, ok := asked[s]; !ok || seen[s] {
				return fmt.Errorf("answered about %q, which was not asked for", s)
			}
			seen[s] = true
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
		if err := CheckPath(i.Deriver); err != nil {
			return nil, err
		}
	}
	if err = c.r.strings(func(s string) error {
		if err := CheckPath(s); err != nil {
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

// addHeader is AddToStoreNar up to the NAR itself. The registration time is
// left to the host, and the path was not built there.
func addHeader(b []byte, i *Info) []byte {
	b = putUint(b, opAddToStoreNar)
	b = putString(b, i.Path)
	b = putString(b, i.Deriver)
	b = putString(b, i.NarHash.Hex())
	b = putStrings(b, i.References)
	b = putUint(b, 0)
	b = putUint(b, uint64(i.NarSize))
	b = putBool(b, false)
	b = putStrings(b, i.Sigs)
	return putString(b, i.CA)
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
