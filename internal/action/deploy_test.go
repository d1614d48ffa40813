package action

import (
	"context"
	"slices"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/known"
	"godwit/internal/store/storetest"
)

// TestSavedRolling: a saved plan says itself how it is rolled out; no configuration is
// opened for it (there is no Nix here that could). What the command line says counts
// more.
func TestSavedRolling(t *testing.T) {
	rolling := plan.Rolling{Batch: "1,rest", OnFailure: "stop", Unreachable: "skip", AcceptRisks: []string{"reboot"}}
	s := &session{Env: &Env{}, source: known.New(source.About{Settings: rolling.Settings()}, nil, "")}
	said := "rollback"
	var d deployment
	if err := s.roll(deploy.Rolling{OnFailure: &said}, &d); err != nil {
		t.Fatal(err)
	}
	if d.Schedule == nil || d.Schedule.OnFailure != deploy.OnFailure("rollback") || d.Unreachable != deploy.Unreachable("skip") || !slices.Equal(d.accept, []string{"reboot"}) {
		t.Errorf("%+v, %v, %v", d.Schedule, d.Unreachable, d.accept)
	}
}

// given are hosts of fakes, with what they get in a store.
type given struct{ from *storetest.Store }

func (g given) open(_ context.Context, s *session, _ *deployment) (loadRequest, error) {
	s.ready = g.from.Endpoint("this machine's store")
	return loadRequest{selection: everyHost}, nil
}

// TestDeploy takes a host from one system to another, behind the plan.
func TestDeploy(t *testing.T) {
	src := storetest.New()
	top := src.Add("nixos-system-web-24.11", "new", src.Add("dep", "x"))
	kernel := func(of, version string) string {
		return "part " + of + " kernel /nix/store/dddddddddddddddddddddddddddddddd-linux-" + version + "/bzImage\n"
	}
	other := kernel("new", "6.12") // another kernel is a risk
	stopped := "web: not-started "
	for name, c := range map[string]struct {
		r       DeployRequest
		new     string // what the new system is
		dry     bool
		answer  string
		changes bool // the host is changed
		asked   int
		want    string
	}{
		"no risk":            {changes: true, want: "web: changed switched, confirmed"},
		"a risk":             {new: other, want: stopped + "web: not started: nobody accepted kernel-change"},
		"an accepted risk":   {new: other, r: DeployRequest{Accept: []string{"kernel-change"}}, changes: true, want: "web: changed switched, confirmed"},
		"an unknown risk":    {r: DeployRequest{Accept: []string{"wrong"}}, want: "error: "},
		"a yes":              {answer: "y", asked: 1, changes: true, want: "web: changed switched, confirmed"},
		"a no":               {answer: "n", asked: 1, want: stopped + "web: not started: the answer was no"},
		"yes is no question": {answer: "n", r: DeployRequest{Yes: true}, changes: true, want: "web: changed switched, confirmed"},
		"dry run":            {dry: true, want: "web: skipped dry run: nothing was done"},
	} {
		t.Run(name, func(t *testing.T) {
			dst := storetest.New()
			calls := []hosttest.Call{
				{Want: `^nix-store --serve --write$`, Again: true, Root: true, EitherWay: true, Serve: dst.Serve},
				{Want: `^nix-store --serve$`, Again: true, EitherWay: true, Serve: dst.Serve},
				{Want: `/nix/var/nix/godwit-copying /nix/store`, Root: true, Again: true, Out: "free 1000000000 1000000\n"},
				{Want: `(?s)sync -f /nix/store`, Root: true, Again: true},
				{Want: `(?s)^\{\nSTATE=/var/lib/godwit\n.*\nNEW='` + top, Root: true, Again: true, Out: "sys cur " + sysB + "\n" + kernel("cur", "6.6") + "sys booted " + sysB + "\n" + kernel("booted", "6.6") + "sys new " + top + "\n" + c.new + "end\n"},
				{Want: `^rm -f "\$1"|readlink "\$2"`, Root: true, Again: true},
			}
			if c.changes {
				calls = append(calls, goes(top)...)
			}
			m := machine{generations: []string{sysA, sysB}, more: calls}
			h := m.on(t, "web").Greets(sysB + "\n" + sysB)
			e, v := fleetOf(t, []fleet.Host{{Name: "web", Profiles: []fleet.Profile{fleet.System("", top)}}}, h)
			e.DryRun, v.answer = c.dry, c.answer
			c.r.Hosts, c.r.Action = given{src}, activate.Switch
			sum, err := Deploy(t.Context(), e, c.r)
			got := ""
			if err != nil {
				got = "error: " + err.Error()
			} else {
				got = ends(sum)
			}
			if !strings.HasPrefix(got, c.want) || v.asked != c.asked || (err == nil && (sum.Stopped != nil) != strings.HasPrefix(c.want, stopped)) {
				t.Errorf("%s, asked %d\n%s\n%s", got, v.asked, v.said("web"), strings.Join(v.lines, "\n"))
			}
			if dst.Has(top) == (c.dry || err != nil) {
				t.Errorf("copied: %t", dst.Has(top))
			}
		})
	}
}
