package ship

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"godwit/internal/secrets/bundle"
)

// TestRests: the script under real shells, and what is read of its answer.
func TestRests(t *testing.T) {
	b := &bundle.Bundle{Machine: "web", Entries: []bundle.Entry{{Name: "tls", Mode: 0o400, Phase: bundle.Services, Age: []byte("x")}}}
	release, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{"dash", "bash"} {
		dir := t.TempDir()
		script := strings.ReplaceAll(restsScript, "/run/godwit", dir+"/run")
		ask := func(have, which string) (Rest, error) {
			out, err := exec.Command(shell, "-c", script, "sh", dir+"/state", have, which).CombinedOutput()
			if err != nil {
				t.Logf("%s: %v: %s", shell, err, out)
			}
			return parseRests(string(out))
		}
		if r, err := ask("x", "running"); err != nil || r != (Rest{}) {
			t.Errorf("%s, nothing there: %+v %v", shell, r, err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.MkdirAll(dir+"/run/secrets", 0o700))
		for _, id := range []string{"one", "two"} {
			must(os.MkdirAll(dir+"/state/"+id, 0o700))
		}
		must(os.WriteFile(dir+"/state/one/bundle.json", release, 0o600))
		must(os.WriteFile(dir+"/state/two/bundle.json", []byte("{}"), 0o600))
		must(os.Symlink(dir+"/state/one", dir+"/run/secrets/.release"))
		must(os.Symlink("two", dir+"/state/secrets"))
		if r, err := ask("two", "running"); err != nil || r.Running != "one" || r.Kept != "two" || r.Bundle == nil || r.Bundle.ID() != b.ID() {
			t.Errorf("%s: %+v %v", shell, r, err)
		}
		if r, err := ask("one", "running"); err != nil || r.Running != "one" || r.Bundle != nil {
			t.Errorf("%s, the same: %+v %v", shell, r, err)
		}
		if r, err := ask("one", "kept"); err != nil || r.Bundle == nil || len(r.Bundle.Entries) != 0 {
			t.Errorf("%s, kept: %+v %v", shell, r, err)
		}
		must(os.Remove(dir + "/state/two/bundle.json"))
		if r, err := ask("one", "kept"); err == nil {
			t.Errorf("%s, a release without its text: %+v", shell, r)
		}
	}
}

func FuzzRests(f *testing.F) {
	f.Add("running a\nkept b\nbundle {\"entries\":[{\"name\":\"x\"}]}\nend\n")
	f.Add("bundle {\nend")
	f.Fuzz(func(t *testing.T, out string) {
		if r, err := parseRests(out); err == nil && r.Bundle != nil && r.Bundle.Check() != nil {
			t.Error("what is no bundle was taken")
		}
	})
}
