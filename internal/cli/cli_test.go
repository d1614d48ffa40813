package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/deploy"
	"godwit/internal/fault"
)

// runApp runs godwit in this process.
func runApp(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(name string) string {
		if name == "CI" {
			return "1"
		}
		return ""
	}}
	code = a.execute(context.Background(), args)
	return out.String(), errs.String(), code
}

// TestReference compares docs/reference with the commands.
func TestReference(t *testing.T) {
	dir := "../../docs/reference"
	pages := referencePages(newRoot(&app{}))
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/reference/%s is not what the commands say; run: go run ./cmd/godwit docs docs/reference", name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := pages[e.Name()]; !ok {
			t.Errorf("docs/reference/%s belongs to no command", e.Name())
		}
	}
}

// TestEveryCommand walks through all commands: each has a one-line summary in
// lower case, and those that do something say their exit codes.
func TestEveryCommand(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		name := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.Contains(c.Short, "\n") {
			t.Errorf("%s: summary %q", name, c.Short)
		}
		if len(c.Short) > 80 {
			t.Errorf("%s: the summary has %d characters", name, len(c.Short))
		}
		if c.GroupID != "" && c.Runnable() && c.Name() != "version" && !strings.Contains(c.Long, "Exit status:") {
			t.Errorf("%s does not say its exit codes", name)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	root := newRoot(&app{})
	for _, c := range root.Commands() {
		if c.Name() != "completion" && c.Name() != "help" {
			walk(c)
		}
	}
}

// TestJSONOfEveryVerb: docs/json.md says what each verb prints with --json.
func TestJSONOfEveryVerb(t *testing.T) {
	page, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		if c.Runnable() && !strings.Contains(string(page), "`"+path+"`") {
			// One row is for those of a group that have none of their own.
			group, _, sub := strings.Cut(path, " ")
			if !sub || !strings.Contains(string(page), "`"+group+"`") {
				t.Errorf("docs/json.md does not name %s", path)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
	}
	walk(newRoot(&app{}), "")
}

// TestMorphFlags freezes the flags that people have in their scripts.
func TestMorphFlags(t *testing.T) {
	selection := []string{"on", "tagged", "every", "skip", "limit", "order-by-tags", "show-trace", "dry-run", "keep-result", "allow-build-shell"}
	for verb, flags := range map[string][]string{
		"build":          {"build-arg", "target", "target-file"},
		"push":           {},
		"deploy":         {"build-arg", "timeout", "passwd", "passcmd", "skip-health-checks", "skip-pre-deploy-checks", "upload-secrets", "reboot"},
		"check-health":   {"timeout"},
		"upload-secrets": {"passwd", "passcmd", "skip-health-checks"},
		"list-secrets":   {"json"},
		"exec":           {"passwd", "passcmd", "timeout"},
	} {
		c, _, err := newRoot(&app{}).Find([]string{verb})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(slices.Clone(flags), selection...) {
			if c.Flag(f) == nil {
				t.Errorf("%s has no --%s", verb, f)
			}
		}
	}
}

func TestJoinOptionPairs(t *testing.T) {
	got := joinOptionPairs([]string{"build", "--option", "system", "x", "n.nix", "--", "--option", "a", "b"})
	want := []string{"build", "--option=system\x00x", "n.nix", "--", "--option", "a", "b"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestCommandLine: what exec runs is what was typed, Nix's --option NAME VALUE too.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"uptime", "uptime"},
		{"-- -x", "-x"},
		{"-- uptime -p", "uptime -p"},
		{"nix-build --option cores 2 x", "nix-build --option cores 2 x"},
		{"nix-build --option=cores 2 -- x", "nix-build --option=cores 2 -- x"},
		{"nix-build --option substitute a=b", "nix-build --option substitute a=b"},
	} {
		args := joinOptionPairs(strings.Fields(c.typed))
		got, err := commandLine(action.Where{}, args)
		if err != nil || got != c.want {
			t.Errorf("%q: %q, %v", c.typed, got, err)
		}
	}
}

// TestCompletion: what a shell offers.
func TestCompletion(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_STATE_HOME", state)
	memory := filepath.Join(state, "godwit", "networks")
	if err := os.MkdirAll(memory, 0o700); err != nil {
		t.Fatal(err)
	}
	// As morph.Open writes them; TestRemembered has it do so.
	for i, m := range []struct{ file, names string }{{"network.nix", "gone"}, {"network.nix", `db","web1","web2`}, {"other.nix", "pi"}, {"", "old"}} {
		path := filepath.Join(memory, fmt.Sprintf("%d.json", i))
		if m.file != "" {
			m.file = filepath.Join(dir, m.file)
			if err := os.WriteFile(m.file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, `{"file":"%s","names":["%s"],"fallback":"x86_64-linux"}`, m.file, m.names), 0o600); err != nil {
			t.Fatal(err)
		}
		if then := time.Now().Add(time.Duration(i-10) * time.Minute); os.Chtimes(path, then, then) != nil {
			t.Fatal("cannot set times")
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"deploy", "n.nix", ""}, "switch\nboot\ntest\ndry-activate\n:4\n"},
		{[]string{"deploy", ""}, ":0\n"}, // files
		{[]string{"plan", "n.nix", ""}, "switch\nboot\ntest\n:4\n"},
		{[]string{"status", "n.nix", ""}, ":4\n"},
		{[]string{"status", "network.nix", ""}, "db\nweb1\nweb2\n:4\n"},
		{[]string{"status", "network.nix", "web1", "w"}, "db\nweb2\n:4\n"},
		{[]string{"status", "./other.nix", ""}, "pi\n:4\n"},
		{[]string{"status", ""}, "db\nweb1\nweb2\n:0\n"}, // or files
		{[]string{"rollback", "web1", ""}, "db\nweb2\n:4\n"},
		{[]string{"diff", "network.nix", ""}, "db\nweb1\nweb2\n:4\n"},
		{[]string{"diff", "network.nix", "db", ""}, strings.Join(action.SystemWords, "\n") + "\n:4\n"},
		{[]string{"diff", "db", "b"}, strings.Join(action.SystemWords, "\n") + "\n:4\n"},
		{[]string{"deploy", "other.nix", "switch", "--on", ""}, "pi\n:4\n"},
		{[]string{"exec", "--on", "w"}, "db\nweb1\nweb2\n:4\n"},
		{[]string{"build", "--on", ""}, "db\nweb1\nweb2\n:4\n"},
		{[]string{"build", "n.nix", "--on", ""}, ":4\n"},
		{[]string{"build", "--progress", ""}, "auto\nlive\nplain\n:4\n"},
		{[]string{"deploy", "--unreachable", ""}, "fail\nskip\nwait\n:4\n"},
		{[]string{"builder", "sta"}, "start\tstart a builder and wait until it answers\nstatus\tshow builders with their Nix, sandbox and store\n:4\n"},
	} {
		if out, _, code := runApp(t, append([]string{"__complete"}, c.args...)...); out != c.want || code != ExitOK {
			t.Errorf("%q: %d, %q", c.args, code, out)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"frobnicate"}, []string{"no command 'godwit frobnicate'", "hint: godwit --help"}},
		{[]string{"--parallel", "3", "bild"}, []string{"no command 'godwit bild'", "did you mean godwit build?"}},
		{[]string{"--option", "cores", "2", "frob"}, []string{"no command 'godwit frob'"}},
		{[]string{"builder", "lits"}, []string{"no command 'godwit builder lits'", "did you mean godwit builder list?"}},
		{[]string{"completion", "tcsh"}, []string{"no command 'godwit completion tcsh'"}},
		{[]string{"help", "builder", "frob"}, []string{"no command 'godwit builder frob'"}},
		{[]string{"build"}, []string{"there is no configuration in ", "or above it", "hint: looked for network.nix"}},
		{[]string{"build", "a.nix", "b.nix"}, []string{"takes a deployment file, not 2 arguments"}},
		{[]string{"eval", "a.nix"}, []string{"a deployment file and an attribute"}},
		{[]string{"deploy", "nope.plan"}, []string{"no file 'nope.plan'"}},
		{[]string{"deploy", "web"}, []string{"there is no file 'web'", "hint: to choose a host: --on web"}},
		{[]string{"deploy", "swich"}, []string{"there is no file 'swich'", "did you mean switch?"}},
		{[]string{"deploy", "a.nix", "b.nix", "switch"}, []string{"takes a deployment file, not 3 arguments"}},
		{[]string{"hosts", "a.nix", "-f", "b.nix"}, []string{"the configuration is named twice"}},
		{[]string{"hosts", "--dialect", "morp"}, []string{"there is no dialect 'morp'", "did you mean morph?"}},
		{[]string{"hosts", "."}, []string{"is a directory without a configuration that godwit knows"}},
		{[]string{"build", "a.nix", "--every", "x"}, []string{"--every takes a whole number, not \"x\""}},
		{[]string{"build", "--frob", "a.nix"}, []string{"--frob", "hint: "}},
		{[]string{"deploy", "a.nix", "swich"}, []string{"swich", "did you mean switch?"}},
		{[]string{"deploy", "a.nix", "switch", "--batch", "0"}, []string{"--batch", "hint: "}},
		{[]string{"deploy", "a.nix", "switch", "--on-failure", "cry"}, []string{"--on-failure cry"}},
		{[]string{"deploy", "a.nix", "switch", "--unreachable", "cry"}, []string{"--unreachable cry"}},
		{[]string{"deploy", "a.nix", "switch", "--timeout", "-3"}, []string{"negative"}},
		{[]string{"build", "a.nix", "--option", "cores"}, []string{"--option"}},
		{[]string{"build", "a.nix", "--progress", "loud"}, []string{"--progress loud"}},
		{[]string{"build", "a.nix", "--build-arg=-k"}, []string{"--build-arg is deprecated"}},
		{[]string{"exec", "a.nix"}, []string{"a deployment file and a command"}},
		{[]string{"exec", "a.nix", "--on", "x", "uptime"}, []string{"no command begins with --on", "exec FLAGS a.nix"}},
		{[]string{"exec", "a.nix", "--option", "cores", "1", "uptime"}, []string{"no command begins with --option"}},
		{[]string{"build", "a.nix", "--target", "x", "--target-file", "y"}, []string{"--target and --target-file exclude each other"}},
		{[]string{"rollback", "a.nix", "web", "--to", "3", "--pending"}, []string{"--to and --pending exclude each other"}},
		{[]string{"exec", "a.nix", "--"}, []string{"a deployment file and a command"}},
		{[]string{"exec", "a.nix", " "}, []string{"a deployment file and a command"}},
		{[]string{"exec", "--timeout=-3", "a.nix", "uptime"}, []string{"negative"}},
		{[]string{"check-health", "--timeout=-3", "a.nix"}, []string{"negative"}},
		{[]string{"upload-secrets", "--timeout=-3", "a.nix"}, []string{"negative"}},
		{[]string{"builder", "rm"}, []string{"--all"}},
		{[]string{"push", "--store-path", "/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-x", "--to", "web", "--from", "ftp://web"}, []string{"ftp"}},
	} {
		stdout, stderr, code := runApp(t, c.args...)
		if code != ExitFailure || stdout != "" {
			t.Errorf("%q: exit code %d, stdout %q", c.args, code, stdout)
		}
		for _, s := range c.says {
			if !strings.Contains(stderr, s) {
				t.Errorf("%q: %q is not in\n%s", c.args, s, stderr)
			}
		}
	}
}

