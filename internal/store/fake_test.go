package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"godwit/internal/nar"
	"godwit/internal/storepath"
)

// A fake `nix-store --serve` in memory. It knows what the real one knows, and
// an operation, an argument or a path that it does not know fails the test.

type fakePath struct {
	Info
	nar func() io.Reader
}

type fakeStore struct {
	t     testing.TB
	mu    sync.Mutex
	paths map[string]*fakePath
	reads map[string]int // DumpStorePath, by path
	locks int
	dials int
	subst map[string]*fakePath // what its caches have
	held  map[string]int       // temporary roots: how many processes hold a path
	kills []func()             // ends each process that was started

	// Faults and manners.
	delayAdd func(path string)              // before the answer to AddToStoreNar
	wrapIn   func(io.Reader) io.Reader      // around stdin
	wrapOut  func(io.Writer) io.Writer      // around stdout
	banner   string                         // printed before the magic
	stderr   string                         // printed at the end
	onQuery  func(substitute bool)          // in QueryValidPaths
	refuse   func(i *Info) error            // ends the process in AddToStoreNar
	dump     func(path string) func() error // replaces an answer to DumpStorePath
	version  uint64                         // of the protocol; 2.7 if 0
}

func newFake(t testing.TB) *fakeStore {
	return &fakeStore{t: t, paths: map[string]*fakePath{}, reads: map[string]int{}, held: map[string]int{}}
}

// die ends all processes of the store, and waits until they hold nothing.
func (s *fakeStore) die() {
	s.mu.Lock()
	kills := s.kills
	s.kills = nil
	s.mu.Unlock()
	for _, kill := range kills {
		kill()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.held)
		s.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%d paths are still held", n)
		}
	}
}

// collect takes away what no process holds, and tells how many paths that were.
func (s *fakeStore) collect() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := map[string]bool{}
	var mark func(p string)
	mark = func(p string) {
		if i := s.paths[p]; i != nil && !live[p] {
			live[p] = true
			for _, r := range i.References {
				mark(r)
			}
		}
	}
	for p := range s.held {
		mark(p)
	}
	for p := range s.paths {
		if !live[p] {
			delete(s.paths, p)
			n++
		}
	}
	return n
}

func fakeName(n int, name string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d-%s", n, name))
	return "/nix/store/" + Hash(sum).String()[7:7+32] + "-" + name
}

// add adds a path whose NAR holds one file with size bytes.
func (s *fakeStore) add(name string, size int, refs ...string) string {
	p := fakeName(len(s.paths), name)
	seed := uint64(len(s.paths))
	return s.addNAR(p, func() io.Reader { return narFile(seed, int64(size)) }, refs...)
}

func (s *fakeStore) addNAR(p string, nar func() io.Reader, refs ...string) string {
	h := sha256.New()
	n, _ := io.Copy(h, nar())
	i := Info{Path: p, NarSize: n, References: refs}
	h.Sum(i.NarHash[:0])
	s.paths[p] = &fakePath{Info: i, nar: nar}
	return p
}

// narFile is a NAR of one regular file with random bytes.
func narFile(seed uint64, size int64) io.Reader {
	var b []byte
	for _, w := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		b = putString(b, w)
	}
	b = putUint(b, uint64(size))
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	tail := make([]byte, (8-size%8)%8)
	tail = putString(tail, ")")
	return io.MultiReader(bytes.NewReader(b), io.LimitReader(rand.NewChaCha8(key), size), bytes.NewReader(tail))
}

