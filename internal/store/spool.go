package store

import (
	"fmt"
	"os"
)

// spool is a bounded scratch file with slots of one chunk each. It holds store
// paths on their way, which are no secret, and has no name: the space goes back
// whatever happens to us. Its users hold Pusher.mu around alloc and free, and
// not around the reading and writing.
type spool struct {
	dir   string
	limit int64 // slots
	file  *os.File
	next  int64
	freed []int64
	fifo  []*chunk // what was put in, oldest first
	dead  bool     // the file could not be made, or its disk is full
}

func (s *spool) alloc() (int64, bool) {
	if s.dead {
		return 0, false
	}
	if n := len(s.freed); n > 0 {
		slot := s.freed[n-1]
		s.freed = s.freed[:n-1]
		return slot, true
	}
	if s.next >= s.limit {
		return 0, false
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "godwit-spool-")
		if err != nil {
			s.dead = true
			return 0, false
		}
		_ = os.Remove(f.Name())
		s.file = f
	}
	s.next++
	return s.next - 1, true
}

func (s *spool) release(slot int64) {
	s.freed = append(s.freed, slot)
	for len(s.fifo) > 0 && s.fifo[0].refs == 0 {
		s.fifo = s.fifo[1:]
	}
}

func (s *spool) write(slot int64, b []byte) error {
	_, err := s.file.WriteAt(b, slot*chunkSize)
	return err
}

func (s *spool) read(slot int64, b []byte) error {
	if _, err := s.file.ReadAt(b, slot*chunkSize); err != nil {
		return fmt.Errorf("spool file: %w", err)
	}
	return nil
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
