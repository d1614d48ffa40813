package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
)

const gib = 1 << 30

// TestEvalEachMemory: how many processes evaluate depends on what the first hosts took, and
// a host that takes too much is evaluated alone. The numbers are a stand-in's; the
// processes are Nix's.
func TestEvalEachMemory(t *testing.T) {
	tool := evalTool(t, Settings{})
	for _, c := range []struct {
		name  string
		free  float64 // GiB, with nothing running
		host  float64 // of a process with its first host
		more  float64 // of each further one
		heavy float64 // of the host n5
		slow  string  // hosts that take longer
		depth int     // 20 is about a second
		begin int     // processes before anything was measured
		least int     // of processes that were seen at once later on
		most  int
	}{
		{name: "small hosts, more processes", free: 4, host: 0.2, more: 0.01, slow: `"n4" "n5" "n6" "n7" "n12" "n13" "n14" "n15"`, depth: 17, begin: 2, least: 3, most: 4},
		{name: "large hosts, fewer processes", free: 4, host: 3, more: 0.1, begin: 2, least: 1, most: 1},
		{name: "growing hosts", free: 4, host: 0.5, more: 0.9, begin: 2, least: 1, most: 3},
		{name: "one that needs too much while others are at theirs", free: 4, host: 0.2, more: 0.01, heavy: 3.9, slow: `"n1" "n5" "n9" "n13"`, depth: 20, begin: 4, least: 2, most: 4},
		{name: "not known", slow: `"n1" "n5" "n9"`, depth: 17, begin: 4, least: 2, most: 4},
	} {
		// evaluate tells whether memory ran out while the large host had others beside it: what it takes is asked then.
		evaluate := func(t *testing.T) (met bool) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var names []string
			for i := range 16 {
				names = append(names, fmt.Sprint("n", i))
			}
			var mu sync.Mutex
			busy := map[string]bool{}
			measured, after, beside, begun := 0, 0, 0, 0
			got := map[string]int{}
			took := func(w *piece) uint64 {
				if w.held == 0 && !w.busy && w.at == 0 {
					return 0 // it has not begun
				}
				v := c.host + c.more*float64(w.at)
				if w.busy && w.names[w.at] == "n5" {
					v += c.heavy
				}
				return uint64(v * gib)
			}
			e := Each{
				Names: names,
				Expr:  `name: let f = n: if n == 0 then 0 else f (n - 1) + f (n - 1); in builtins.seq (f (if builtins.elem name [ ` + c.slow + ` ] then ` + fmt.Sprint(c.depth) + ` else 12)) name`,
				Sink: event.SinkFunc(func(ev event.Event) {
					mu.Lock()
					defer mu.Unlock()
					switch ev.Kind {
					case event.Started:
						busy[ev.Host] = true
						if measured > c.begin {
							after = max(after, len(busy))
						}
						if ev.Host == "n5" {
							beside = len(busy) - 1
							begun++
						}
					case event.Note:
						delete(busy, ev.Host)
					case event.Done:
						delete(busy, ev.Host)
						measured++
					}
				}),
				Got:    func(name string, _ json.RawMessage) error { got[name]++; return nil },
				Failed: func(name string, err error) { t.Errorf("%s: %v", name, err) },
			}
			e.gauge = func(p *pool, _ int) *gauge {
				takes := func(w *piece) uint64 {
					met = met || w.held > 0 && w.busy && w.names[w.at] == "n5"
					return took(w)
				}
				return &gauge{begin: c.begin, reserve: gib / 4, taken: takes, free: func() uint64 {
					left := uint64(c.free * gib)
					for _, w := range p.active {
						left -= min(left, took(w))
					}
					if c.free > 0 {
						left = max(left, 1)
					}
					return left
				}}
			}
			e.cores = 4
			if err := tool.EvalEach(ctx, e); err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if got[n] != 1 {
					t.Errorf("%s was given %d times", n, got[n])
				}
			}
			if after < c.least || after > c.most {
				t.Errorf("%d processes after the first was measured, want %d to %d", after, c.least, c.most)
			}
			if met && c.heavy > 0 && (begun > 2 || beside != 0) {
				t.Errorf("the large host began %d times, the last time beside %d others", begun, beside)
			}
			return met
		}
		t.Run(c.name, func(t *testing.T) {
			// On a busy machine the others may have ended by then.
			for try := 1; !evaluate(t) && c.heavy > 0; try++ {
				if try == 10 {
					t.Fatal("memory never ran out while the large host had others beside it, in ten tries")
				}
			}
		})
	}
}

// TestProcessMemory measures this process.
func TestProcessMemory(t *testing.T) {
	if m := processMemory(os.Getpid()); m < 1<<20 || m > 16*gib {
		t.Errorf("%d bytes", m)
	}
	if m := processMemory(0); m != 0 {
		t.Errorf("no process has %d bytes", m)
	}
}
