package morph

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/nix/nixtest"
	"godwit/internal/source"
	"godwit/internal/source/reader"
	"godwit/internal/source/sourcetest"
)

// TestReuse: what was evaluated is taken again only where an evaluation would give the
// same. Each row reads something in one way; it is changed, and it is tried to fool the
// cache into what it was before.
func TestReuse(t *testing.T) {
	found := sourcetest.Tool(t, "")
	nixpkgs := sourcetest.Nixpkgs(t)
	for _, c := range []struct {
		name string
		tag  string // an expression that gives a text; OUT is a directory outside of the tree
		// change changes what it gives; in the tree, and outside.
		change func(w reuse)
		// blame is what --explain-cache says; then nothing is ever taken again.
		blame string
	}{
		{name: "file", tag: `builtins.readFile ./x`, change: func(w reuse) { w.sameTime("repo/x", "2") }},
		{name: "import", tag: `import ./sub`, change: func(w reuse) { w.sameTime("repo/sub/default.nix", `"2"`) }},
		{name: "names", tag: `toString (builtins.attrNames (builtins.readDir ./sub))`, change: func(w reuse) { w.write("repo/sub/new", "") }},
		{name: "copy", tag: `"${./sub}"`, change: func(w reuse) { w.write("repo/sub/new", "") }},
		{name: "mode", tag: `"${./x}"`, change: func(w reuse) { w.must(os.Chmod(w.path("repo/x"), 0o755)) }},
		{name: "new file", tag: `if builtins.pathExists ./y then "y" else "n"`, change: func(w reuse) { w.write("repo/y", "") }},
		{name: "new file at the top", tag: `if builtins.pathExists ./top then "y" else "n"`, change: func(w reuse) { w.write("repo/top", "") }},
		{name: "link", tag: `builtins.readFile ./link`, change: func(w reuse) { w.must(os.Remove(w.path("repo/link")), os.Symlink("y", w.path("repo/link"))) }},

		{name: "link to a link", tag: `builtins.readFile ./a-link`, change: func(w reuse) { w.sameTime("repo/x", "2") }},

		{name: "file outside", tag: `builtins.readFile (OUT + "/x")`, change: func(w reuse) { w.sameTime("out/x", "2") }},
		{name: "import outside", tag: `import ../out/sub`, change: func(w reuse) { w.sameTime("out/sub/default.nix", `"2"`) }},
		{name: "names outside", tag: `toString (builtins.attrNames (builtins.readDir OUT))`, change: func(w reuse) { w.write("out/new", "") }},
		{name: "copy outside", tag: `"${OUT + "/sub"}"`, change: func(w reuse) { w.write("out/sub/new", "") }},
		{name: "path outside", tag: `"${builtins.path { path = OUT; name = "n"; }}"`, change: func(w reuse) { w.write("out/sub/new", "") }},
		{name: "hash outside", tag: `builtins.hashFile "sha256" (OUT + "/x")`, change: func(w reuse) { w.sameTime("out/x", "2") }},
		{name: "filter outside", tag: `"${builtins.filterSource (_: _: true) OUT}"`, change: func(w reuse) { w.write("out/sub/new", "") }},
		{name: "absent outside", tag: `if builtins.pathExists (OUT + "/y") then "y" else "n"`, change: func(w reuse) { w.write("out/y", "") }},
		{name: "absent outside, under another name", tag: `(with builtins; let f = scopedImport { } ./exists.nix; in f OUT)`, change: func(w reuse) { w.write("out/y", "") }},
		{name: "absent outside, by a library", tag: `if (import <nixpkgs/lib>).sources.pathIsDirectory (OUT + "/y") then "y" else "n"`, change: func(w reuse) { w.write("out/y/z", "") }},
		{name: "there outside", tag: `if builtins.pathExists (OUT + "/x") then "y" else "n"`, change: func(w reuse) { w.must(os.Remove(w.path("out/x"))) }},
		{name: "search path", tag: `import <more>`, change: func(w reuse) { w.sameTime("more/default.nix", `"2"`) }},
		{name: "other search path", tag: `import <more>`, change: func(w reuse) {
			w.write("other/default.nix", `"2"`)
			w.Setenv("NIX_PATH", "nixpkgs="+nixpkgs+":more="+w.path("other")+":linked="+w.path("c-link/inner"))
		}},
		{name: "the search path itself", tag: `toString (map (e: e.prefix) builtins.nixPath)`, change: func(w reuse) {
			w.Setenv("NIX_PATH", "nixpkgs="+nixpkgs+":more="+w.path("more")+":new="+w.path("out"))
		}},

		{name: "search path over links", tag: `import <linked/sub>`, change: func(w reuse) { w.sameTime("out/sub/default.nix", `"2"`) }},
		{name: "link of the search path", tag: `"${builtins.path { name = "n"; path = (builtins.head (builtins.filter (e: e.prefix == "linked") builtins.nixPath)).path + "/sub"; }}"`, change: func(w reuse) {
			w.must(os.Remove(w.path("b-link")), os.Symlink("more", w.path("b-link")))
			w.write("more/sub/default.nix", "3")
		}},

		{name: "variable", tag: `builtins.getEnv "ZED"`, change: func(w reuse) { w.Setenv("ZED", "2") }},
		{name: "variable that is set", tag: `"x" + builtins.getEnv "SET"`, change: func(w reuse) { w.Setenv("SET", "") }},
		{name: "variable by a made name", tag: `builtins.getEnv ("Z" + "ED")`, change: func(w reuse) { w.Setenv("ZED", "2") }},
		{name: "variable by an old name", tag: `__getEnv "ZED"`, change: func(w reuse) { w.Setenv("ZED", "2") }},
		{name: "variable behind builtins", tag: `builtins.builtins.builtins.getEnv "ZED"`, change: func(w reuse) { w.Setenv("ZED", "2") }},
		{name: "variable in another file", tag: `(import ./env.nix) "ZED"`, change: func(w reuse) { w.Setenv("ZED", "2") }},

		{name: "time", tag: `toString (builtins.currentTime - builtins.currentTime)`, blame: "network.nix:3: reads the current time"},
		{name: "time, caught", tag: `toString (builtins.tryEval (__currentTime * 0)).value`, blame: "network.nix:3: reads the current time"},
		{name: "fetch without hash", tag: `import (builtins.fetchTarball "file://OUTDIR/a.tar.gz")`, blame: "network.nix:3: reads fetchTarball without sha256"},
		{name: "git", tag: `builtins.readFile ./.git/HEAD`, blame: "network.nix:3: reads "},
		{name: "all of the tree", tag: `"${./.}"`, blame: "network.nix:3: reads "},
		{name: "all of the tree, by path", tag: `builtins.path { name = "n"; path = ./.; }`, blame: "network.nix:3: reads "},
		{name: "all of the tree, filtered", tag: `"${builtins.filterSource (_: _: true) ./.}"`, blame: "network.nix:3: reads "},
		{name: "all of the tree, as JSON", tag: `builtins.toJSON ./.`, blame: "network.nix:3: reads "},
		{name: "all of the tree, of a derivation", tag: `(derivation { name = "n"; system = "s"; builder = "b"; src = ./.; }).drvPath`, blame: "network.nix:3: reads "},
		{name: "names in the tree", tag: `toString (builtins.attrNames (builtins.readDir ./.))`, blame: "network.nix:3: reads "},
		{name: "names above the tree", tag: `toString (builtins.attrNames (builtins.readDir ../.))`, blame: "network.nix:3: reads "},
		{name: "names above the tree, by another name", tag: `toString (builtins.attrNames (__readDir "${toString ./sub}/../../"))`, blame: "reads "},
		{name: "all above the tree", tag: `"${../.}"`, blame: "network.nix:3: reads "},
		{name: "names above a file outside", tag: `builtins.readFile (OUT + "/x") + toString (builtins.attrNames (builtins.readDir OUT))`, change: func(w reuse) { w.write("out/new", "") }},
		{name: "all above a file outside", tag: `builtins.readFile (OUT + "/x") + "${OUT}"`, change: func(w reuse) { w.write("out/new", "") }},
		{name: "absent search path of its own", tag: `toString (builtins.readFile (builtins.findFile [ { prefix = ""; path = toString (OUT + "/y"); } { prefix = ""; path = toString ./sub; } ] "default.nix"))`, change: func(w reuse) { w.write("out/y/default.nix", "2") }},
		{name: "search path of its own", tag: `builtins.readFile (builtins.findFile [ { prefix = ""; path = toString (OUT + "/sub"); } ] "default.nix")`, change: func(w reuse) { w.sameTime("out/sub/default.nix", `"2"`) }},
		{name: "search path above", tag: `builtins.readFile (builtins.findFile [ { prefix = ""; path = toString ../.; } ] "out/x")`, blame: "network.nix:3: reads "},
		{name: "process", tag: `builtins.substring 0 5 (builtins.readFile /proc/version)`, blame: "network.nix:3: reads /proc"},
		{name: "link at the top that leads elsewhere", tag: `builtins.readFile ./link2`, change: func(w reuse) { w.sameTime("out/x", "2") }},
		{name: "link out of the tree", tag: `builtins.readFile ./sub/out`, blame: "the symbolic link "},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reuse{t, t.TempDir()}
			t.Setenv("NIX_PATH", "nixpkgs="+nixpkgs+":more="+w.path("more")+":linked="+w.path("c-link/inner"))
			t.Setenv("SET", "1")
			tag := strings.NewReplacer("OUTDIR", w.path("out"), "OUT", "(/. + "+nix.Quote(w.path("out"))+")").Replace(c.tag)
			for name, text := range map[string]string{
				"repo/x": "1", "repo/sub/default.nix": `"1"`, "out/x": "1", "out/sub/default.nix": `"1"`, "more/default.nix": `"1"`,
				"repo/exists.nix": `out: if builtins.pathExists (out + "/y") then "y" else "n"`, "repo/env.nix": "builtins.getEnv", "repo/.git/HEAD": "1", "src/default.nix": `"1"`,
				"repo/network.nix": "{\n  web = { ... }: { nixpkgs.hostPlatform = \"x86_64-linux\"; deployment.tags = [ (\n" + tag + "\n) ]; };\n}\n",
			} {
				w.write(name, text)
			}
			w.must(os.Symlink("x", w.path("repo/link")), os.Symlink("link", w.path("repo/a-link")), os.Symlink("out", w.path("b-link")), os.Mkdir(w.path("dir"), 0o755),
				os.Symlink("../b-link", w.path("dir/inner")), os.Symlink("dir", w.path("c-link")), os.Symlink("../out/x", w.path("repo/link2")))
			w.write("repo/y", "why")
			if strings.Contains(c.tag, "y") && !strings.Contains(c.tag, "link") || strings.Contains(c.tag, "scoped") {
				w.must(os.Remove(w.path("repo/y")))
			}
			if strings.Contains(c.name, "link out") {
				w.must(os.Symlink("../../out/x", w.path("repo/sub/out")))
			}
			if out, err := exec.Command("tar", "-czf", w.path("out/a.tar.gz"), "-C", w.dir, "src").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}

			cache := t.TempDir()
			tool := found.With(nil) // it asks for its settings anew: the environment is another
			// The first evaluation is Nix's own, and tells which files there are; the first that is
			// watched finds out about what is outside of the tree.
			first, evaluated, said := w.run(tool, cache)
			for i := 0; i < 3 && evaluated && (c.blame == "" || i < 1); i++ {
				var got string
				if got, evaluated, said = w.run(tool, cache); got != first {
					t.Fatalf("it is %q, and was %q", got, first)
				}
			}
			if c.blame != "" {
				if !evaluated || !strings.Contains(said, "results are not kept: ") || !strings.Contains(said, c.blame) {
					t.Errorf("evaluated %t, want %q:\n%s", evaluated, c.blame, said)
				}
				return
			}
			if evaluated || !strings.Contains(said, "1 host as evaluated before: nothing that they read has changed") {
				t.Fatalf("it is evaluated each time:\n%s", said)
			}
			c.change(reuse{t, w.dir})
			tool = found.With(nil)
			want, _, _ := w.run(tool, "")
			if want == first {
				t.Fatal("the change changes nothing")
			}
			if got, evaluated, said := w.run(tool, cache); got != want || !evaluated {
				t.Errorf("it is %q, evaluated %t, want %q:\n%s", got, evaluated, want, said)
			}
		})
	}
}

