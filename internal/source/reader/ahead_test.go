package reader_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/source/morph"
	"godwit/internal/source/reader"
	"godwit/internal/source/sourcetest"
)

// network makes a deployment file of morph's, the dialect that these tests read.
func network(t testing.TB, text string) string {
	t.Helper()
	return filepath.Join(sourcetest.Write(t, map[string]string{"network.nix": text}), "network.nix")
}

// What Open begins on a guess gives what an evaluation without one gives, and is
// thrown away where the guess was wrong.
func TestAhead(t *testing.T) {
	tl := sourcetest.Tool(t, "")
	memory := t.TempDir()
	const first = `{
	  network.ordering.tags = [ "x" ]; network.description = "DESCRIPTION";
	  a = { deployment.tags = [ "NUMBER" ]; }; b = { deployment.tags = [ "x" ] ++ (builtins.fromJSON (builtins.getEnv "MORPH_ARGS")).Names; }; c = throw "boom"; d = { }; }`
	file := network(t, first)
	for _, c := range []struct {
		name  string
		edit  func(string) string // of the file, for good
		sel   fleet.Selection
		ahead bool
	}{
		{name: "nothing is known"},
		{name: "the same", ahead: true},
		{name: "another selection", sel: fleet.Selection{On: []string{"[ab]"}}, ahead: true},
		{name: "of one tag", sel: fleet.Selection{Tagged: []string{"x"}}, ahead: true},
		{name: "places by tags", sel: fleet.Selection{Limit: 2}},
		{name: "no such host", sel: fleet.Selection{On: []string{"nobody"}}},
		{name: "other words", edit: func(s string) string { return strings.Replace(s, "DESCRIPTION", "new", 1) }, ahead: true},
		{name: "another configuration", edit: func(s string) string { return strings.Replace(s, "NUMBER", "x", 1) }, ahead: true},
		{name: "a new host", edit: func(s string) string { return strings.Replace(s, "a = {", "aa = { }; a = {", 1) }},
		{name: "the new host", ahead: true},
		{name: "a host less", edit: func(s string) string { return strings.Replace(s, "d = { };", "", 1) }},
		{name: "other ordering", edit: func(s string) string { return strings.Replace(s, `[ "x" ];`, `[ "y" ];`, 1) }},
		{name: "the other ordering", ahead: true},
		{name: "a wrong setting", edit: func(s string) string {
			return strings.Replace(s, "network.description", "network.godwit.nonsense = 1; network.description", 1)
		}},
		{name: "right again", edit: func(s string) string { return strings.Replace(s, "network.godwit.nonsense = 1;", "", 1) }, ahead: true},
		{name: "broken", edit: func(s string) string { return s + "}" }},
		{name: "mended", edit: func(s string) string { return strings.TrimSuffix(s, "}") }, ahead: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.edit != nil {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				edited := c.edit(string(text))
				if edited == string(text) {
					t.Fatal("nothing was edited")
				}
				if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c.sel.Every = 1
			request := source.Request{Selection: c.sel, Outputs: true}
			run := func(opts source.Options) (got string, ahead bool) {
				n, err := reader.Open(context.Background(), tl, morph.Dialect, source.Location{File: file}, opts)
				if err != nil {
					return err.Error(), false
				}
				ahead = reader.Began(n) != nil
				res, err := n.Load(context.Background(), request)
				if err != nil {
					return err.Error(), ahead
				}
				return fmt.Sprintf("%+v\n%+v\n%v\n%v", res.Fleet, res.Counts, sourcetest.Failures(res), n.About().Names), ahead
			}
			want, _ := run(source.Options{})
			var named []string
			got, ahead := run(source.Options{Ahead: &request, Memory: memory, Named: func(names []string) { named = names }})
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if ahead != c.ahead {
				t.Errorf("began on a guess: %t", ahead)
			}
			if strings.Contains(want, "&{") && !strings.HasSuffix(want, fmt.Sprint(named)) {
				t.Errorf("%s: named %v", want, named)
			}
		})
	}
}

