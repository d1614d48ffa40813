package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
)

func newDiff(a *app) *cobra.Command {
	var r action.DiffRequest
	var p passwords
	c := &cobra.Command{
		Use:   "diff [DEPLOYMENT] HOST [FROM] [TO]",
		Short: "show which packages differ between two systems of a host",
		Long: `diff compares two systems of a host package by package: versions, added and removed
packages, sizes. FROM and TO are numbers of generations, or words:

  running  what the host runs        booted   what it was booted with
  boot     what it boots next        profile  what its profile names
  config   what the configuration says now

Without FROM and TO, diff compares running with config. With FROM only, it compares FROM
with running. The system of the configuration is built if neither the host nor the
builder has it. --verbose also shows packages that were only rebuilt.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit diff network.nix web1
  godwit diff network.nix web1 41 42
  godwit diff network.nix web1 booted running --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.New("diff takes a deployment file and a host").Hint("%s", fault.Raw(c.UseLine()))
			}
			f := a.fleetArgs(c.Context(), args)
			words := f.Hosts
			if !fragment(f) { // else the host is there
				if len(words) == 0 {
					return fault.New("diff takes a host and at most two systems").Hint("%s", fault.Raw(c.UseLine()))
				}
				words = words[1:]
			}
			f.Hosts = f.Hosts[:len(f.Hosts)-len(words)]
			from, to := "running", "config"
			switch len(words) {
			case 0:
			case 1:
				from, to = words[0], "running"
			case 2:
				from, to = words[0], words[1]
			default:
				return fault.New("diff takes a host and at most two systems").Hint("%s", fault.Raw(c.UseLine()))
			}
			for _, word := range []string{from, to} {
				if err := action.CheckSystemWord(word); err != nil {
					return err
				}
			}
			r.Where, r.From, r.To = f, from, to
			return a.reporting(c.Context(), &p, func(ctx context.Context, e *action.Env, v *view) error {
				d, err := action.Diff(ctx, e, r)
				if err != nil {
					return err
				}
				v.close()
				if a.globals.json {
					return a.printJSON(d)
				}
				fmt.Fprintf(a.stderr, "%s\n  from  %s\n  to    %s\n\n", d.Host, d.From, d.To)
				return a.print(v.Plain(d.Text(a.globals.verbose)))
			})
		},
	}
	passwordFlags(c, &p)
	c.Flags().StringVar(&r.Profile, "profile", "", "compare this `PROFILE` of the host instead of its system: running, profile (what is kept) and config")
	c.Flags().BoolVar(&r.NoBuild, "no-build", false, "fail instead of building the system of the configuration")
	return c
}