func (s *fakeStore) endpoint(name string) Endpoint {
	return Endpoint{Name: name, Dial: func(ctx context.Context, write bool) (*Stream, error) {
		s.mu.Lock()
		s.dials++
		s.mu.Unlock()
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		done := make(chan struct{})
		var err error
		go func() {
			defer close(done)
			var r io.Reader = inR
			var w io.Writer = outW
			if s.wrapIn != nil {
				r = s.wrapIn(r)
			}
			if s.wrapOut != nil {
				w = s.wrapOut(w)
			}
			err = s.serve(r, w, write)
			outW.Close()
			inR.Close()
		}()
		kill := func() {
			inR.CloseWithError(io.ErrClosedPipe)
			outW.CloseWithError(io.ErrUnexpectedEOF)
			inW.Close()
		}
		s.mu.Lock()
		s.kills = append(s.kills, kill)
		s.mu.Unlock()
		return &Stream{
			Stdin:  inW,
			Stdout: outR,
			Stderr: func() string {
				select {
				case <-done:
					if err != nil {
						return s.stderr + "error: " + err.Error() + "\n"
					}
				default:
				}
				return s.stderr
			},
			Wait: func() error { <-done; return err },
			Kill: func() { kill(); outR.Close() },
		}, nil
	}}
}