// A machine that builds for something else since the last run.
func TestAheadOfAnotherSystem(t *testing.T) {
	memory := t.TempDir()
	file := network(t, `{ a = { environment.etc.here.text = builtins.currentSystem; }; }`)
	request := source.Request{Selection: fleet.Selection{Every: 1}, Outputs: true}
	systems := map[string]bool{}
	for i, system := range []string{"x86_64-linux", "x86_64-linux", "aarch64-darwin", "aarch64-darwin", "aarch64-linux"} {
		tl := sourcetest.Tool(t, system)
		n := sourcetest.Open(t, tl, morph.Dialect, source.Location{File: file}, source.Options{Ahead: &request, Memory: memory})
		if began := reader.Began(n) != nil; began != (i == 1 || i == 3) {
			t.Errorf("%d: began on a guess: %t", i, began)
		}
		h := sourcetest.Good(t, sourcetest.Load(t, n, request))
		systems[h[0].Platform.Name+" "+h[0].Main().Drv] = true
		want := sourcetest.Good(t, sourcetest.Load(t, sourcetest.Open(t, tl, morph.Dialect, source.Location{File: file}, source.Options{}), request))
		if !reflect.DeepEqual(h, want) {
			t.Errorf("%d: got %+v, want %+v", i, h, want)
		}
	}
	// A Mac's hosts and those of an ARM machine are the same.
	if len(systems) != 2 {
		t.Error(systems)
	}
}

// What was begun ends with the run, and the events of a guess are those of any run.
func TestAheadEvents(t *testing.T) {
	tl := sourcetest.Tool(t, "")
	memory := t.TempDir()
	file := network(t, `{ a = { }; b = { }; }`)
	request := source.Request{Selection: fleet.Selection{Every: 1}, Outputs: true}
	runs := make([]map[string]int, 3)
	for i := range runs {
		if i == 2 { // another guess is wrong
			if err := os.WriteFile(file, []byte(`{ a = { }; b = { }; c = { }; }`), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]int{}
		n := sourcetest.Open(t, tl, morph.Dialect, source.Location{File: file}, source.Options{Ahead: &request, Memory: memory, Sink: event.SinkFunc(func(e event.Event) {
			if e.Kind == event.Started || e.Kind == event.Done || e.Kind == event.Failed {
				seen[e.Host+" "+string(e.Kind)]++
			}
		})})
		sourcetest.Load(t, n, request)
		runs[i] = seen
	}
	want := map[string]int{" started": 1, " done": 1, "a started": 1, "a done": 1, "b started": 1, "b done": 1}
	if !reflect.DeepEqual(runs[0], want) || !reflect.DeepEqual(runs[1], want) {
		t.Errorf("%v, %v", runs[0], runs[1])
	}
	want["c started"], want["c done"] = 1, 1
	if !reflect.DeepEqual(runs[2], want) {
		t.Errorf("%v", runs[2])
	}

	ctx, cancel := context.WithCancel(context.Background())
	n, err := reader.Open(ctx, tl, morph.Dialect, source.Location{File: file}, source.Options{Ahead: &request, Memory: memory})
	if err != nil || reader.Began(n) == nil {
		t.Fatal(n, err)
	}
	begun := reader.Began(n)
	cancel()
	if _, err := n.Load(ctx, request); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-begun
}

func TestMemoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range reader.Memories + 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reader.Forget(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != reader.Memories-1 {
		t.Error(len(left), err)
	}
}

// TestRemembered: names are known without Nix after a run, and of its last one.
func TestRemembered(t *testing.T) {
	memory := t.TempDir()
	tl := sourcetest.Tool(t, "x86_64-linux")
	request := source.Request{Selection: fleet.Selection{Every: 1}}
	file := network(t, `{ a = { }; b = { }; }`)
	if got := reader.Remembered(memory, source.Location{File: file}); got != nil {
		t.Errorf("before any run: %q", got)
	}
	sourcetest.Open(t, tl, morph.Dialect, source.Location{File: file}, source.Options{Ahead: &request, Memory: memory})
	if got := reader.Remembered(memory, source.Location{File: file}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(file, []byte(`{ a = { }; c = { }; }`), 0o644); err != nil {
		t.Fatal(err)
	}
	sourcetest.Open(t, tl, morph.Dialect, source.Location{File: file}, source.Options{Ahead: &request, Memory: memory})
	if got := reader.Remembered(memory, source.Location{File: file}); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("%q", got)
	}
	if got := reader.Remembered(memory, source.Location{File: network(t, `{ }`)}); got != nil {
		t.Errorf("of another file: %q", got)
	}
}
