package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/plan"
)

func TestDeployTakesAPlanAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.plan")
	p := &plan.Plan{Hosts: []plan.Host{{Name: "a", Config: &fleet.Host{Name: "a"}}}}
	p.Seal(nil)
	if err := p.Save(file); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"deploy", file, "switch"}, "leave out"},
		{[]string{"deploy", file, "--on", "a"}, "--on belongs to godwit plan"},
		{[]string{"deploy", file, "--reboot"}, "--reboot belongs to godwit plan"},
		{[]string{"plan", file}, "saved plan"},
	} {
		_, stderr, code := runApp(t, c.args...)
		if code != ExitFailure || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, stderr)
		}
	}
}
