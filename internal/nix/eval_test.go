package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
)

// evalTool is the machine's own Nix.
func evalTool(t *testing.T, s Settings) *Tool {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Nix")
	}
	t.Setenv("NIX_CONFIG", "build-users-group =\nsubstituters =\n")
	tool, err := Find(context.Background(), s)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return tool
}

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]Version{
		"nix (Nix) 2.8.0\n":                          {2, 8, 0, "Nix", "2.8.0"},
		"nix (Nix) 2.34.0pre20251101_abc1234\n":      {2, 34, 0, "Nix", "2.34.0pre20251101_abc1234"},
		"warning: x\nnix (Nix) 2.26.3+1\n":           {2, 26, 3, "Nix", "2.26.3+1"},
		"nix (Lix, like Nix) 2.93.0\n":               {2, 93, 0, "Lix", "2.93.0"},
		"nix (Lix, like Nix) 2.94.0-dev-pre2025\n":   {2, 94, 0, "Lix", "2.94.0-dev-pre2025"},
		"nix (Determinate Nix 3.6.2) 2.29.0\n":       {2, 29, 0, "Determinate Nix", "2.29.0"},
		"nix (Determinate Nix 3.11.1) 2.31.1\nfoo\n": {2, 31, 1, "Determinate Nix", "2.31.1"},
	} {
		got, err := ParseVersion(out)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", out, got, err)
		}
	}
	if _, err := ParseVersion("zsh: command not found"); err == nil {
		t.Error("nonsense is a version")
	}
	lix, _ := ParseVersion("nix (Lix, like Nix) 2.93.0")
	if !lix.AtLeast(2, 18) || lix.AtLeast(2, 19) {
		t.Error("Lix is a fork of 2.18")
	}
	v := Version{Major: 2, Minor: 26}
	if !v.AtLeast(2, 8) || !v.AtLeast(2, 26) || v.AtLeast(2, 27) || v.AtLeast(3, 0) {
		t.Error("AtLeast")
	}
}

func TestFindMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	defer func(dirs []string) { everybodys = dirs }(everybodys)
	everybodys = nil // this machine may have Nix there
	_, err := Find(context.Background(), Settings{})
	var f *fault.Error
	if !errors.As(err, &f) || !strings.Contains(f.Msg, "not installed") || len(f.Hints) == 0 {
		t.Fatal(err)
	}
}

func TestFindReplacement(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Nix")
	}
	t.Setenv("MORPH_NIX_EVAL_CMD", "no-such-program")
	if _, err := Find(context.Background(), Settings{}); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "my eval")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho '\"mine\"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MORPH_NIX_EVAL_CMD", script)
	tool, err := Find(context.Background(), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := tool.Eval(context.Background(), Evaluation{Expr: "1"}); err != nil || string(out) != `"mine"` {
		t.Fatal(string(out), err)
	}
}

func TestConfig(t *testing.T) {
	ctx := context.Background()
	c, err := evalTool(t, Settings{}).Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c.System == "" || !c.Builds(c.System) || c.Builds("riscv64-linux") || c.StoreDir != "/nix/store" || len(c.Substituters) != 0 {
		t.Errorf("%+v", c)
	}
	mac, err := evalTool(t, Settings{Options: [][2]string{{"system", "aarch64-darwin"}, {"extra-platforms", ""}}}).Config(ctx)
	if err != nil || mac.System != "aarch64-darwin" || mac.Builds("aarch64-linux") || mac.Builds("i686-linux") {
		t.Errorf("%+v, %v", mac, err)
	}
	tool := evalTool(t, Settings{}).With(nil) // asks in the environment that follows
	t.Setenv("NIX_CONFIG", "system = x86_64-darwin\nmax-jobs = 7\nextra-substituters = https://a.example https://b.example")
	mac, err = tool.Config(ctx)
	if err != nil || mac.System != "x86_64-darwin" || mac.MaxJobs != 7 || !slices.Contains(mac.Substituters, "https://b.example") {
		t.Errorf("%+v, %v", mac, err)
	}
	// Options win over NIX_CONFIG; With asks anew.
	mac, err = tool.With([][2]string{{"system", "aarch64-darwin"}}).Config(ctx)
	if err != nil || mac.System != "aarch64-darwin" {
		t.Errorf("%+v, %v", mac, err)
	}
}

