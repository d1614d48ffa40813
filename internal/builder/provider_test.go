package builder

import (
	"context"
	"slices"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// rented is an origin that godwit does not have: what it takes to add one.
type rented struct{ offers bool }

func (r rented) Means(word string, _ fleet.Host) bool { return word == "rented" }
func (r rented) Take(_ context.Context, q Question) (Offer, error) {
	return Offer{Builder: fake{"rented", KindSSH}, Kind: KindSSH, Words: "a rented machine"}, nil
}
func (r rented) Offer(ctx context.Context, q Question) (Offer, error) {
	if !r.offers || len(q.Foreign) == 0 {
		return Offer{}, nil
	}
	return r.Take(ctx, q)
}
func (r rented) Why(context.Context, Question) Why {
	return Why{Rows: [][2]string{{"rented", "no money is left"}}, Hints: []string{"earn some"}}
}

func TestAnotherOrigin(t *testing.T) {
	here := Capability{System: "x86_64-linux", MaxJobs: 1}
	std := providers(tooling{
		here:   here,
		engine: func(context.Context) EngineFacts { return EngineFacts{Lines: [][2]string{{"Docker", "not installed"}}} },
		local:  func() Builder { return fake{"local", KindLocal} },
	})
	h := fleet.Host{Name: "pi", Platform: fleet.Platform{Name: "riscv64-linux"}}
	foreign := []Need{{System: "riscv64-linux", Drvs: []string{"/nix/store/a.drv"}}}
	own := []Need{{System: "x86_64-linux"}}
	for _, c := range []struct {
		name   string
		offers bool
		wanted string
		needs  []Need
		want   string // builder, reason
		err    string
	}{
		{"offered", true, "", foreign, "rented: pi needs riscv64-linux, which this machine (x86_64-linux) cannot build: a rented machine", ""},
		{"not needed", true, "", own, "local: this machine builds x86_64-linux", ""},
		{"asked for", false, "rented", own, "rented: a rented machine: asked for on the command line", ""},
		{"nobody", false, "", foreign, "", "  rented         no money is left\n"},
		{"nobody hints", false, "", foreign, "", "hint: earn some\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := &chooser{here: here, wanted: c.wanted, providers: append(slices.Clone(std), rented{c.offers})}
			a, err := ch.decide(t.Context(), h, c.needs, 0)
			if c.err != "" {
				if err == nil || !strings.Contains(fault.Render(err), c.err) {
					t.Errorf("want %q in %v", c.err, err)
				}
				return
			}
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			if got := a.Builder.Name() + ": " + a.Reason; got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
