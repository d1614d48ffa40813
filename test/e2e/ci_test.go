package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scriptsOf are the whole scripts in a page of docs/, in order.
func scriptsOf(t *testing.T, page string) []string {
	t.Helper()
	data, err := os.ReadFile(repo(t, page))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range strings.Split(string(data), "```bash\n")[1:] {
		script, _, _ := strings.Cut(block, "```")
		out = append(out, script)
	}
	return out
}

// TestCI runs the scripts of docs/ci.md, as its two jobs do: on machines that share the
// repository and the artifacts alone.
func TestCI(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	w.ownState("ci")
	w.file("ssh_ci", fmt.Sprintf("Host spare\n  HostName 127.0.0.1\n  Port %d\n  UserKnownHostsFile %s\n  StrictHostKeyChecking yes\n", spare.Port, spare.KnownHosts))
	key, err := os.ReadFile(spare.Identity)
	if err != nil {
		t.Fatal(err)
	}
	scripts := scriptsOf(t, "docs/ci.md")
	if len(scripts) != 2 {
		t.Fatalf("%d scripts", len(scripts))
	}
	w.file(".gitignore", "fleet.*\ncomment.md\nssh_c*\nbin\n.state*\n")
	w.git("init", "-q")
	net := w.fleetOf(service("ci-one"), map[string]string{"spare": amd64})
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile,dirty-tree").exits(0)
	w.fleetOf(service("ci-two"), map[string]string{"spare": amd64})
	w.commit("two")

	if err := os.MkdirAll(filepath.Join(w.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shared.godwit, filepath.Join(w.dir, "bin/godwit")); err != nil {
		t.Fatal(err)
	}
	job := func(script string, more ...string) (string, int) {
		t.Helper()
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir = w.dir
		cmd.Env = append(append(append(os.Environ(), w.env...), "SSH_CONFIG_FILE="+filepath.Join(w.dir, "ssh_ci"), "FLEET="+net, "DEPLOY_KEY="+string(key), "SSH_AUTH_SOCK=",
			"PATH="+filepath.Join(w.dir, "bin")+":"+os.Getenv("PATH")), more...)
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "PRIVATE KEY") {
			t.Errorf("the key is in the log:\n%s", out)
		}
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := job(scripts[0])
	if code != 0 || !strings.Contains(out, "hosts change") {
		t.Fatalf("plan: %d\n%s", code, out)
	}
	comment, err := os.ReadFile(filepath.Join(w.dir, "comment.md"))
	if err != nil || !strings.HasPrefix(string(comment), "<!-- godwit plan -->\n### Plan: 1 host changes\n") {
		t.Errorf("comment: %v\n%s", err, comment)
	}
	if st, err := os.Stat(filepath.Join(w.dir, "fleet.closure.gz")); err != nil || st.Size() < 10000 {
		t.Errorf("closure: %v, %v", st, err)
	}
	if out, code := job(scripts[1], "MESSAGE=pull request 7: two"); code != 0 {
		t.Fatalf("deploy: %d\n%s", code, out)
	}
	if got := on(t, spare, "cat /run/e2e; tail -n 1 /var/lib/godwit/history.jsonl"); !strings.HasPrefix(got, "ci-two") || !strings.Contains(got, "pull request 7: two") {
		t.Errorf("the host says %s", got)
	}
	// Out of date, it is refused.
	w.fleetOf(service("ci-three"), map[string]string{"spare": amd64})
	if out, code := job(scripts[1], "MESSAGE=again"); code != 4 {
		t.Errorf("an old plan: %d\n%s", code, out)
	}
	if out, code := job(scripts[0]); code != 0 && code != 3 { // uncommitted: a risk that the comment names
		t.Errorf("plan: %d\n%s", code, out)
	}
	if comment, _ := os.ReadFile(filepath.Join(w.dir, "comment.md")); !strings.Contains(string(comment), "dirty-tree") {
		t.Errorf("comment:\n%s", comment)
	}
}
