package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/event"
)

// Processes that the kernel kills for want of memory, while others go on: what
// they were at is evaluated again, and nothing is lost or given twice. Run
// with -race it watches the list of the workers, too.
func TestEvalEachKilled(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("finds its processes in /proc")
	}
	tool := evalTool(t, Settings{})
	var names []string
	for i := range 24 {
		names = append(names, fmt.Sprint("n", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	busy, killed := map[string]bool{}, 0
	got := map[string]int{}
	err := tool.EvalEach(ctx, Each{
		Names: names, Workers: 3,
		Expr: `name: let f = n: if n == 0 then 0 else f (n - 1) + f (n - 1); in
			builtins.seq (f 17) name`, // some hundredths of a second
		Sink: event.SinkFunc(func(e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e.Kind {
			case event.Started:
				busy[e.Host] = true
			case event.Done:
				delete(busy, e.Host)
			}
			if len(busy) > 1 && killed == 0 {
				for _, pid := range evaluators() {
					if syscall.Kill(pid, syscall.SIGKILL) == nil {
						killed++
					}
				}
			}
		}),
		Got: func(name string, v json.RawMessage) error {
			if string(v) != strconv.Quote(name) {
				t.Errorf("%s: %s", name, v)
			}
			got[name]++
			return nil
		},
		Failed: func(name string, err error) { t.Errorf("%s: %v", name, err) },
	})
	if killed == 0 {
		t.Error("no process was killed")
	}
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if got[name] != 1 {
			t.Errorf("%s was given %d times", name, got[name])
		}
	}
}

// evaluators are the Nix processes that this one has started.
func evaluators() (pids []int) {
	threads, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range threads {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if name, _ := os.ReadFile("/proc/" + f + "/comm"); strings.HasPrefix(string(name), "nix") {
				pid, _ := strconv.Atoi(f)
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
