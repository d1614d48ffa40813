package nix

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
)

// realTool is the Nix of this machine; the builds need neither root nor a sandbox.
func realTool(t *testing.T) *Tool {
	t.Helper()
	if testing.Short() {
		t.Skip("uses the real Nix of this machine")
	}
	tool, err := Find(context.Background(), Settings{Options: [][2]string{{"build-users-group", ""}, {"sandbox", "false"}, {"substitute", "false"}}})
	if err != nil {
		t.Fatalf("this test needs Nix: %v", err)
	}
	return tool
}

// instantiate makes derivations of the expression; salt keeps runs apart.
func instantiate(t *testing.T, tool *Tool, expr string, attrs ...string) []string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "t.nix")
	if err := os.WriteFile(f, []byte(expr), 0o600); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range attrs {
		cmd := tool.Command(context.Background(), "nix-instantiate", f, "-A", a, "--argstr", "salt", t.TempDir())
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("nix-instantiate %s: %v\n%s", a, err, err.(*exec.ExitError).Stderr)
		}
		out = append(out, strings.TrimSpace(string(b)))
	}
	return out
}

const failing = `{ salt, system ? builtins.currentSystem }: let
  d = name: deps: script: derivation { inherit name system salt; builder = "/bin/sh"; args = ["-c" "PATH=/bin:/usr/bin; ${script}; echo ${toString deps} > $out"]; };
  bad = derivation { name = "bad"; inherit system; builder = "/bin/sh"; args = ["-c" "echo first; echo last words; exit 3"]; };
in {
  good = d "good" [] "true";
  web1 = d "web1" [ bad ] "true";
  web2 = d "web2" [ (d "mid" [ bad ] "true") ] "true";
  worse = d "worse" [] "echo of itself; exit 7";
  foreign = derivation { name = "foreign"; system = "riscv64-nonesuch"; builder = "/bin/sh"; args = []; inherit salt; requiredSystemFeatures = [ "kvm" ]; };
}`

func TestRealise(t *testing.T) {
	tool := realTool(t)
	drvs := instantiate(t, tool, failing, "good", "web1", "web2", "worse")
	dir := t.TempDir()
	items := make([]RealiseItem, 0, 4)
	for i, d := range drvs {
		items = append(items, RealiseItem{Drv: d, Link: filepath.Join(dir, string(rune('a'+i)))})
	}
	var lines []string
	sink := event.SinkFunc(func(e event.Event) { lines = append(lines, e.Text) })
	r, err := tool.Realise(context.Background(), items, "", event.On(sink, "", event.StepBuild))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Outputs) != 1 || len(r.Failed) != 3 {
		t.Fatalf("outputs %v, failed %v", r.Outputs, r.Failed)
	}
	if got, err := os.Readlink(items[0].Link); err != nil || got != r.Outputs[drvs[0]] {
		t.Errorf("link: %q, %v; want %q", got, err, r.Outputs[drvs[0]])
	}
	for i, want := range map[int]string{
		1: "building bad failed: builder failed with exit code 3",
		2: "building bad failed: builder failed with exit code 3",
		3: "building worse failed: builder failed with exit code 7",
	} {
		text := fault.Render(r.Failed[drvs[i]])
		if !strings.Contains(text, want) {
			t.Errorf("want %q in:\n%s", want, text)
		}
		if i < 3 && !strings.Contains(text, "| last words") || !strings.Contains(text, "hint: the whole log: nix log /nix/store/") {
			t.Errorf("no log lines or hint in:\n%s", text)
		}
	}
	if !strings.Contains(strings.Join(lines, "\n"), "last words") {
		t.Errorf("the build's output did not come as events: %q", lines)
	}
}

func TestRealiseForeign(t *testing.T) {
	tool := realTool(t)
	drvs := instantiate(t, tool, failing, "foreign")
	r, err := tool.Realise(context.Background(), []RealiseItem{{Drv: drvs[0]}}, "", event.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	text := fault.Render(r.Failed[drvs[0]])
	if !strings.Contains(text, "it needs a builder for riscv64-nonesuch with kvm; this one is ") || strings.Contains(text, "but I am a") {
		t.Errorf("raw or unclear: %s", text)
	}
}

func TestRealiseCancelled(t *testing.T) {
	tool := realTool(t)
	drvs := instantiate(t, tool, `{ salt }: { slow = derivation { name = "slow"; system = builtins.currentSystem; inherit salt; builder = "/bin/sh"; args = ["-c" "PATH=/bin:/usr/bin; echo begun; sleep 60"]; }; }`, "slow")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sink := event.SinkFunc(func(e event.Event) {
		if e.Text == "begun" {
			cancel()
		}
	})
	_, err := tool.Realise(ctx, []RealiseItem{{Drv: drvs[0]}}, "", event.On(sink, "", event.StepBuild))
	if err != context.Canceled {
		t.Fatalf("got %v", err)
	}
}

func TestMissingFor(t *testing.T) {
	tool := realTool(t)
	drvs := instantiate(t, tool, failing, "web2")
	m, err := tool.MissingFor(context.Background(), drvs, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Build) != 3 || m.Empty() {
		t.Errorf("to build: %q", m.Build)
	}
	unknown := "/nix/store/00000000000000000000000000000000-godwit-nonesuch"
	if m, err = tool.MissingFor(context.Background(), []string{unknown}, 0); err != nil || len(m.Unknown) != 1 || m.Unknown[0] != unknown {
		t.Errorf("unknown: %+v, %v", m, err)
	}
	v, err := tool.Valid(context.Background(), []string{drvs[0], unknown})
	if err != nil || !v[drvs[0]] || v[unknown] {
		t.Errorf("valid: %v, %v", v, err)
	}
}

// TestHold roots what is there, in one process, and says no as soon as one path is not.
func TestHold(t *testing.T) {
	tool := realTool(t)
	ctx := context.Background()
	drvs := instantiate(t, tool, failing, "good", "web1")
	r, err := tool.Realise(ctx, []RealiseItem{{Drv: drvs[0]}}, "", event.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	there := r.Outputs[drvs[0]]
	never, err := ReadDerivation(drvs[1])
	if err != nil {
		t.Fatal(err)
	}
	roots := t.TempDir()
	if ok, err := tool.Hold(ctx, roots, []string{there, drvs[0]}); !ok || err != nil {
		t.Fatalf("Hold of two valid paths: %v, %v", ok, err)
	}
	out, err := tool.Output(ctx, "nix-store", "--query", "--roots", there)
	if err != nil || !strings.Contains(string(out), roots) {
		t.Errorf("the roots of %s are %q, %v; want one in %s", there, out, err, roots)
	}
	if ok, err := tool.Hold(ctx, t.TempDir(), []string{there, never.OutPath()}); ok || err != nil {
		t.Errorf("Hold of a path that was never built: %v, %v", ok, err)
	}
}
