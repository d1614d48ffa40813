package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/tools/vt"
	"godwit/internal/ui/text"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./internal/ui -update):\n%s", file, got)
	}
}

func environ(pairs ...string) func(string) string {
	return func(k string) string {
		for _, p := range append([]string{"LANG=C.UTF-8", "TERM=xterm-256color"}, pairs...) {
			if v, ok := strings.CutPrefix(p, k+"="); ok {
				return v
			}
		}
		return ""
	}
}

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bench drives a UI with a clock of its own and, when live, paints by hand.
type bench struct {
	*UI
	t      *testing.T
	now    time.Time
	screen *vt.Screen
	out    bytes.Buffer // stdout
	err    bytes.Buffer // everything on stderr
}

func newBench(t *testing.T, w, h int, o Options) *bench {
	b := &bench{t: t, now: t0, screen: vt.New(w, h)}
	o.Stdout = &b.out
	o.Stderr = io.MultiWriter(&b.err, onlcr{b.screen})
	o.Width = func() int { return b.screen.W }
	o.Height = func() int { return b.screen.H }
	if o.Getenv == nil {
		o.Getenv = environ()
	}
	o.now = func() time.Time { return b.now }
	o.noTicker = true
	b.UI = New(o)
	return b
}

// onlcr is what a terminal's line discipline makes of a line feed.
type onlcr struct{ w io.Writer }

