package canary

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestForms: a value is known in each form, whatever is before and after it.
func TestForms(t *testing.T) {
	for i := range 7 {
		text := []byte(strings.Repeat("a", i) + Value("password") + strings.Repeat("b", 5-min(i, 5)))
		for _, s := range []string{string(text), base64.StdEncoding.EncodeToString(text), base64.RawURLEncoding.EncodeToString(text), hex.EncodeToString(text)} {
			if !Has([]byte("x" + s + "y")) {
				t.Errorf("%d: %s is not known", i, s)
			}
		}
	}
	if Has([]byte("kanarienvogel-0011-password")) || Has(nil) {
		t.Error("what has no mark is known")
	}
}

// plant puts a value into a tree of files in several ways.
func plant(t *testing.T) (root string, want []string) {
	t.Helper()
	root = t.TempDir()
	put := func(name, text string) string {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	put("var/lib/harmless", "nothing")
	put("run/godwit/secrets.d/1/a", Value("where it may be"))
	want = []string{
		put("var/lib/state.json", `{"a":"`+Value("json")+`"}`),
		put("nix/store/x-system/etc/a b", strings.Repeat("\x00", 100_000)+base64.StdEncoding.EncodeToString([]byte("xx"+Value("base64")))),
		put("tmp/"+Value("name"), ""),
	}
	link := filepath.Join(root, "etc")
	if err := os.Symlink("/nowhere/"+Value("link"), filepath.Join(filepath.Dir(link), "home-link")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(root, "home", "link")
	if err := os.Rename(filepath.Join(root, "home-link"), at); err != nil {
		t.Fatal(err)
	}
	return root, append(want, at)
}

func TestFiles(t *testing.T) {
	root, want := plant(t)
	skip := func(path string) bool { return strings.HasSuffix(path, "/secrets.d") }
	got, err := Files(time.Now().Add(-time.Hour), []string{root, filepath.Join(root, "none")}, skip)
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	if got, err := Files(time.Now().Add(time.Hour), []string{filepath.Join(root, "var")}, skip); err != nil || len(got) > 0 {
		t.Errorf("what did not change is found: %q %v", got, err)
	}
}

// TestScript: the search of a host finds what is planted, under both shells.
func TestScript(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it runs on hosts, which are Linux")
	}
	for _, shell := range []string{"dash", "bash"} {
		root, want := plant(t)
		run := func(since time.Time, input string) (string, error) {
			cmd := exec.Command(shell, "-c", script, "search", strconv.FormatInt(since.Unix(), 10), root, "/run/godwit/secrets.d")
			cmd.Stdin = strings.NewReader(input)
			cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(root, "run"))
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		out, err := run(time.Now().Add(-time.Hour), input())
		if err != nil {
			t.Fatalf("%s: %v\n%s", shell, err, out)
		}
		for _, at := range want {
			if !strings.Contains(out, " "+at) {
				t.Errorf("%s: %s is not found:\n%s", shell, at, out)
			}
		}
		if n := strings.Count(out, "\n"); n != len(want) {
			t.Errorf("%s: found %d, want %d:\n%s", shell, n, len(want), out)
		}
		if out, err := run(time.Now().Add(time.Hour), input()); err != nil || out != "" {
			t.Errorf("%s: what did not change is found: %s %v", shell, out, err)
		}
		if out, err := run(time.Now(), ""); err == nil {
			t.Errorf("%s: it searches for nothing, and is content: %s", shell, out)
		}
		if left, _ := filepath.Glob(root + "/run/canary.*"); len(left) > 0 {
			t.Errorf("%s: left %q", shell, left)
		}
	}
}

// TestWatch: a value in arguments or in an environment is seen, also when the process lives
// a short time only.
func TestWatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	w := Watch()
	wanted := map[string]bool{} // what may be found
	found := func() []string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Clone(w.found)
	}
	// Each lives for 0.3 s, in which a machine that others keep busy may not come to look: some more have to be seen then.
	for range 10 {
		argument := exec.Command("sh", "-c", "read x; : "+Value("argument")) // starts no process, which would look like it
		environment := exec.Command("cat", "-u")
		environment.Env = append(os.Environ(), "PASSWORD="+Value("environment"))
		harmless := exec.Command("cat")
		var ends []func() error
		for _, c := range []*exec.Cmd{argument, environment, harmless} {
			stdin, err := c.StdinPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, stdin.Close, c.Wait)
		}
		inArgument := fmt.Sprintf("cmdline of process %d: %s ", argument.Process.Pid, strings.Join(argument.Args, " "))
		inEnvironment := fmt.Sprintf("environ of process %d: cat -u ", environment.Process.Pid)
		wanted[inArgument], wanted[inEnvironment] = true, true
		time.Sleep(300 * time.Millisecond)
		for _, end := range ends {
			_ = end() // the shell's read ends with 1
		}
		if got := found(); slices.Contains(got, inArgument) && slices.Contains(got, inEnvironment) {
			break
		}
	}
	got, _ := w.Stop()
	if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, "cmdline") }) ||
		!slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, "environ") }) {
		t.Errorf("it has found only %q", got)
	}
	for _, g := range got {
		if !wanted[g] {
			t.Errorf("it has found %q", g)
		}
	}
}
