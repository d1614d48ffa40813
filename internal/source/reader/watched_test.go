package reader

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"godwit/internal/evalcache"
)

// watching is a watched evaluation of a tree with one file, without a Nix.
func watching(t *testing.T, text string) *watched {
	t.Helper()
	tree := t.TempDir()
	file := filepath.Join(tree, "network.nix")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &watched{
		tree: tree, file: filepath.Join(t.TempDir(), "known"), files: map[string]bool{file: true}, env: map[string]string{"HOME": "/home/ana"},
		seen: seen{Env: map[string]string{}, Exists: map[string]bool{}}, sum: "1", again: func() (string, error) { return "1", nil },
	}
}

// What an evaluation asked of this machine is told apart by its answer, now and later.
func TestSaw(t *testing.T) {
	w := watching(t, "{ }\n  x = builtins.pathExists ./there;\n")
	there := filepath.Join(w.tree, "there")
	for _, line := range []string{`env "HOME"`, `env "NONE"`, `exists {"path":"` + there + `","is":false}`, `exists {"path":"` + w.tree + `/.","is":true}`, "other thing", "env not JSON"} {
		if err := w.saw(line, w.environ([]string{"MORE=x"})); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if got := w.seen.Exists; !reflect.DeepEqual(got, map[string]bool{there: false, w.tree + "/.": true}) {
		t.Error(got)
	}
	if b, err := json.Marshal(w.seen); err != nil || strings.Contains(string(b), "ana") {
		t.Errorf("the value of a variable is kept: %s, %v", b, err)
	}
	if !w.seen.same(w.environ(nil)) || w.seen.same(w.environ([]string{"HOME=/root"})) || w.seen.same(w.environ([]string{"NONE=1"})) {
		t.Error("another environment is the same")
	}
	if err := os.WriteFile(there, nil, 0o600); err != nil || w.seen.same(w.env) {
		t.Error("a file that is there now is none", err)
	}
	for line, what := range map[string]string{
		`exists {"path":"/a/../b","is":true}`:         "not in its shortest form",
		`exists {"path":"relative","is":true}`:        "not in its shortest form",
		`exists {"path":"` + there + `","is":false}`:  "which is outside of",
		`exists {"path":"/nowhere/at all","is":true}`: "/nowhere/at all is there, which is outside of",
	} {
		w := watching(t, "{ }\n  x = builtins.pathExists ./there;\n")
		if strings.Contains(line, there) { // as it is not for who may not read it
			line = strings.ReplaceAll(line, there, w.tree)
		}
		if err := w.saw(line, w.env); !errors.Is(err, errUnwatched) || !strings.Contains(w.blame.String(), what) || !strings.Contains(w.blame.String(), "network.nix:2: ") {
			t.Errorf("%s: %v, %v", line, err, w.blame)
		}
	}
}

// What a watched evaluation may not read is blamed on the innermost line of the
// configuration's own.
func TestRefused(t *testing.T) {
	w := watching(t, "a\nb\n  c = readFile /etc/x;\n")
	file := filepath.Join(w.tree, "network.nix")
	if w.refused("error: undefined variable 'x'\n at " + file + ":1:2:") {
		t.Error("an error of the configuration's own is taken for a refusal")
	}
	said := "error:\n … while evaluating\n at " + file + ":1:2:\n … from call site\n at " + file + ":3:7:\n at /nix/store/x/lib.nix:9:9:\nerror: access to absolute path '/etc/x' is forbidden in restricted mode"
	if !w.refused(said) || w.blame.Line != 3 || w.blame.File != file || !strings.Contains(w.blame.What, "reads /etc/x, which is outside of "+w.tree) {
		t.Errorf("%+v", w.blame)
	}
	// It is watched from now on, so nobody is to blame for good.
	if !w.blame.again || w.blame.stands() || !reflect.DeepEqual(w.known.More, []string{"/etc/x"}) {
		t.Errorf("%+v %v", w.blame, w.known.More)
	}
	w.remember(t.TempDir())
	var k known
	if b, err := os.ReadFile(w.file); err != nil || json.Unmarshal(b, &k) != nil || k.Blame != nil || len(k.Files) != 1 || len(k.More) != 1 {
		t.Errorf("%+v, %v", k, err)
	}
	// A fetch cannot be watched: the line is to blame as long as it stands.
	w = watching(t, "x = fetchTarball https://example.org/a;\n")
	file = filepath.Join(w.tree, "network.nix")
	if !w.refused("error: access to URI 'https://example.org/a' is forbidden in restricted mode\n at "+file+":1:5:") || !w.blame.stands() {
		t.Errorf("%+v", w.blame)
	}
	if err := os.WriteFile(file, []byte("x = 1;\n"), 0o600); err != nil || w.blame.stands() {
		t.Error("a line that is gone stands", err)
	}
	for _, dir := range []string{"/proc/cpuinfo", "/sys/x", w.tree + "/.git/HEAD", "/", filepath.Dir(w.tree)} {
		before := len(w.known.More)
		if w.more(dir); len(w.known.More) != before {
			t.Errorf("%s is watched", dir)
		}
	}
}

// What was evaluated is taken again where nothing that was asked has another answer, and
// is not kept where a file changed meanwhile.
func TestKept(t *testing.T) {
	c := evalcache.Cache{Dir: t.TempDir()}
	w := watching(t, "{ }")
	if err := w.saw(`env "HOME"`, w.env); err != nil {
		t.Fatal(err)
	}
	const key = "0123456789abcdef0123456789abcdef"
	fresh := map[string]json.RawMessage{"web": json.RawMessage(`{"name":"web"}`)}
	if err := w.keep(c, key, w.env, nil); err != nil || w.kept(c, key, w.env) != nil {
		t.Error("nothing is kept as something", err)
	}
	if err := w.keep(c, key, w.env, fresh); err != nil || string(w.kept(c, key, w.env)["web"]) != `{"name":"web"}` {
		t.Errorf("%v, %s", err, w.kept(c, key, w.env))
	}
	if err := w.keep(c, key, w.env, map[string]json.RawMessage{"db": json.RawMessage(`{}`)}); err != nil || len(w.kept(c, key, w.env)) != 3 {
		t.Errorf("a second host: %v, %v", err, w.kept(c, key, w.env))
	}
	if w.kept(c, key, w.environ([]string{"HOME=/root"})) != nil {
		t.Error("kept for another environment")
	}
	w.again = func() (string, error) { return "2", nil }
	if err := w.keep(c, key, w.env, fresh); err == nil || !strings.Contains(err.Error(), "changed while it was evaluated") {
		t.Error(err)
	}
}

// An expression is learned once, and among many the last ones count.
func TestLearns(t *testing.T) {
	w := watching(t, "{ }")
	if !w.learns("a") || w.learns("a") || !w.learns("b") || w.learns("a") {
		t.Error("learned twice, or never")
	}
	for i := range mostExprs {
		w.learns(strings.Repeat("x", i+1))
	}
	if len(w.known.Exprs) != mostExprs || !w.learns("b") {
		t.Error("remembered for ever")
	}
	w.evaluated("/a")
	if !w.files["/a"] {
		t.Error("a file is forgotten")
	}
}

// No secret is written to a file, and nothing is taken again whose derivation is gone.
func TestKeepable(t *testing.T) {
	for value, want := range map[string]bool{
		`{}`: true, `{"secrets":{"a":{"from":{"file":"/k"}}}}`: true, `{"secrets":{"a":{"from":{"text":""}}}}`: false,
		`{"secrets":{"a":{"from":{"command":["pass"]}}}}`: false, `[]`: false,
	} {
		if keepable(json.RawMessage(value)) != want {
			t.Errorf("%s: %v", value, !want)
		}
	}
	drv := filepath.Join(t.TempDir(), "a.drv")
	if err := os.WriteFile(drv, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{
		`{}`: true, `[]`: false, `{"profiles":[{"drv":"` + drv + `"},{"out":"/nix/store/x"}]}`: true, `{"profiles":[{"drv":"` + drv + `x"}]}`: false,
		`{"targets":{"a":{"drv":"` + drv + `x"}}}`: false,
	} {
		if instantiated(json.RawMessage(value)) != want {
			t.Errorf("%s: %v", value, !want)
		}
	}
	if got := lastLine("error:\n x\nerror: the first\n at y\nerror: the last\n"); got != "the last" {
		t.Error(got)
	}
}