// TestExitCodes is the table of the documentation.
func TestExitCodes(t *testing.T) {
	ok := deploy.Outcome{State: deploy.Changed}
	bad := deploy.Outcome{State: deploy.Failed, Err: fault.New("x")}
	none := deploy.Outcome{State: deploy.Failed, Err: fault.New("x").Exit(ExitNoBuilder)}
	for _, c := range []struct {
		all         []deploy.Outcome
		interrupted bool
		want        int
	}{
		{[]deploy.Outcome{ok, ok}, false, ExitOK},
		{[]deploy.Outcome{ok, bad}, false, ExitHosts},
		{[]deploy.Outcome{{State: deploy.Skipped}, ok}, false, ExitOK},
		{[]deploy.Outcome{{State: deploy.RolledBack, Err: fault.New("x")}}, false, ExitHosts},
		{[]deploy.Outcome{none}, false, ExitNoBuilder},
		{[]deploy.Outcome{none, ok}, false, ExitHosts},
		{[]deploy.Outcome{ok, bad}, true, ExitInterrupted},
	} {
		var failed []deploy.Outcome
		for _, o := range c.all {
			if o.Bad() {
				failed = append(failed, o)
			}
		}
		code := ExitOK
		if err := exitOf(c.all, failed, c.interrupted); err != nil {
			code = err.(silent).code
		}
		if code != c.want {
			t.Errorf("%v, interrupted %t: %d, want %d", c.all, c.interrupted, code, c.want)
		}
	}
}