func (o onlcr) Write(p []byte) (int, error) {
	_, err := o.w.Write(bytes.ReplaceAll(bytes.ReplaceAll(p, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
	return len(p), err
}

func (b *bench) at(d time.Duration) *bench { b.now = t0.Add(d); return b }

func (b *bench) say(host string, s event.Step, k event.Kind, txt string) {
	b.Emit(event.Event{Host: host, Step: s, Kind: k, Text: txt, Time: b.now})
}

func (b *bench) paint() { b.live.paint(false) }

// check compares the screen with what is to be on it and says what else must hold.
func (b *bench) check() {
	b.t.Helper()
	s := b.screen
	if len(s.Unknown) > 0 {
		b.t.Errorf("unknown sequences %q", s.Unknown)
	}
	if s.Sync || !s.Wrap {
		b.t.Error("a paint left the terminal in its own modes")
	}
	n := len(b.live.rows)
	if s.Cursor != (n == 0) {
		b.t.Error("cursor visible:", s.Cursor, "with", n, "rows")
	}
	if n > s.H-1 {
		b.t.Errorf("%d rows on a terminal of %d", n, s.H)
	}
	if s.X != 0 {
		b.t.Error("the cursor rests in column", s.X)
	}
	for i, r := range b.live.rows {
		if n > s.H {
			break
		}
		want := strings.TrimRight(text.Clean(r), " ")
		if got := s.Lines[s.Y-n+1+i].String(); got != want {
			b.t.Errorf("row %d is %q, want %q", i, got, want)
		}
		if w := text.Width(text.Clean(r)); w > s.W-1 && s.W > 1 {
			b.t.Errorf("row %d is %d wide on %d columns: %q", i, w, s.W, r)
		}
	}
	for y := s.Y + 1; y < s.H; y++ {
		if l := s.Lines[y].String(); l != "" {
			b.t.Errorf("below the area: %q", l)
		}
	}
}

// fleetRun plays a deploy of n hosts, calling step after each event.
func fleetRun(b *bench, n int, step func()) {
	name := func(i int) string { return fmt.Sprintf("web%d", i+1) }
	var hosts []string
	for i := range n {
		hosts = append(hosts, name(i))
	}
	b.Announce(hosts)
	b.Println(fmt.Sprintf("Selected %d/%d hosts", n, n))
	b.say("", event.StepEvaluate, event.Started, "network.nix")
	step()
	b.at(1400*time.Millisecond).say("", event.StepEvaluate, event.Done, text.Count(n, "host"))
	step()
	ms := 1500
	tick := func() { ms += 40; b.at(time.Duration(ms) * time.Millisecond); step() }
	for i := range n {
		h := name(i)
		b.say(h, event.StepBuild, event.Started, "")
		tick()
		b.Emit(event.Event{Host: h, Step: event.StepBuild, Kind: event.Progress, Text: "linux-6.6.51", Done: 4, Total: 23, Unit: event.Derivations,
			Activity: &event.Activity{ID: 7, Type: "build", Path: "/nix/store/x.drv", Phase: "buildPhase"}, Time: b.now})
		b.say(h, event.StepBuild, event.Log, "compiling drivers/net/ethernet/世界/e\u0301")
		tick()
		switch i % 10 {
		case 3:
			b.Emit(event.Event{Host: h, Step: event.StepBuild, Kind: event.Failed, Error: "linux-6.6.51 failed with exit code 2", Time: b.now})
			b.Emit(event.Event{Host: h, Kind: event.Result, Outcome: "failed", Time: b.now})
			continue
		case 5:
			continue // builds to the end
		case 8:
			b.say(h, event.StepBuild, event.Waiting, "waits for a free builder")
			continue
		}
		b.say(h, event.StepBuild, event.Done, "")
		b.Emit(event.Event{Host: h, Step: event.StepCopy, Kind: event.Progress, Done: 61 << 20, Total: 148 << 20, Unit: event.Bytes, Rate: 24 << 20, Time: b.now})
		tick()
		if i%10 == 6 {
			continue // copies to the end
		}
		b.say(h, event.StepCopy, event.Done, "148 MiB")
		b.say(h, event.StepActivate, event.Started, "")
		b.say(h, event.StepActivate, event.Log, "restarting the following units: nginx.service")
		tick()
		if i%10 == 1 {
			b.Emit(event.Event{Host: h, Step: event.StepActivate, Kind: event.Warning, Text: "reboot needed", Hints: []string{"godwit deploy --reboot " + h}, Time: b.now})
		}
		if i%10 == 2 {
			b.at(b.now.Sub(t0) + 41*time.Second).Emit(event.Event{Host: h, Kind: event.Result, Outcome: "rolled-back", Text: "rolled back to the system it ran before", Time: b.now})
			tick()
			continue
		}
		b.say(h, event.StepActivate, event.Done, "")
		b.Emit(event.Event{Host: h, Kind: event.Result, Outcome: "changed", Text: "switched, confirmed, 2/2 checks", Time: b.now})
		tick()
	}
}

func TestLiveScreens(t *testing.T) {
	for _, w := range []int{20, 40, 80, 160} {
		for _, n := range []int{1, 10, 300} {
			for _, ascii := range []bool{false, true} {
				if ascii && w != 80 {
					continue
				}
				name := fmt.Sprintf("live/%03dx24-%d", w, n)
				if ascii {
					name += "-ascii"
				}
				t.Run(name, func(t *testing.T) {
					b := newBench(t, w, 24, Options{Mode: Live, ASCII: ascii})
					i := 0
					fleetRun(b, n, func() {
						if i++; i%3 == 0 || n < 20 {
							b.paint()
							b.check()
						}
					})
					b.paint()
					b.check()
					during := b.screen.Text()
					b.at(90 * time.Second)
					if err := b.Close(); err != nil {
						t.Fatal(err)
					}
					b.check()
					after := b.screen.AllText()
					if ascii && strings.ContainsFunc(after, func(r rune) bool { return r >= 0x80 }) {
						t.Error("not ASCII:", after)
					}
					golden(t, name, "--- while it runs\n"+during+"\n--- in the end\n"+after+"\n")
				})
			}
		}
	}
}

// TestLiveAnySize paints at every width and at small heights.
func TestLiveAnySize(t *testing.T) {
	for w := 2; w <= 100; w++ {
		for _, h := range []int{2, 3, 5, 24} {
			b := newBench(t, w, h, Options{Mode: Live, Color: ColorAlways})
			fleetRun(b, 10, func() {
				b.paint()
				// Lines above wrap; the area must stay in order regardless.
				b.check()
			})
			_ = b.Close()
			if t.Failed() {
				t.Fatalf("at %dx%d", w, h)
			}
		}
	}
}

func TestLiveCalm(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: Live})
	fleetRun(b, 10, func() {})
	b.paint()
	b.err.Reset()
	b.paint()
	if b.err.Len() != 0 {
		t.Errorf("nothing changed, and %q was written", b.err.String())
	}
	before := strings.Split(b.screen.Text(), "\n")
	b.Emit(event.Event{Host: "web6", Step: event.StepBuild, Kind: event.Progress, Text: "glibc-2.40", Done: 5, Total: 23, Unit: event.Derivations, Time: b.now})
	b.paint()
	after := strings.Split(b.screen.Text(), "\n")
	changed := 0
	for i := range after {
		if after[i] != before[i] {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d lines changed", changed)
	}
	if n := b.err.Len(); n > 200 {
		t.Errorf("%d bytes for one line: %q", n, b.err.String())
	}
}

// TestLiveAbove prints above the area: every line once, in order, whole.
func TestLiveAbove(t *testing.T) {
	b := newBench(t, 40, 10, Options{Mode: Live, Hosts: []string{"a", "b"}})
	b.say("a", event.StepBuild, event.Started, "")
	var want []string
	for i := range 60 {
		l := fmt.Sprintf("line %d of the header", i)
		want = append(want, l)
		b.Println(l)
		if i%4 == 0 {
			b.paint()
			b.check()
		}
		if i%7 == 0 {
			b.say("a", event.StepBuild, event.Log, l)
		}
	}
	b.say("a", event.StepBuild, event.Done, "")
	b.say("b", event.StepBuild, event.Started, "")
	b.say("b", event.StepBuild, event.Done, "")
	_ = b.Close()
	b.Println("afterwards")
	want = append(want, "✓ a  built", "✓ b  built", "afterwards")
	if got := b.screen.AllText(); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestLiveResize(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: Live, Getenv: environ("XTERM_VERSION=1")})
	fleetRun(b, 5, func() {})
	b.paint()
	for _, w := range []int{60, 100, 30, 80} {
		// As xterm does: lines are cut, or become longer.
		for i, l := range b.screen.Lines {
			l = slices.Clone(l[:min(len(l), w)])
			for len(l) < w {
				l = append(l, vt.Cell{Width: 1, Style: vt.Normal})
			}
			b.screen.Lines[i] = l
		}
		b.screen.W = w
		b.paint()
		b.check()
	}
	if n := strings.Count(b.screen.AllText(), "web1 "); n != 1 {
		t.Errorf("web1 is %d times on the screen:\n%s", n, b.screen.AllText())
	}
}

func TestLiveConcurrent(t *testing.T) {
	screen := vt.New(80, 24)
	var mu sync.Mutex
	w := writerFunc(func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return onlcr{screen}.Write(p) })
	u := New(Options{Mode: Live, Stdout: io.Discard, Stderr: w, Getenv: environ(), Width: func() int { return 80 }, Height: func() int { return 24 }})
	var wg sync.WaitGroup
	const hosts, lines = 30, 200
	for i := range hosts {
		wg.Go(func() {
			h := fmt.Sprintf("host%02d", i)
			s := event.On(u, h, event.StepBuild)
			s.Start("")
			for k := range lines {
				s.Progress(int64(k), lines, event.Derivations, "something")
				s.Log("\x1b[31mline\x1b[0m")
				if k%50 == 0 {
					u.Println(fmt.Sprintf("%s says %d", h, k))
					time.Sleep(time.Millisecond)
				}
			}
			s.End("", nil)
			u.Emit(event.Event{Host: h, Kind: event.Result, Outcome: "ok"})
			if i%10 == 0 {
				u.Suspend(func() { time.Sleep(time.Millisecond) })
			}
		})
	}
	wg.Wait()
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() { _ = u.Close() })
	}
	closers.Wait()
	u.Emit(event.Event{Host: "late", Kind: event.Warning, Text: "comes late"})
	mu.Lock()
	defer mu.Unlock()
	if !screen.Cursor || !screen.Wrap || screen.Sync || screen.X != 0 {
		t.Error("the terminal is not as it was")
	}
	all := screen.AllText()
	if n := strings.Count(all, " says "); n != hosts*lines/50 {
		t.Errorf("%d lines printed", n)
	}
	if !strings.Contains(all, "✓ 30 hosts  done\n⚠ late: comes late") {
		t.Error("no last line in", all)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestLiveList: hosts of which nothing but an evaluation was wanted are not told again.
func TestLiveList(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: Live, Hosts: []string{"web1", "web2", "web3"}})
	b.say("web1", event.StepEvaluate, event.Started, "")
	b.say("web1", event.StepEvaluate, event.Done, "")
	b.say("web2", event.StepEvaluate, event.Started, "")
	b.say("web2", event.StepEvaluate, event.Failed, "no such option")
	b.say("web3", event.StepEvaluate, event.Started, "")
	b.say("web3", event.StepEvaluate, event.Done, "")
	b.paint()
	_ = b.Close()
	if got, want := b.screen.AllText(), "✗ web2  evaluate failed: no such option"; got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestLiveInterrupted(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: Live, Hosts: []string{"web1", "web2", "web3"}})
	b.say("web1", event.StepBuild, event.Started, "")
	b.at(2*time.Second).say("web1", event.StepBuild, event.Done, "")
	b.say("web1", event.StepActivate, event.Started, "")
	b.say("web1", event.StepActivate, event.Log, "stopping the following units: a.service")
	b.say("web2", event.StepSecrets, event.Started, "")
	b.paint()
	b.at(6 * time.Second)
	_ = b.Close()
	_ = b.Close()
	want := strings.Join([]string{
		"⚠ web1  interrupted while activating                                       6.0s",
		"⚠ web2  interrupted while uploading secrets                                4.0s",
		"○ web3  not started",
	}, "\n")
	if got := b.screen.AllText(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestLiveAsk(t *testing.T) {
	answers := []string{"y\n", "no\n", "", "YES\r\nrest"}
	want := []bool{true, false, false, true}
	for i, a := range answers {
		var b *bench
		b = newBench(t, 80, 24, Options{Mode: Live, Hosts: []string{"web1", "web2"}, Terminal: func() (io.ReadWriteCloser, error) {
			return &fakeTTY{Reader: strings.NewReader(a), Writer: writerFunc(func(p []byte) (int, error) {
				if len(b.live.rows) != 0 || !b.screen.Cursor {
					t.Error("the live area is still there")
				}
				return b.screen.Write(p)
			})}, nil
		}})
		b.say("web1", event.StepPlan, event.Started, "")
		b.Println("Plan: 2 hosts change")
		b.paint()
		got, err := b.Ask("Deploy to web1, web2?")
		if got != want[i] || (err != nil) != (a == "") {
			t.Errorf("%q gives %v, %v", a, got, err)
		}
		if !strings.HasSuffix(b.screen.Text(), "Plan: 2 hosts change\nDeploy to web1, web2? [y/N]") {
			t.Error(b.screen.Text())
		}
	}
	b := newBench(t, 80, 24, Options{Mode: Plain, Terminal: func() (io.ReadWriteCloser, error) { return nil, os.ErrNotExist }})
	if _, err := b.Ask("?"); !errors.Is(err, ErrNoTerminal) {
		t.Error(err)
	}
}

type fakeTTY struct {
	io.Reader
	io.Writer
}

func (*fakeTTY) Close() error { return nil }

// TestCloseWhileAsking is Ctrl-C at a question.
func TestCloseWhileAsking(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	asked := make(chan struct{})
	screen := vt.New(80, 24)
	var once sync.Once
	u := New(Options{Mode: Live, Stdout: io.Discard, Stderr: onlcr{screen}, Getenv: environ(), Hosts: []string{"a", "b"},
		Width: func() int { return 80 }, Height: func() int { return 24 },
		Terminal: func() (io.ReadWriteCloser, error) {
			return &fakeTTY{r, writerFunc(func(p []byte) (int, error) { once.Do(func() { close(asked) }); return len(p), nil })}, nil
		}})
	u.Emit(event.Event{Host: "a", Step: event.StepPlan, Kind: event.Started})
	go func() { _, _ = u.Ask("Go on?") }()
	<-asked
	done := make(chan struct{})
	go func() { _ = u.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits for an answer")
	}
	if !screen.Cursor {
		t.Error("no cursor")
	}
}

func TestLiveExec(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: Live, Hosts: []string{"a", "b"}})
	b.say("a", event.StepExec, event.Started, "uptime")
	b.say("a", event.StepExec, event.Log, "up 3 days")
	b.Emit(event.Event{Host: "a", Step: event.StepExec, Kind: event.Log, Text: "oops", Data: map[string]string{"stream": "stderr"}, Time: b.now})
	b.paint()
	b.check()
	if b.out.String() != "a | up 3 days\n" {
		t.Errorf("stdout %q", b.out.String())
	}
	if !strings.HasPrefix(b.screen.Text(), "a | oops\n● a  running") {
		t.Error(b.screen.Text())
	}
}

