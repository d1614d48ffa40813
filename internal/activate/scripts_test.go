package activate

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/profile/kinds"
)

// composed are the scripts as they are sent.
func composed(t *testing.T) map[string]string {
	t.Helper()
	d := &run{id: "20260101T000000-abcdef", req: Request{NewSystem: "/nix/store/new", Activation: "/nix/store/new", Action: Switch, IgnoreUnits: []string{"a@*.service"}}}
	if err := d.req.normalize(); err != nil {
		t.Fatal(err)
	}
	d.limits()
	var err error
	out := map[string]string{"run.sh": targetScript(kinds.All())}
	if out["arm.sh"], err = hostPlaces.armScript(d.variables(), kinds.All(), `{"who":"it's me"}`, d.req.IgnoreUnits); err != nil {
		t.Fatal(err)
	}
	if out["attach.sh"], err = hostPlaces.attachScript(d.id, "follow", "0", "final"); err != nil {
		t.Fatal(err)
	}
	v := d.variables()
	v["CHECK"] = "1"
	if out["preflight.sh"], err = preflightScript(v, kinds.All()); err != nil {
		t.Fatal(err)
	}
	return out
}

var shells = []string{"dash", "bash"}

func TestScriptsParseAndLint(t *testing.T) {
	for name, script := range composed(t) {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, sh := range shells {
			if out, err := exec.Command(sh, "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%s -n %s: %s", sh, name, out)
			}
		}
		if testing.Short() {
			continue
		}
		// SC2034, SC2153, SC2154: variables come from, or go to, another file.
		// SC2317, SC2329: verbs are called by name.
		cmd := exec.Command("shellcheck", "-s", "sh", "-e", "SC2034,SC2153,SC2154,SC2317,SC2329", file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("shellcheck %s: %v\n%s", name, err, out)
		}
	}
}

func TestScriptsFitAScreen(t *testing.T) {
	entries, err := scriptFiles.ReadDir("scripts")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n := strings.Count(part(strings.TrimSuffix(e.Name(), ".sh")), "\n"); n > 100 {
			t.Errorf("%s has %d lines: split it", e.Name(), n)
		}
	}
}

// TestCutScriptsRunNothing cuts every script at many places: none of its
// commands may run.
func TestCutScriptsRunNothing(t *testing.T) {
	for name, script := range composed(t) {
		step := len(script)/40 + 1
		if testing.Short() {
			step = len(script)/6 + 1
		}
		end := strings.LastIndex(script, "}")
		for _, sh := range shells {
			for cut := 1; cut <= end; cut += step {
				runCut(t, sh, name, script[:cut])
			}
			for cut := end - 8; cut <= end; cut++ {
				runCut(t, sh, name, script[:cut])
			}
		}
	}
}

func runCut(t *testing.T, sh, name, script string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(sh, "-s")
	cmd.Dir = dir
	// Every command of the scripts that leaves a trace is found here first.
	cmd.Env = []string{"PATH=" + dir, "HOME=" + dir}
	// A first command that no cut removes: it would run if anything did.
	cmd.Stdin = strings.NewReader(strings.Replace(script, "{\n", "{\necho ran >ran\n", 1))
	if len(script) < 3 {
		return
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%s: %s cut at %d ended well", sh, name, len(script))
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Fatalf("%s: %s cut at %d ran: %s", sh, name, len(script), out)
	}
}
