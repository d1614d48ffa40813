package deploy

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/hostscript"
)

// TestProtectScript: the end of a copy makes roots and takes its own mark away, and on
// a host that has restarted since the beginning it does neither.
func TestProtectScript(t *testing.T) {
	b, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", hostscript.BootID+"\nboot_id").Output()
	boot := strings.TrimSpace(string(b))
	if err != nil || boot == "" {
		t.Fatal("what names this boot:", err)
	}
	for _, c := range []struct {
		name, mark   string
		code         int
		roots, stays bool
	}{
		{name: "own mark", mark: boot + " me\n", roots: true},
		{name: "no mark", roots: true},
		{name: "mark of another", mark: boot + " you\n", roots: true, stays: true},
		{name: "mark of another from another boot", mark: "elsewhen you\n", roots: true, stays: true},
		{name: "restarted", mark: "elsewhen me\n", code: restarted, stays: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			mark, root := filepath.Join(dir, "mark"), filepath.Join(dir, "root")
			if c.mark != "" {
				if err := os.WriteFile(mark, []byte(c.mark), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", protectScript, "sh", mark, "me", root, "/a", "/b").CombinedOutput()
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != c.code {
				t.Errorf("status %d: %s", code, out)
			}
			first, _ := os.Readlink(root)
			second, _ := os.Readlink(root + "-2")
			if (first == "/a" && second == "/b") != c.roots || !c.roots && first+second != "" {
				t.Errorf("roots %q, %q", first, second)
			}
			if got, _ := os.ReadFile(mark); (string(got) == c.mark && c.mark != "") != c.stays {
				t.Errorf("mark %q", got)
			}
		})
	}
}

// TestMarkOfABoot: only a mark that names another boot says that a copy was cut.
func TestMarkOfABoot(t *testing.T) {
	boot, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", hostscript.BootID+"\nboot_id").Output()
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.TrimSpace(string(boot)) + " me\n"
	for mark, cut := range map[string]bool{"": false, mine: false, "elsewhen you\n": true, " you\n": false} {
		dir := t.TempDir()
		file := filepath.Join(dir, "mark")
		if mark != "" {
			if err := os.WriteFile(file, []byte(mark), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", beginText, "sh", file, dir, "me", "", filepath.Join(dir, "root"), dir+"/none").Output()
		if err != nil {
			t.Errorf("%q: %v", mark, err)
		}
		now, _ := os.ReadFile(file)
		if strings.HasPrefix(string(out), "cut\n") != cut || !strings.Contains(string(out), "free ") || (string(now) == mine) == cut {
			t.Errorf("%q: %q, and the mark is %q", mark, out, now)
		}
	}
}
