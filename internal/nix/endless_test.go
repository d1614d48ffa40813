package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/event"
	"godwit/internal/nixlog"
)

// peak runs fn and gives by how much the heap grew at most, in bytes.
func peak(fn func()) uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, atomic.Uint64{}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	fn()
	close(stop)
	<-stopped
	return max(most.Load(), before) - before
}

// inUse is what the heap holds after a collection, in bytes.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestEndless has every program of Nix's talk without end, in lines and without a
// line break. What must be whole ends in an error that names the limit; what may go
// on (a log) costs a bounded amount of memory for as long as it does.
func TestEndless(t *testing.T) {
	dir := t.TempDir()
	talk := map[string]string{
		"lines": "yes 'a line of output'", "line": "tr '\\0' x </dev/zero",
		"json": `yes '@nix {"action":"msg","level":0,"msg":"error: no","raw_msg":"no"}'`,
	}
	readers := map[string]func(context.Context, *Tool) error{
		"Output": func(ctx context.Context, t *Tool) error { _, err := t.Output(ctx, "nix-store", "-q"); return err },
		"Eval":   func(ctx context.Context, t *Tool) error { _, err := t.Eval(ctx, Evaluation{Expr: "1"}); return err },
		"EvalEach": func(ctx context.Context, t *Tool) error {
			return t.EvalEach(ctx, Each{Names: []string{"a"}, Expr: "n: n", Got: func(string, json.RawMessage) error { return nil }, Sink: event.Discard})
		},
		"Missing": func(ctx context.Context, t *Tool) error {
			_, err := t.dryRun(ctx, []string{"/nix/store/x"})
			return err
		},
		"Valid": func(ctx context.Context, t *Tool) error { _, err := t.Valid(ctx, []string{"/nix/store/x"}); return err },
		"AddRoot": func(ctx context.Context, t *Tool) error {
			return t.AddRoot(ctx, "/nix/store/x", filepath.Join(dir, "root"))
		},
		"Realise": func(ctx context.Context, t *Tool) error {
			_, err := t.Realise(ctx, []RealiseItem{{Drv: "/nix/store/00000000000000000000000000000000-a.drv"}}, filepath.Join(dir, "r"), event.On(event.Discard, "a", event.StepBuild))
			return err
		},
	}
	// What has to be whole, so that its end is an error at once.
	whole := map[string]bool{"Output lines-out": true, "Output line-out": true, "Output json-out": true,
		"Eval lines-out": true, "Eval line-out": true, "Eval json-out": true, "Eval line-err": true, "EvalEach line-err": true,
		"Missing lines-err": true, "Missing line-err": true, "Missing json-err": true, "Missing lines-out": true, "Missing line-out": true, "Missing json-out": true,
		"Valid lines-out": true, "Valid line-out": true, "Valid json-out": true}
	// Whose stderr is a log that is understood.
	logs := map[string]bool{"Eval": true, "EvalEach": true, "Realise": true}
	// What is read up to a limit of its own, and its end an error of what was to be done.
	ends := map[string]bool{"AddRoot lines-out": true, "AddRoot line-out": true, "Realise lines-out": true, "Realise line-out": true}
	for reader, run := range readers {
		if testing.Short() && reader != "Output" {
			continue // half a minute for all
		}
		for _, kind := range []string{"lines-out", "line-out", "lines-err", "line-err", "json-err"} {
			name := reader + " " + kind
			t.Run(name, func(t *testing.T) {
				own := t.TempDir()
				program, read := filepath.Join(own, "program"), filepath.Join(own, "read")
				words, where, _ := strings.Cut(kind, "-")
				script := talk[words]
				// How much comes of what may go on, and how much of it may be in memory then, in bytes. That it was read is known
				// by a mark, so that a busy machine reads as much as any other. A log takes longer.
				flood, kept := 96<<20, uint64(48<<20)
				if where == "err" && logs[reader] {
					flood, kept = 48<<20, 40<<20
				}
				if !whole[name] && !ends[name] {
					script = fmt.Sprintf("%s | head -c %d; : >'%s'; exec sleep 1000", script, flood, read)
				}
				if where == "err" {
					script = "exec >&2; " + script
				}
				if err := os.WriteFile(program, []byte("#!/bin/sh\ncat >/dev/null </dev/stdin &\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
				tool := &Tool{said: &seen{}, conf: &configuration{}, programs: map[string]string{"nix": program, "nix-store": program, "nix-instantiate": program}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				before := inUse()
				at := make(chan uint64, 1)
				go func() {
					for ctx.Err() == nil {
						if _, err := os.Stat(read); err == nil {
							at <- inUse()
							cancel()
						}
						time.Sleep(5 * time.Millisecond)
					}
				}()
				var err error
				if grew := peak(func() { err = run(ctx, tool) }); grew > 300<<20 {
					t.Errorf("took %d MiB", grew>>20)
				}
				if whole[name] {
					if !bounded.Is(err) || !strings.Contains(err.Error(), ", the limit") {
						t.Errorf("the error names no limit: %v", err)
					}
					return
				}
				select {
				case n := <-at:
					t.Logf("%d of %d MiB", (int64(n)-int64(before))>>20, flood>>20)
					if n > before+kept {
						t.Errorf("%d of %d MiB are kept", (n-before)>>20, flood>>20)
					}
				default:
					if ends[name] {
						break
					}
					t.Errorf("it was not read to the end of the flood: %v", err)
				}
				if err == nil {
					t.Error("no error")
				}
			})
		}
	}
}

// endless gives the same lines for ever, or until limit.
type endless struct {
	lines func(n int) string
	n     int
	left  int64
	rest  string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	for len(e.rest) < len(p) {
		e.n++
		e.rest += e.lines(e.n)
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	e.left -= int64(n)
	return n, nil
}

// TestEndlessBuildLog feeds a build's log every message that Nix has, many megabytes of each,
// with names and numbers that are never the same.
func TestEndlessBuildLog(t *testing.T) {
	id := func(n int) string { b, _ := json.Marshal(n); return string(b) }
	long := strings.Repeat("x", 3000)
	drv := func(n int) string {
		s := "00000000000000000000000000000000" + id(n)
		return "/nix/store/" + s[len(s)-32:] + "-a.drv"
	}
	for name, lines := range map[string]func(n int) string{
		"starts": func(n int) string {
			return `@nix {"action":"start","id":` + id(n) + `,"type":105,"text":"` + long + `","fields":["` + drv(n) + `","` + long + `"]}` + "\n"
		},
		"types": func(n int) string {
			return `@nix {"action":"start","id":1,"type":` + id(n) + `}` + "\n" + `@nix {"action":"stop","id":1}` + "\n"
		},
		"errors": func(n int) string {
			return `@nix {"action":"msg","level":0,"msg":"error: builder for '` + drv(n) + `' failed with exit code 1\n` + long + `"}` + "\n"
		},
		"warnings": func(n int) string {
			return `@nix {"action":"msg","level":1,"msg":"warning: ` + id(n) + long + `"}` + "\n"
		},
		"notices": func(n int) string {
			return `@nix {"action":"msg","level":3,"msg":"` + strings.Repeat(id(n)+`\n`, 50000) + `"}` + "\n"
		},
		"log lines": func(n int) string {
			return `@nix {"action":"start","id":1,"type":105,"fields":["` + drv(n/50) + `","",1,1]}` + "\n" + `@nix {"action":"result","id":1,"type":101,"fields":["` + long + `"]}` + "\n"
		},
		"expected": func(n int) string {
			return `@nix {"action":"start","id":1,"type":104}` + "\n" + `@nix {"action":"result","id":1,"type":106,"fields":[` + id(n) + `,18446744073709551615]}` + "\n"
		},
		"plain": func(n int) string { return id(n) + long + "\n" },
		"line":  func(int) string { return long },
	} {
		left := int64(32 << 20)
		if len(lines(1)) < 200 || name == "starts" {
			left = 4 << 20 // of short ones
		}
		if testing.Short() {
			left /= 4
		}
		t.Run(name, func(t *testing.T) {
			l := nixlog.NewBuildLog(event.On(event.Discard, "a", event.StepBuild))
			grew := peak(func() {
				if _, err := io.Copy(l, &endless{lines: lines, left: left}); err != nil && !errors.Is(err, io.ErrClosedPipe) {
					t.Error(err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				l.Failures()
			})
			t.Logf("%d MiB", grew>>20)
			if grew > 120<<20 {
				t.Errorf("took %d MiB", grew>>20)
			}
		})
	}
}
