// Package storetest has a store in memory that speaks the serve protocol of nix-store, for
// tests of those who copy to hosts. What it is asked and does not know ends the
// conversation with an error. Tests of the protocol itself have a fake with more manners
// (package store).
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"godwit/internal/crash"
	"godwit/internal/store"
)

// Store is a store in memory.
type Store struct {
	mu    sync.Mutex
	paths map[string]path
}

type path struct {
	nar  []byte
	refs []string
}

// New is an empty store.
func New() *Store { return &Store{paths: map[string]path{}} }

// Add adds a path that is a file with this content, and gives its name.
func (s *Store) Add(name, content string, refs ...string) string {
	sum := sha256.Sum256([]byte(name + content))
	p := "/nix/store/" + store.Hash(sum).String()[7:7+32] + "-" + name
	var nar []byte
	for _, w := range []string{"nix-archive-1", "(", "type", "regular", "contents", content, ")"} {
		nar = putString(nar, w)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[p] = path{nar: nar, refs: refs}
	return p
}

// Has tells whether the store has a path.
func (s *Store) Has(p string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.paths[p]
	return ok
}

// Endpoint is how the store is reached.
func (s *Store) Endpoint(name string) store.Endpoint {
	return store.Endpoint{Name: name, Dial: func(context.Context, bool) (*store.Stream, error) {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		done := make(chan error, 1)
		go func() {
			defer crash.Catch()
			err := s.Serve(inR, outW)
			_ = inR.CloseWithError(io.ErrClosedPipe)
			_ = outW.Close()
			done <- err
		}()
		return &store.Stream{Stdin: inW, Stdout: outR, Stderr: func() string { return "" },
			Wait: func() error { err := <-done; done <- err; return err },
			Kill: func() { _ = inW.Close(); _ = outR.Close() }}, nil
	}}
}

// Operations of the protocol, and its greetings (nix/src/libstore/serve-protocol.hh).
const (
	magicIn, magicOut = 0x390c9deb, 0x5452eecb
	version           = 2<<8 | 7

	queryValidPaths = 1
	queryPathInfos  = 2
	dumpStorePath   = 3
	queryClosure    = 7
	addToStoreNar   = 9
)

// Serve is nix-store --serve --write.
func (s *Store) Serve(in io.Reader, out io.Writer) error {
	r := &reader{r: in}
	if m := r.uint(); m != magicIn {
		return fmt.Errorf("no greeting: %x", m)
	}
	if _, err := out.Write(putUint(putUint(nil, magicOut), version)); err != nil {
		return err
	}
	r.uint()
	for {
		op := r.uint()
		if r.err == io.EOF {
			return nil
		}
		var answer []byte
		switch op {
		case queryValidPaths:
			r.uint()
			r.uint()
			answer = putStrings(nil, slices.DeleteFunc(r.strings(), func(p string) bool { return !s.Has(p) }))
		case queryPathInfos:
			for _, p := range r.strings() {
				answer = s.info(answer, p)
			}
			answer = putString(answer, "")
		case dumpStorePath:
			s.mu.Lock()
			answer = s.paths[r.string()].nar
			s.mu.Unlock()
			if answer == nil && r.err == nil {
				r.err = fmt.Errorf("a path that is not valid")
			}
		case queryClosure:
			r.uint()
			answer = putStrings(nil, s.closure(r.strings()))
		case addToStoreNar:
			s.receive(r)
			answer = putUint(nil, 1)
		default:
			return fmt.Errorf("unknown operation %d", op)
		}
		if r.err != nil {
			return r.err
		}
		if _, err := out.Write(answer); err != nil {
			return err
		}
	}
}

func (s *Store) info(b []byte, p string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.paths[p]
	if !ok {
		return b
	}
	b = putString(putString(b, p), "")
	b = putStrings(b, i.refs)
	b = putUint(putUint(b, uint64(len(i.nar))), uint64(len(i.nar)))
	b = putString(b, store.Hash(sha256.Sum256(i.nar)).String())
	return putStrings(putString(b, ""), nil)
}

func (s *Store) closure(todo []string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if !slices.Contains(all, p) {
			all = append(all, p)
			todo = append(todo, s.paths[p].refs...)
		}
	}
	return all
}

func (s *Store) receive(r *reader) {
	name := r.string()
	r.string() // deriver
	r.string() // hash
	i := path{refs: r.strings()}
	r.uint() // time
	size := r.uint()
	r.uint() // ultimate
	r.strings()
	r.string() // content address
	if r.err == nil {
		i.nar = make([]byte, size)
		_, r.err = io.ReadFull(r.r, i.nar)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths[name] = i
}

type reader struct {
	r   io.Reader
	err error
}

func (r *reader) bytes(n uint64) []byte {
	b := make([]byte, n)
	if r.err == nil {
		_, r.err = io.ReadFull(r.r, b)
	}
	return b
}

func (r *reader) uint() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

func (r *reader) string() string {
	n := r.uint()
	b := r.bytes((n + 7) &^ 7)
	return string(b[:n])
}

func (r *reader) strings() (list []string) {
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		list = append(list, r.string())
	}
	return list
}

func putUint(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func putString(b []byte, s string) []byte {
	b = append(putUint(b, uint64(len(s))), s...)
	return append(b, make([]byte, (8-len(s)%8)%8)...)
}

func putStrings(b []byte, list []string) []byte {
	b = putUint(b, uint64(len(list)))
	for _, s := range list {
		b = putString(b, s)
	}
	return b
}
