package canary

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
)

// interval is the time between two looks at all processes. A process is looked at more
// than once when it is young, as it may become another program.
const (
	interval = 50 * time.Millisecond
	young    = 4
	again    = 100 // looks until an old process is looked at again
)

// Watcher looks at the arguments and environments of all processes that this machine shows
// while a suite runs; those of lab hosts are among them.
type Watcher struct {
	stop, done chan struct{}
	mu         sync.Mutex
	found      []string
	processes  int
}

// Watch begins to look.
func Watch() *Watcher {
	w := &Watcher{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer crash.Catch()
		defer close(w.done)
		seen := map[string]int{} // looks, by process
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			w.look(seen)
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// look looks once.
func (w *Watcher) look(seen map[string]int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	names, _ := proc.Readdirnames(-1)
	proc.Close()
	there := map[string]bool{}
	for _, pid := range names {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		there[pid] = true
		seen[pid]++
		if n := seen[pid]; n > young && n%again != 0 {
			continue
		}
		for _, of := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile("/proc/" + pid + "/" + of)
			if err == nil && Has(text) {
				w.add(pid, of, text)
			}
		}
	}
	for pid := range seen {
		if !there[pid] {
			delete(seen, pid)
			w.mu.Lock()
			w.processes++
			w.mu.Unlock()
		}
	}
}

// add notes a process once.
func (w *Watcher) add(pid, of string, text []byte) {
	if of == "environ" {
		text, _ = os.ReadFile("/proc/" + pid + "/cmdline")
	}
	line := fmt.Sprintf("%s of process %s: %s", of, pid, strings.ToValidUTF8(string(bytes.ReplaceAll(text[:min(len(text), 400)], []byte{0}, []byte{' '})), "?"))
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.found, line) && len(w.found) < 50 {
		w.found = append(w.found, line)
	}
}

// Stop ends the looking, and gives what had the mark, and how many processes came and went.
func (w *Watcher) Stop() (found []string, processes int) {
	close(w.stop)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found, w.processes
}