func TestPlain(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		b := newBench(t, 80, 24, Options{Mode: Plain, Verbose: verbose})
		fleetRun(b, 10, func() {})
		for i := range 30 { // copying for a minute
			b.at(time.Duration(60+2*i) * time.Second).Emit(event.Event{Host: "web7", Step: event.StepCopy, Kind: event.Progress,
				Done: int64(i+1) * 5 << 20, Total: 150 << 20, Unit: event.Bytes, Time: b.now})
		}
		b.say("web7", event.StepCopy, event.Done, "150 MiB")
		b.say("web7", event.StepSecrets, event.Skipped, "none")
		b.say("web7", event.StepExec, event.Log, "evil \x1b[2J\x1b]0;x\a text")
		b.say("web7", "", event.Note, "boots in 3 s")
		_ = b.Close()
		if strings.ContainsFunc(b.err.String(), func(r rune) bool { return r < 0x20 && r != '\n' || r == 0x7f }) {
			t.Error("control characters in plain output")
		}
		if got := b.out.String(); got != "web7 | evil  text\n" {
			t.Errorf("stdout %q", got)
		}
		golden(t, map[bool]string{false: "plain", true: "plain-verbose"}[verbose], b.err.String())
	}
}

// TestTails: the log of a step that went well explains nothing.
func TestTails(t *testing.T) {
	for _, c := range []struct {
		step event.Step
		end  event.Kind
		want bool
	}{
		{event.StepBuild, event.Done, false}, {event.StepBuild, event.Failed, true}, {event.StepBuild, event.Note, true},
		{event.StepBuilder, event.Note, false},
	} {
		var out bytes.Buffer
		u := New(Options{Stdout: io.Discard, Stderr: &out, Mode: Plain, Getenv: environ()})
		for _, e := range []event.Event{
			{Kind: event.Started}, {Kind: event.Log, Text: "compiling"}, {Kind: c.end, Text: "so"},
			{Kind: event.Result, Outcome: "failed", Error: "no way to it"},
		} {
			e.Host = "web"
			if e.Kind != event.Result {
				e.Step = c.step
			}
			u.Emit(e)
		}
		u.Close()
		if got := strings.Contains(out.String(), "last lines of "); got != c.want {
			t.Errorf("%s %s: %t\n%s", c.step, c.end, got, out.String())
		}
	}
}

