package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/cli/show"
	"godwit/internal/fault"
	"godwit/internal/ui"
)

func newStatus(a *app) *cobra.Command {
	var r action.StatusRequest
	var p passwords
	c := &cobra.Command{
		Use:   "status [DEPLOYMENT] [HOST...]",
		Short: "show what hosts run, and whether that is what the configuration says",
		Long: `status asks all selected hosts at the same time what they run, were booted with and boot
next, who deployed that and from which commit, which units have failed, how much space is
left, and whether a deployment waits for its confirmation. It evaluates the configuration
and says which hosts run something else. Nothing is built or changed. --verbose shows
everything about each host; --json is for scripts.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit status network.nix
  godwit status network.nix web1 --verbose
  godwit status network.nix --no-eval --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			r.Where = a.fleetArgs(c.Context(), args)
			return a.reporting(c.Context(), &p, func(ctx context.Context, e *action.Env, v *view) error {
				if v.Mode() == ui.Live { // elsewhere the answer is all that is of interest
					r.Asked = v
				}
				found, err := action.Status(ctx, e, r)
				switch {
				case err != nil:
					return err
				case interrupted(ctx):
					return silent{ExitInterrupted}
				}
				v.close()
				return v.status(found)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	c.Flags().BoolVar(&r.NoEval, "no-eval", false, "do not evaluate the systems: only what hosts say, no comparison with the configuration")
	return c
}

// status prints what hosts run, and gives the exit code.
func (v *view) status(out *action.Fleet) (err error) {
	if v.app.globals.json {
		err = v.app.printJSON(out)
	} else {
		err = v.app.print(v.Plain(show.Status(v.width(), out, v.app.globals.verbose)))
		for _, b := range out.Broken {
			fmt.Fprint(v.app.stderr, fault.Render(b))
		}
		for _, h := range show.Hints(out.Hosts) {
			fmt.Fprintln(v.app.stderr, "hint: "+h)
		}
	}
	if err == nil && !out.OK {
		err = silent{ExitDrift}
	}
	return err
}