func (s *fakeStore) serve(in io.Reader, out io.Writer, write bool) error {
	if s.banner != "" {
		_, _ = io.WriteString(out, s.banner)
		return nil
	}
	r := newWireReader(in, 4096)
	flush := func(b []byte) error { _, err := out.Write(b); return err }
	if m, err := r.uint(); err != nil {
		return fmt.Errorf("no magic: %w", err)
	} else if m != serveMagic1 {
		return fmt.Errorf("bad magic %x", m)
	}
	if err := flush(putUint(putUint(nil, serveMagic2), cmp.Or(s.version, 2<<8|7))); err != nil {
		return err
	}
	if v, err := r.uint(); err != nil {
		return fmt.Errorf("no version: %w", err)
	} else if v != 2<<8|7 {
		return fmt.Errorf("bad version %x", v)
	}
	mine := map[string]bool{}
	hold := func(paths ...string) { // under s.mu
		for _, p := range paths {
			if !mine[p] {
				mine[p] = true
				s.held[p]++
			}
		}
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := range mine {
			if s.held[p]--; s.held[p] == 0 {
				delete(s.held, p)
			}
		}
	}()
	list := func() (out []string, err error) {
		err = r.strings(func(p string) error { out = append(out, p); return storepath.Check(p) })
		return
	}
	for {
		r.begin()
		op, err := r.uint()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch op {
		case opQueryValidPaths:
			lock, _ := r.uint()
			sub, _ := r.uint()
			asked, err := list()
			if err != nil {
				return err
			}
			if s.onQuery != nil {
				s.onQuery(sub == 1)
			}
			s.mu.Lock()
			if s.locks += int(lock); lock == 1 {
				hold(asked...)
			}
			var have []string
			for _, p := range asked {
				if sub == 1 && s.subst[p] != nil {
					s.paths[p] = s.subst[p]
				}
				if s.paths[p] != nil {
					have = append(have, p)
				}
			}
			s.mu.Unlock()
			if err := flush(putStrings(nil, have)); err != nil {
				return err
			}
		case opQueryPathInfos:
			asked, err := list()
			if err != nil {
				return err
			}
			var b []byte
			s.mu.Lock()
			for _, p := range asked {
				if i := s.paths[p]; i != nil {
					b = putString(b, p)
					b = putString(b, i.Deriver)
					b = putStrings(b, i.References)
					b = putUint(b, uint64(i.NarSize))
					b = putUint(b, uint64(i.NarSize))
					b = putString(b, i.NarHash.String())
					b = putString(b, i.CA)
					b = putStrings(b, i.Sigs)
				}
			}
			s.mu.Unlock()
			if err := flush(putString(b, "")); err != nil {
				return err
			}
		case opDumpStorePath:
			p, err := r.string()
			if err != nil {
				return err
			}
			s.mu.Lock()
			i := s.paths[p]
			s.reads[p]++
			s.mu.Unlock()
			if s.dump != nil {
				if f := s.dump(p); f != nil {
					if err := f(); err != nil {
						return err
					}
				}
			}
			if i == nil {
				return fmt.Errorf("path '%s' is not valid", p)
			}
			if _, err := io.Copy(out, i.nar()); err != nil {
				return err
			}
		case opQueryClosure:
			if x, err := r.uint(); err != nil || x != 0 {
				return errors.New("includeOutputs is not expected")
			}
			todo, err := list()
			if err != nil {
				return err
			}
			seen := map[string]bool{}
			s.mu.Lock()
			for len(todo) > 0 {
				p := todo[0]
				todo = todo[1:]
				if seen[p] {
					continue
				}
				seen[p] = true
				i := s.paths[p]
				if i == nil {
					s.mu.Unlock()
					return fmt.Errorf("path '%s' is not valid", p)
				}
				todo = append(todo, i.References...)
			}
			s.mu.Unlock()
			var all []string
			for p := range seen {
				all = append(all, p)
			}
			slices.Sort(all)
			if err := flush(putStrings(nil, all)); err != nil {
				return err
			}
		case opAddToStoreNar:
			if !write {
				return errors.New("importing paths is not allowed")
			}
			i := &fakePath{}
			if i.Path, err = r.string(); err != nil {
				return err
			}
			i.Deriver, _ = r.string()
			hash, _ := r.string()
			if len(hash) != 64 {
				return fmt.Errorf("bad hash %q", hash)
			}
			i.NarHash, _ = ParseHash(hash)
			if i.References, err = list(); err != nil {
				return err
			}
			if x, _ := r.uint(); x != 0 {
				return errors.New("registration time")
			}
			n, _ := r.uint()
			i.NarSize = int64(n)
			if x, _ := r.uint(); x != 0 {
				return errors.New("ultimate")
			}
			if err := r.strings(func(g string) error { i.Sigs = append(i.Sigs, g); return nil }); err != nil {
				return err
			}
			if i.CA, err = r.string(); err != nil {
				return err
			}
			c := nar.NewChecker()
			if _, err := io.CopyN(c, r.r, i.NarSize); err != nil {
				return fmt.Errorf("unexpected end-of-file (%w)", err)
			}
			if err := finishNAR(c, i.NarSize, i.NarHash); err != nil {
				return fmt.Errorf("hash mismatch importing path '%s': %w", i.Path, err)
			}
			i.nar = func() io.Reader { return iotest.ErrReader(errors.New("what a fake received is not kept")) }
			if s.refuse != nil {
				if err := s.refuse(&i.Info); err != nil {
					return err
				}
			}
			if s.delayAdd != nil {
				s.delayAdd(i.Path)
			}
			s.mu.Lock()
			for _, ref := range i.References {
				if ref != i.Path && s.paths[ref] == nil {
					s.mu.Unlock()
					s.t.Errorf("%s registered before its reference %s", i.Path, ref)
					return fmt.Errorf("path '%s' is not valid", ref)
				}
			}
			s.paths[i.Path] = i
			hold(i.Path)
			s.mu.Unlock()
			if err := flush(putUint(nil, 1)); err != nil {
				return err
			}
		default:
			s.t.Errorf("unknown operation %d", op)
			return fmt.Errorf("unknown operation %d", op)
		}
	}
}

// closure makes n small paths in chains, big ones of bigSize, and a top.
func (s *fakeStore) closure(n, size, big, bigSize int) string {
	var all []string
	last := ""
	for k := range n {
		var refs []string
		if last != "" && k%20 != 0 {
			refs = append(refs, last)
		}
		last = s.add(fmt.Sprintf("small-%d", k), size+k%97, refs...)
		all = append(all, last)
	}
	for k := range big {
		all = append(all, s.add(fmt.Sprintf("big-%d", k), bigSize))
	}
	p := fakeName(len(s.paths), "top")
	return s.addNAR(p, func() io.Reader { return narFile(1, 100) }, append(all, p)...)
}

func testCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func putStrings(b []byte, list []string) []byte {
	b = putUint(b, uint64(len(list)))
	for _, s := range list {
		b = putString(b, s)
	}
	return b
}