// Nor does it when another step went well meanwhile: the build log is not why an
// activation was refused.
func TestTailsOfARefusal(t *testing.T) {
	var out bytes.Buffer
	u := New(Options{Stdout: io.Discard, Stderr: &out, Mode: Plain, Getenv: environ()})
	for _, e := range []event.Event{
		{Step: event.StepBuild, Kind: event.Started}, {Step: event.StepBuild, Kind: event.Log, Text: "compiling"}, {Step: event.StepBuild, Kind: event.Done},
		{Step: event.StepCopy, Kind: event.Started}, {Step: event.StepCopy, Kind: event.Done},
		{Kind: event.Result, Outcome: "failed", Error: "another deployment is under way"},
	} {
		e.Host = "web"
		u.Emit(e)
	}
	u.Close()
	if strings.Contains(out.String(), "last lines of ") {
		t.Errorf("the log of the build is shown:\n%s", out.String())
	}
}

func TestJSON(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: JSON})
	fleetRun(b, 4, func() {})
	_ = b.Close()
	golden(t, "json", b.out.String())
	if got := b.err.String(); got != "Selected 4/4 hosts\n" {
		t.Errorf("stderr %q", got)
	}
	for i, l := range strings.Split(strings.TrimSpace(b.out.String()), "\n") {
		var e event.Event
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		if i > 0 && (e.Kind == "" || e.Time.IsZero()) {
			t.Errorf("line %d has no kind or time: %s", i, l)
		}
	}
}