func TestParseConfig(t *testing.T) {
	// Nix 2.26 (`nix config show --json`), shortened.
	c, err := parseConfig([]byte(`{"system":{"value":"aarch64-darwin"},"extra-platforms":{"value":["x86_64-darwin"]},
		"max-jobs":{"value":10},"cores":{"value":0},"sandbox":{"value":"relaxed"},"builders":{"value":"@/etc/nix/machines"},
		"system-features":{"value":["apple-virt","big-parallel"]},"substituters":{"value":["https://cache.nixos.org/"]},
		"eval-system":{"value":""},"impure-env":{"value":{}},"trusted-users":{"value":["root"]},"builders-use-substitutes":{"value":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.System != "aarch64-darwin" || !c.Builds("x86_64-darwin") || c.MaxJobs != 10 || c.Sandbox != "relaxed" || !c.BuildersUseSubst {
		t.Errorf("%+v", c)
	}
	if v, ok := c.Get("eval-system"); v != "" || !ok {
		t.Error("eval-system")
	}
}

func TestCurrentSystem(t *testing.T) {
	ctx := context.Background()
	for _, tool := range []*Tool{evalTool(t, Settings{}), evalTool(t, Settings{Options: [][2]string{{"system", "aarch64-darwin"}}})} {
		args, err := tool.SystemOption(ctx, "riscv64-linux")
		if err != nil {
			t.Fatal(err)
		}
		out, err := tool.Eval(ctx, Evaluation{Expr: "builtins.currentSystem", Args: args})
		if err != nil || string(out) != `"riscv64-linux"` {
			t.Error(string(out), err)
		}
		c, _ := tool.Config(ctx)
		if args, err := tool.SystemOption(ctx, c.System); err != nil || args != nil {
			t.Error(args, err)
		}
	}
}

func TestQuote(t *testing.T) {
	tool := evalTool(t, Settings{})
	odd := "a b\t\"q\" \\n ${x} $${y} ''é☃ \n#\x01 `'"
	out, err := tool.Eval(context.Background(), Evaluation{Expr: Quote(odd)})
	var back string
	if err != nil || json.Unmarshal(out, &back) != nil || back != odd {
		t.Errorf("%q %v", out, err)
	}
	expr, _ := QuoteJSON(map[string]any{"k": []string{odd}})
	out, err = tool.Eval(context.Background(), Evaluation{Expr: expr})
	var m map[string][]string
	if err != nil || json.Unmarshal(out, &m) != nil || m["k"][0] != odd {
		t.Errorf("%q %v", out, err)
	}
	dir := filepath.Join(t.TempDir(), `it's a "path" ${x} #1 ☃`)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x.nix")
	if err := os.WriteFile(file, []byte("41 + 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err = tool.Eval(context.Background(), Evaluation{Expr: "import " + QuotePath(file)})
	if err != nil || string(out) != "42" {
		t.Errorf("%q %v", out, err)
	}
}

// A name that fails, in whatever way, fails alone; the others keep their values.
func TestEvalEach(t *testing.T) {
	tool := evalTool(t, Settings{})
	bad := filepath.Join(t.TempDir(), "bad.nix")
	if err := os.WriteFile(bad, []byte("{ a = ; }"), 0o644); err != nil {
		t.Fatal(err)
	}
	failing := map[string]string{
		"throw":   `throw "boom"`,
		"abort":   `abort "no more"`,
		"assert":  `assert 1 == 2; 1`,
		"missing": `{ hello = 1; }.helo`,
		"type":    `1 + "a"`,
		"loop":    `let x = x; in x`,
		"syntax":  `import ` + QuotePath(bad),
		"file":    `import ` + QuotePath(bad+"x"),
		"call":    `1 2`,
		"json":    `(x: x)`,
		"deep":    `{ a = [ { b = throw "deep"; } ]; }`,
	}
	var expr strings.Builder
	expr.WriteString("name: { \n")
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("ok%d", i))
	}
	for n, e := range failing {
		fmt.Fprintf(&expr, "%s = %s;\n", Quote(n), e)
		names = append(names, n)
	}
	slices.Sort(names)
	expr.WriteString("}.${name} or { value = builtins.trace \"of ${name}\" name; }")
	for _, workers := range []int{0, 1, 3, 64} {
		got, failed := map[string]string{}, map[string]error{}
		var mu sync.Mutex
		events := map[string][]event.Kind{}
		logged := map[string]bool{}
		err := tool.EvalEach(context.Background(), Each{
			Names: names, Expr: expr.String(), Workers: workers,
			Sink: event.SinkFunc(func(e event.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Kind == event.Log && e.Text == "trace: of "+e.Host {
					logged[e.Host] = true
				} else {
					events[e.Host] = append(events[e.Host], e.Kind)
				}
			}),
			Got: func(name string, v json.RawMessage) error {
				var r struct{ Value string }
				if err := json.Unmarshal(v, &r); err != nil || got[name] != "" {
					t.Errorf("%s: %s %v %q", name, v, err, got[name])
				}
				got[name] = r.Value
				return nil
			},
			Failed: func(name string, err error) { failed[name] = err },
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			last := events[n][len(events[n])-1]
			if failing[n] == "" {
				if got[n] != n || last != event.Done || !logged[n] {
					t.Errorf("%d workers: %s gave %q, %v, logged %t", workers, n, got[n], events[n], logged[n])
				}
				continue
			}
			if failed[n] == nil || last != event.Failed || len(events[n]) != 2 {
				t.Errorf("%d workers: %s: %v %v", workers, n, failed[n], events[n])
				continue
			}
			var f *fault.Error
			if !errors.As(failed[n], &f) || f.Host != n {
				t.Errorf("%s: %v", n, failed[n])
			}
		}
		if len(got)+len(failed) != len(names) {
			t.Errorf("%d + %d", len(got), len(failed))
		}
	}
}

func TestEvalEachBroken(t *testing.T) {
	tool := evalTool(t, Settings{})
	names := []string{"a", "b", "c", "d"}
	err := tool.EvalEach(context.Background(), Each{Names: names, Expr: "name: undefinedThing", Got: func(string, json.RawMessage) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "undefinedThing") {
		t.Error(err)
	}
	mine := errors.New("mine")
	err = tool.EvalEach(context.Background(), Each{Names: names, Expr: "name: 1", Got: func(string, json.RawMessage) error { return mine }})
	if !errors.Is(err, mine) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	start := time.Now()
	err = tool.EvalEach(ctx, Each{Names: names, Expr: "name: let f = n: if n == 0 then 0 else f (n - 1) + f (n - 1); in f 60", Got: func(string, json.RawMessage) error { return nil }})
	if !errors.Is(err, context.Canceled) || time.Since(start) > 30*time.Second {
		t.Error(err, time.Since(start))
	}
}

// Names with different systems are evaluated with those; a slow piece is shared.
func TestEvalEachSystems(t *testing.T) {
	tool := evalTool(t, Settings{})
	var names []string
	for i := range 9 {
		names = append(names, fmt.Sprint(i))
	}
	err := tool.EvalEach(context.Background(), Each{
		Names: names, Expr: "name: builtins.currentSystem", Workers: 2,
		System: func(n string) string {
			if n < "4" {
				return "aarch64-linux"
			}
			return "riscv64-linux"
		},
		Got: func(name string, v json.RawMessage) error {
			if want := map[bool]string{true: `"aarch64-linux"`, false: `"riscv64-linux"`}[name < "4"]; string(v) != want {
				t.Errorf("%s: %s", name, v)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		hosts, limit int
		m            machine
		workers      int
		heap         bool
	}{
		{10, 0, machine{2, 20 << 30}, 2, true},
		{1, 0, machine{8, 20 << 30}, 1, true},
		{10, 0, machine{8, 3 << 30}, 3, false},
		{10, 0, machine{8, 100 << 20}, 1, false},
		{10, 0, machine{8, 0}, 8, false},
		{10, 1, machine{8, 64 << 30}, 1, true},
	} {
		most, w, heap := plan(c.hosts, c.limit, c.m)
		if want := min(c.m.cores, c.hosts); c.limit == 0 && most != want {
			t.Errorf("%+v: at most %d workers", c, most)
		}
		if w != c.workers || heap > 0 != c.heap || uint64(w)*heap > c.m.free/4 && heap > 0 {
			t.Errorf("%+v: %d workers, heap %d", c, w, heap)
		}
	}
}

func TestFreeMemory(t *testing.T) {
	if got := parseMeminfo([]byte("MemTotal: 100 kB\nMemAvailable:    2048 kB\n")); got != 2<<20 {
		t.Error(got)
	}
	vm := "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:                               10.\n" +
		"Pages active:                             99.\nPages inactive:                           5.\nPages speculative:                        1.\nPages purgeable: 0.\n"
	if got := parseVMStat([]byte(vm)); got != 16*16384 {
		t.Error(got)
	}
}

func TestResultDir(t *testing.T) {
	tool := evalTool(t, Settings{})
	ctx := context.Background()
	links := map[string]string{"a": "/nix/store/does-not-exist-a", "b.example.org": "/nix/store/does-not-exist-b", "c/out": "/nix/store/x"}
	one, err := tool.ResultDir(ctx, links)
	if err != nil {
		t.Fatal(err)
	}
	two, err := tool.ResultDir(ctx, links)
	if err != nil || one != two || !strings.HasSuffix(one, "-godwit") {
		t.Error(one, two, err)
	}
	for name, want := range links {
		if got, err := os.Readlink(filepath.Join(one, name)); got != want {
			t.Error(name, got, err)
		}
	}
	if _, err := tool.ResultDir(ctx, map[string]string{"../x": "/"}); err == nil {
		t.Error("a link outside")
	}
}

// A run that begins on a guess: nothing is evaluated before Lead agrees, and
// nothing at all when it does not.
func TestEvalEachLead(t *testing.T) {
	tool := evalTool(t, Settings{})
	names := []string{"a", "b", "c", "d", "e"}
	const expr = `{ lead = { is = 6 * 7; }; each = name: if name == "c" then throw "boom" else name; }`
	for _, workers := range []int{1, 2, 8} {
		var mu sync.Mutex
		led, begun := "", 0
		var got, failed []string
		err := tool.EvalEach(context.Background(), Each{
			Names: names, Expr: expr, Workers: workers,
			Lead: func(v json.RawMessage) error {
				led += string(v)
				mu.Lock()
				defer mu.Unlock()
				if begun > 0 {
					t.Error("a host was begun before")
				}
				return nil
			},
			Sink: event.SinkFunc(func(e event.Event) {
				mu.Lock()
				defer mu.Unlock()
				begun++
			}),
			Got:    func(name string, _ json.RawMessage) error { got = append(got, name); return nil },
			Failed: func(name string, err error) { failed = append(failed, name) },
		})
		slices.Sort(got)
		if err != nil || led != `{"is":42}` || strings.Join(got, "") != "abde" || strings.Join(failed, "") != "c" {
			t.Errorf("%d workers: lead %s, got %v, failed %v, %v", workers, led, got, failed, err)
		}
	}
	mine := errors.New("mine")
	for expr, want := range map[string]string{
		expr: "mine",
		`{ lead = 1; each = name: let f = n: if n == 0 then 0 else f (n - 1) + f (n - 1); in f 60; }`: "mine",
		`{ lead = throw "no lead"; each = name: name; }`:                                              "no lead",
		`{ each = name: name; }`: "attribute 'lead' missing",
	} {
		start := time.Now()
		err := tool.EvalEach(context.Background(), Each{
			Names: names, Expr: expr, Workers: 2,
			Lead:   func(json.RawMessage) error { return mine },
			Got:    func(name string, _ json.RawMessage) error { t.Errorf("got %s", name); return nil },
			Failed: func(name string, err error) { t.Errorf("%s failed: %v", name, err) },
		})
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, mine) != (want == "mine") {
			t.Errorf("%s: %v", expr, err)
		}
		if took := time.Since(start); took > 20*time.Second { // it would compute for ever
			t.Errorf("%s: ended after %s", expr, took)
		}
	}
}
