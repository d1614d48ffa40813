package onmachine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall runs the script in a root of the test's own, under each shell.
func TestInstall(t *testing.T) {
	for _, sh := range []string{"dash", "bash"} {
		t.Run(sh, func(t *testing.T) {
			if _, err := exec.LookPath(sh); err != nil {
				t.Fatalf("%s is missing: apt-get install %s", sh, sh)
			}
			root, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(root, "identity")
			script := strings.ReplaceAll(install, "/var/lib/godwit/identity", dir)
			script = strings.ReplaceAll(script, `"$(stat -c %u .)" = 0`, `"$(stat -c %u .)" = "$(id -u)"`)
			run := func(in string) (string, error) {
				c := exec.Command(sh, "-c", script)
				c.Stdin = strings.NewReader(in)
				out, err := c.CombinedOutput()
				return string(out), err
			}
			read := func() string {
				b, _ := os.ReadFile(filepath.Join(dir, "age.key"))
				return string(b)
			}
			if out, err := run("AGE-SECRET-KEY-1\n# end\n"); err != nil || !strings.HasPrefix(read(), "AGE-SECRET-KEY-1\n") {
				t.Fatalf("%s %v", out, err)
			}
			st, err := os.Stat(filepath.Join(dir, "age.key"))
			if err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", st.Mode(), err)
			}
			// Half a key changes nothing, and leaves nothing.
			if out, err := run("AGE-SEC"); err == nil || !strings.Contains(out, "only a part") || !strings.HasPrefix(read(), "AGE-SECRET-KEY-1\n") {
				t.Errorf("%q %v", out, err)
			}
			left, _ := os.ReadDir(dir)
			if len(left) != 1 {
				t.Errorf("left %v", left)
			}
			// Behind a link it goes nowhere.
			if err := os.Rename(dir, dir+"2"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(dir+"2", dir); err != nil {
				t.Fatal(err)
			}
			if out, err := run("AGE-SECRET-KEY-2\n# end\n"); err == nil || !strings.Contains(out, "behind a link") {
				t.Errorf("%q %v", out, err)
			}
		})
	}
}