// TestJSONCopies: behind the hosts' own numbers the sum of all, not oftener than
// ten times a second, and with the last word when nobody copies any more.
func TestJSONCopies(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: JSON})
	at := func(ms int, e event.Event) {
		e.Step, e.Unit, e.Time = event.StepCopy, event.Bytes, b.now.Add(time.Duration(ms)*time.Millisecond)
		b.Emit(e)
	}
	progress := func(ms int, host string, done, total int64) {
		at(ms, event.Event{Host: host, Kind: event.Progress, Done: done, Total: total, Rate: 10})
	}
	progress(0, "a", 0, 100)
	progress(10, "b", 0, 50)
	progress(150, "a", 30, 100)
	progress(160, "b", 20, 50) // too soon after the last
	progress(300, "b", 25, 50)
	at(310, event.Event{Host: "b", Kind: event.Failed, Error: "no more"})
	progress(320, "a", 100, 100)
	at(330, event.Event{Host: "a", Kind: event.Done, Done: 100, Total: 100})
	_ = b.Close()
	var got []string
	for l := range strings.Lines(b.out.String()) {
		var e event.Event
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == event.Progress && e.Host == "" {
			if e.Step != event.StepCopy || e.Unit != event.Bytes {
				t.Errorf("%s", l)
			}
			got = append(got, fmt.Sprintf("%d/%d at %g", e.Done, e.Total, e.Rate))
		}
	}
	want := []string{"0/100 at 10", "30/150 at 20", "55/150 at 20", "55/125 at 10", "125/125 at 0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMode(t *testing.T) {
	for _, c := range []struct {
		env   []string
		ascii bool
	}{
		{nil, false},
		{[]string{"LC_ALL=C", "LANG=de_DE.UTF-8"}, true},
		{[]string{"LC_ALL=de_DE.utf8"}, false},
	} {
		u := New(Options{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(k string) string {
			for _, p := range append(c.env, "LANG=C.UTF-8") {
				if v, ok := strings.CutPrefix(p, k+"="); ok {
					return v
				}
			}
			return ""
		}})
		if u.Mode() != Plain || u.ascii != c.ascii || u.pal.on {
			t.Errorf("%v: mode %v, ascii %v, colour %v", c.env, u.Mode(), u.ascii, u.pal.on)
		}
	}
}

