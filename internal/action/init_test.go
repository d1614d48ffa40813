package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
	"godwit/internal/newrepo"
)

func TestInit(t *testing.T) {
	says := func(name string) string {
		return "::godwit facts\nnixos yes\nname " + name + "\nmachine x86_64\nuser root\nversion 25.11.1\nstate system.stateVersion = \"24.05\";\n::godwit end\n"
	}
	from := []fleet.Destination{{Host: "192.0.2.7"}, {Host: "192.0.2.8", User: "ana", Port: 22}}
	begin := func(second string) (*Env, *seen) {
		e, v := tested(t)
		e.fakes = func(s *session) {
			s.conns = hosttest.Pool{
				"192.0.2.7":        hosttest.New(t, "192.0.2.7", hosttest.Call{Want: "nixos-version", Out: says("web1")}),
				"ana@192.0.2.8:22": hosttest.New(t, "ana@192.0.2.8:22", hosttest.Call{Want: "nixos-version", Out: second}),
			}
		}
		return e, v
	}
	dir := filepath.Join(t.TempDir(), "a fleet")

	e, _ := begin("Welcome\n")
	if err := Init(t.Context(), e, InitRequest{Dir: dir, Form: newrepo.Plain, From: from}); err == nil || !strings.Contains(fault.Render(err), "192.0.2.8: its answer is cut off") {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was written for a host that could not be read")
	}

	e, v := begin(says("db"))
	if err := Init(t.Context(), e, InitRequest{Dir: dir, Form: newrepo.Flake, From: from}); err != nil {
		t.Fatal(fault.Render(err))
	}
	said := strings.Join(v.lines, "\n")
	for _, want := range []string{"> " + dir + "/hosts/db.nix", "> " + dir + "/hardware/web1.nix", "note: web1: the boot loader is not known", "next: cd '" + dir + "'", "git -C '" + dir + "' add -A"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing in\n%s", want, said)
		}
	}
	for file, want := range map[string]string{"hosts/db.nix": `deployment.targetHost = "ana@192.0.2.8:22";`, "hosts/web1.nix": `deployment.targetHost = "root@192.0.2.7";`, "users/ana.nix": `users.users."ana"`} {
		if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// Who is asked may answer with a letter; a third word is no form.
func TestInitAsks(t *testing.T) {
	for answer, want := range map[string]string{"f": "flake.nix", "plain": "network.nix", "x": ""} {
		e, v := tested(t)
		v.answer, e.DryRun = answer, true
		err := Init(t.Context(), e, InitRequest{Dir: "."})
		if said := strings.Join(v.lines, "\n"); v.asked != 1 || (err == nil) != (want != "") || !strings.Contains(said, want) {
			t.Errorf("%s: %v\n%s", answer, err, said)
		}
	}
}