// reuse is a repository and what is around it.
type reuse struct {
	*testing.T
	dir string
}

func (w reuse) path(name string) string { return filepath.Join(w.dir, name) }

func (w reuse) must(errs ...error) {
	w.Helper()
	for _, err := range errs {
		if err != nil {
			w.Fatal(err)
		}
	}
}

func (w reuse) write(name, text string) {
	w.Helper()
	sourcetest.WriteIn(w, w.dir, map[string]string{name: text})
}

// sameTime changes a file and nothing that a listing shows.
func (w reuse) sameTime(name, text string) {
	w.Helper()
	st, err := os.Stat(w.path(name))
	w.must(err)
	w.write(name, text)
	w.must(os.Chtimes(w.path(name), time.Time{}, st.ModTime()))
}

// run gives the tags, whether hosts were evaluated, and what was said.
func (w reuse) run(tool *nix.Tool, cache string) (tags string, evaluated bool, said string) {
	w.Helper()
	o := source.Options{Cache: cache, ExplainCache: true}
	o.Sink = event.SinkFunc(func(e event.Event) {
		said += fmt.Sprintf("%s %s\n", e.Text, e.Error)
		evaluated = evaluated || e.Host != "" && e.Kind == event.Started
	})
	s, err := reader.Open(context.Background(), tool, Dialect, source.Location{File: w.path("repo/network.nix")}, o)
	if err != nil {
		w.Fatal(fault.Render(err))
	}
	for _, h := range sourcetest.Good(w, sourcetest.Load(w, s, source.Request{})) {
		tags += strings.Join(h.Tags, " ")
	}
	return tags, evaluated, said
}