func TestTable(t *testing.T) {
	rows := [][]string{
		{"web1", "24.05.20260911", "2 hours ago", "✓ as in repository"},
		{"datenbank-世界", "24.05.20260830", "12 days ago", "⚠ 3 commits behind · rolled back 4 min ago"},
		{"pi3", "?", "–", "✗ no answer"},
	}
	h := []string{"HOST", "SYSTEM", "DEPLOYED", "STATE"}
	golden(t, "table", Table(0, h, rows)+"\n"+Table(60, h, rows)+"\n"+Table(30, nil, rows))
	for w := 1; w < 120; w++ {
		for l := range strings.Lines(Table(w, h, rows)) {
			if text.Width(strings.TrimSuffix(l, "\n")) > w {
				t.Fatalf("wider than %d: %q", w, l)
			}
		}
	}
}

func TestRate(t *testing.T) {
	b := newBench(t, 80, 24, Options{Mode: Live, Hosts: []string{"db1"}})
	for i := range 8 {
		b.at(time.Duration(i) * time.Second).Emit(event.Event{Host: "db1", Step: event.StepCopy, Kind: event.Progress,
			Done: int64(i) * 10 << 20, Total: 148 << 20, Unit: event.Bytes, Time: b.now})
	}
	b.paint()
	if got, want := b.screen.Text(), "● db1  copying     70/148 MiB  10 MiB/s  7s left"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestWriteError(t *testing.T) {
	boom := errors.New("no space left")
	u := New(Options{Mode: JSON, Stdout: writerFunc(func([]byte) (int, error) { return 0, boom }), Stderr: io.Discard})
	u.Emit(event.Event{Kind: event.Note})
	if err := u.Close(); err != boom {
		t.Error(err)
	}
}