// TestExitTable: every code that the package names is in the table of help and of the
// reference, once and in order, and no error ends with another one.
func TestExitTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Exit") {
			named[v.Values[0].(*ast.BasicLit).Value] = true
		}
		return true
	})
	last := -1
	for _, e := range exits {
		if e.code <= last || !named[strconv.Itoa(e.code)] {
			t.Errorf("%d comes after %d, or has no name", e.code, last)
		}
		last = e.code
	}
	if len(named) != len(exits) || len(named) < 7 {
		t.Errorf("%d codes have names, and %d are in the table", len(named), len(exits))
	}
	for err, want := range map[error]int{
		errors.New("x"):                 ExitFailure,
		fault.New("x"):                  ExitFailure,
		fault.New("x").Exit(ExitRisk):   ExitRisk,
		fault.New("x").Exit(75):         ExitFailure,
		fault.New("x").On("h").Exit(75): ExitHosts,
		fmt.Errorf("so: %w", fault.New("x").Exit(ExitNoBuilder)): ExitNoBuilder,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// TestEnvironment: the guide names the variables that godwit reads, and no others.
// A variable is a word of its form in a file that asks for some.
func TestEnvironment(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\| .*$`).FindAllString(string(guide), -1) {
		cell, _, _ := strings.Cut(line[2:], "|")
		for _, m := range regexp.MustCompile("`([A-Z][A-Z0-9_]+)`").FindAllStringSubmatch(cell, -1) {
			told[m[1]] = true
		}
	}
	form := regexp.MustCompile(`^([A-Z][A-Z0-9]*(_[A-Z0-9]+)+|CI|TERM|USER|LOGNAME|LANG|HOME)$`)
	// Not read: what a nested build shell has, which is left out. And what godwit's own units
	// of a host tell each other, which nobody sets.
	other := map[string]bool{"NIX_BUILD_TOP": true, "GODWIT_BOOT": true}
	found := map[string]bool{}
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "tools" || d.IsDir() && strings.HasSuffix(d.Name(), "test") { // what only tests link
			return cmp.Or(err, fs.SkipDir)
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		var words []string
		reads := false
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if w, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && form.MatchString(w) && !other[w] {
					words = append(words, w)
				}
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.SelectorExpr:
					name = f.Sel.Name
				case *ast.Ident:
					name = f.Name
				}
				reads = reads || slices.Contains([]string{"Getenv", "getenv", "LookupEnv"}, name)
			}
			return true
		})
		for _, w := range words {
			if reads {
				found[w] = true
				if !told[w] {
					t.Errorf("%s reads $%s, which docs/guide.md does not name", path, w)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for w := range told {
		if !found[w] {
			t.Errorf("docs/guide.md names $%s, which nothing reads", w)
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d variables are read: the test does not see them", len(found))
	}
}

func TestPasswordCommand(t *testing.T) {
	v := &view{app: &app{stderr: io.Discard}}
	for command, want := range map[string]string{"echo secret word": "secret word", "  ": "", "false": ""} {
		got, err := v.password(t.Context(), &passwords{command: command})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", command, got, err)
		}
	}
}

// TestJSONError: a script reads why there was no run, and the way out.
func TestJSONError(t *testing.T) {
	stdout, _, code := runApp(t, "build", "a.nix", "--json", "--option", "cores")
	if code != ExitFailure || !strings.Contains(stdout, `"kind":"result"`) || !strings.Contains(stdout, `"hints":["--option `) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