// TestReuseDerivations: what was collected meanwhile is evaluated again, and nothing is
// said of that; other settings, and another release of a file that is imported by an
// option, are other evaluations.
func TestReuseDerivations(t *testing.T) {
	tool := sourcetest.Tool(t, "")
	w := reuse{t, t.TempDir()}
	w.write("repo/network.nix", `{ web = { ... }: { nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; environment.etc.reuse.text = "`+w.dir+`"; };
  db = { ... }: { nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; deployment.secrets.key = { source = "x"; destination = "/x"; }; }; }`)
	run := func(settings nix.Settings) (drv string, evaluated []string, said string) {
		t.Helper()
		tool, err := nix.Find(context.Background(), settings)
		if err != nil {
			t.Fatal(fault.Render(err))
		}
		o := source.Options{ExplainCache: true, Cache: w.path("cache"), Memory: w.path("memory"), Ahead: &source.Request{Outputs: true}}
		o.Ahead.Selection.Every = 1
		o.Sink = event.SinkFunc(func(e event.Event) {
			said += e.Text + "\n"
			if e.Host != "" && e.Kind == event.Started {
				evaluated = append(evaluated, e.Host)
			}
		})
		s := sourcetest.Open(t, tool, Dialect, source.Location{File: w.path("repo/network.nix")}, o)
		hosts := sourcetest.Good(t, sourcetest.Load(t, s, *o.Ahead))
		return hosts[len(hosts)-1].Main().Drv, evaluated, said
	}
	drv, evaluated, said := run(nix.Settings{})
	if len(evaluated) != 2 {
		t.Fatalf("evaluated at first: %v\n%s", evaluated, said)
	}
	if !strings.Contains(said, "results are kept from the next evaluation on") {
		t.Errorf("at first: %s", said)
	}
	if again, evaluated, _ := run(nix.Settings{}); len(evaluated) != 2 || again != drv {
		t.Fatalf("watched: %s, evaluated %v", again, evaluated)
	}
	if again, evaluated, said := run(nix.Settings{}); len(evaluated) != 0 || again != drv || !strings.Contains(said, "2 hosts as evaluated before") {
		t.Errorf("again: %s, evaluated %v\n%s", again, evaluated, said)
	}
	if again, evaluated, _ := run(nix.Settings{Options: [][2]string{{"max-call-depth", "9999"}, {"cores", "1"}}}); len(evaluated) != 2 || again != drv {
		t.Errorf("with other settings: %s, evaluated %v", again, evaluated)
	}
	nixtest.Delete(t, drv, "--ignore-liveness")
	again, evaluated, said := run(nix.Settings{})
	if len(evaluated) == 0 || again != drv || strings.Contains(said, "collected") {
		t.Errorf("collected: %s, evaluated %v\n%s", again, evaluated, said)
	}
	if valid, err := tool.Valid(context.Background(), []string{drv}); err != nil || !valid[drv] {
		t.Errorf("%s is not there: %v", drv, err)
	}
}
