// Package readme runs what README.md tells people to type, as it stands there.
package readme

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/test/same"
)

const top = "../.."

// lines are the commands of the indented block that follows a text of README.md, without
// their comments.
func lines(t *testing.T, after string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(data), after)
	var out []string
	for _, l := range strings.Split(rest, "\n") {
		command, inside := strings.CutPrefix(l, "    ")
		if inside {
			command, _, _ = strings.Cut(command, " #")
			out = append(out, strings.TrimSpace(command))
		} else if len(out) > 0 && l != "" {
			break
		}
	}
	if !found || len(out) == 0 {
		t.Fatalf("README.md has no commands after %q", after)
	}
	return out
}

// shell runs a line at the top of the tree, and gives all that it printed.
func shell(t *testing.T, ctx context.Context, env []string, line string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir = top
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

func full(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("needs containers")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func has(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", what, want, text)
		}
	}
}

// TestDemo runs the first of README's two commands, again, README's commands on what it
// started, makes README's picture, and takes all of it down. The second command runs this.
func TestDemo(t *testing.T) {
	ctx := full(t)
	two := lines(t, "## Two commands")
	if !slices.Equal(two, []string{"./demo", "./test.sh"}) {
		t.Fatalf("README's two commands are %q", two)
	}
	demo, state := two[0], filepath.Join(t.TempDir(), "demo")
	// The engine is not the demo's to stop: others use it.
	env := []string{"CI=1", "GODWIT_DEMO_STATE=" + state, "GODWIT_LAB_STATE=" + t.TempDir()}
	down := false
	t.Cleanup(func() {
		if !down {
			cmd := exec.Command("bash", "-c", demo+" down")
			cmd.Dir, cmd.Env = top, append(os.Environ(), env...)
			_ = cmd.Run()
		}
	})

	began := time.Now()
	out := shell(t, ctx, env, demo)
	for _, l := range strings.Split(out, "\n") {
		if strings.HasPrefix(l, "demo: ") && strings.Contains(l, ": took ") {
			t.Log(l)
		}
	}
	t.Logf("%s: %.0f s", demo, time.Since(began).Seconds())
	has(t, demo, out, "hello from the first deploy, web", "hello from the first deploy, pi", "x86_64", "aarch64", "2 hosts: 2 changed")
	again := shell(t, ctx, env, demo)
	has(t, demo+" again", again, "hello from deploy number 2, pi", "hello from deploy number 2, web", "2 hosts: 2 changed")

	for _, l := range lines(t, "says where each one is.") {
		words := strings.Fields(l)
		if words[0] != "godwit" {
			t.Fatalf("README's %q does not begin with godwit", l)
		}
		here := strings.ReplaceAll(l, "web1", "web") // as the demo's host is called
		said := shell(t, ctx, env, ". "+state+"/env.sh; cd "+state+"; "+here)
		want := map[string]string{
			"hosts": "pi", "plan": "Plan: ", "deploy": "already runs this system", "status": "web", "rollback": "1 host: 1 ",
		}[words[1]]
		if want == "" {
			t.Fatalf("nothing is known of README's %q", l)
		}
		has(t, here, said, want)
	}
	picture(t, ctx, env)

	said := shell(t, ctx, env, demo+" down")
	has(t, demo+" down", said, "everything that it started is gone")
	down = true
	if _, err := os.Stat(state); !os.IsNotExist(err) {
		t.Errorf("%s down leaves %s: %v", demo, state, err)
	}
}

// picture makes README's picture again; it shows what the one in the tree shows, with other numbers.
func picture(t *testing.T, ctx context.Context, env []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "deploy.svg")
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return e == "CI=1" })
	shell(t, ctx, env, "docs/img/record "+file)
	got, want := drawn(t, file), drawn(t, filepath.Join(top, "docs/img/deploy.svg"))
	if !slices.Equal(got, want) {
		t.Errorf("README's picture is not what a deploy looks like (./demo && docs/img/record):\n- %s\n+ %s", strings.Join(want, "\n- "), strings.Join(got, "\n+ "))
	}
}

var (
	tag  = regexp.MustCompile(`<[^>]*>`)
	text = regexp.MustCompile(`(?m)^<text[^>]* y="(\d+)".*</text>$`)
)

// drawn are the lines of a picture, in order of their words: hosts are not always done in
// the same one. Numbers are left out.
func drawn(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range text.FindAllStringSubmatch(string(data), -1) {
		rows[m[1]] += tag.ReplaceAllString(m[0], "")
	}
	var out []string
	for _, row := range rows {
		out = append(out, same.Line(strings.Join(strings.Fields(row), " ")))
	}
	if len(out) < 10 {
		t.Fatalf("%s has %d lines", file, len(out))
	}
	slices.Sort(out)
	return out
}

// TestInstall: README's lines for those who have this tree. That Nix's works is seen in
// test/release, on a nixpkgs that can be reached.
func TestInstall(t *testing.T) {
	ctx := full(t)
	all := lines(t, "## Install")
	if !slices.Equal(all, []string{"go install ./cmd/godwit", "nix run ."}) {
		t.Fatalf("README installs with %q", all)
	}
	bin := t.TempDir()
	shell(t, ctx, []string{"GOBIN=" + bin, "CGO_ENABLED=0"}, all[0])
	has(t, all[0], shell(t, ctx, nil, bin+"/godwit --version"), "godwit version ")
}
