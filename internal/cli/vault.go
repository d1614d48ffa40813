package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/cli/vaultverbs"
	"godwit/internal/fleet"
)

// vaultFrame is what the verbs of keys and secrets have of the command line.
func (a *app) vaultFrame() *vaultverbs.Frame {
	type body = func(context.Context, *action.Env, vaultverbs.View) error
	return &vaultverbs.Frame{
		Stdin: a.stdin, Stdout: a.stdout, PrintJSON: a.printJSON, FoundHelp: foundFileHelp, ExitHelp: exitStatusHelp,
		File: func() string { return a.globals.file }, JSON: func() bool { return a.globals.json },
		Run: func(ctx context.Context, do body) error {
			return a.run(ctx, nil, func(ctx context.Context, e *action.Env, v *view) error { return do(ctx, e, v) })
		},
		Report: func(ctx context.Context, do body) error {
			return a.reporting(ctx, nil, func(ctx context.Context, e *action.Env, v *view) error { return do(ctx, e, v) })
		},
		Hosts: a.vaultHosts,
	}
}

func (a *app) vaultHosts(c *cobra.Command) func(context.Context, []string, func(context.Context, *action.Env, vaultverbs.View, action.HostsRequest) (*action.Summary, func() error, error)) error {
	var sel fleet.Selection
	var p passwords
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	return func(ctx context.Context, args []string, do func(context.Context, *action.Env, vaultverbs.View, action.HostsRequest) (*action.Summary, func() error, error)) error {
		r := action.HostsRequest{Where: a.fleetArgs(ctx, args), Selection: sel}
		return a.run(ctx, &p, func(ctx context.Context, e *action.Env, v *view) error {
			sum, then, err := do(ctx, e, v, r)
			if err == nil {
				err = v.finish(ctx, sum)
			}
			if err == nil && then != nil {
				err = then()
			}
			return err
		})
	}
}
