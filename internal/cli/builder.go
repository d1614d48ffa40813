package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/builder"
	"godwit/internal/fault"
	"godwit/internal/ui"
)

func newBuilder(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "builder",
		Short: "container builders: list, start, stop, status, shell, rm",
		Long: `builder manages the containers that build for platforms that this machine cannot build
for. Commands that build start these containers by themselves. Use these verbs to look at
the containers or to change them. A builder keeps its store in a volume.` + "\n" + exitStatusHelp,
		Example: `  godwit builder list
  godwit builder start aarch64-linux
  godwit builder shell aarch64-linux -- nix-store --verify`,
	}
	c.AddCommand(
		a.builderVerb("list", "list the container builders", cobra.NoArgs,
			func(ctx context.Context, m *builder.Manager, _ []string) ([]builder.Status, error) {
				return m.List(ctx, false)
			}),
		a.builderVerb("status [BUILDER]", "show builders with their Nix, sandbox and store", cobra.MaximumNArgs(1),
			func(ctx context.Context, m *builder.Manager, args []string) ([]builder.Status, error) {
				return m.Status(ctx, first(args))
			}),
		a.builderVerb("start [SYSTEM]", "start a builder and wait until it answers", cobra.MaximumNArgs(1),
			func(ctx context.Context, m *builder.Manager, args []string) ([]builder.Status, error) {
				if a.dry("start a builder " + first(args)) {
					return m.List(ctx, false)
				}
				s, err := m.Start(ctx, first(args))
				if err != nil {
					return nil, err
				}
				return []builder.Status{*s}, nil
			}),
		a.builderVerb("stop [BUILDER]", "stop builders and keep their stores", cobra.MaximumNArgs(1),
			func(ctx context.Context, m *builder.Manager, args []string) ([]builder.Status, error) {
				if a.globals.dryRun {
					list, err := m.Status(ctx, first(args))
					for _, s := range list {
						a.dry("stop " + s.Name)
					}
					return list, err
				}
				return m.Stop(ctx, first(args))
			}),
		newBuilderRemove(a),
		newBuilderShell(a),
	)
	return c
}

// dry tells whether this is a dry run, and then says what would be done.
func (a *app) dry(would string) bool {
	if a.globals.dryRun {
		fmt.Fprintln(a.stderr, "dry run: would "+strings.TrimSpace(would))
	}
	return a.globals.dryRun
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// builderVerb is a verb that ends with a table of builders on stdout.
func (a *app) builderVerb(use, short string, args cobra.PositionalArgs, fn func(context.Context, *builder.Manager, []string) ([]builder.Status, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			return a.withBuilders(c.Context(), func(ctx context.Context, m *builder.Manager) error {
				list, err := fn(ctx, m, args)
				if err != nil {
					return err
				}
				return a.printBuilders(list)
			})
		},
	}
}

// withBuilders is the frame of the builder verbs. --json asks for the list, so
// the view stays plain.
func (a *app) withBuilders(ctx context.Context, fn func(context.Context, *builder.Manager) error) error {
	v := a.open(ui.Options{Verbose: a.globals.verbose})
	defer v.close()
	e, err := a.env(v, nil)
	if err != nil {
		return err
	}
	m, err := action.Builders(ctx, e)
	if err != nil {
		return err
	}
	return fn(ctx, m)
}

func newBuilderRemove(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "rm BUILDER|--all", Aliases: []string{"remove"}, Short: "remove builders and their stores",
		Long: `rm removes builders and the volumes with their stores. BUILDER is the name of a
container or a platform. With --image or --image-file it removes only builders of that
image.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return fault.New("name one builder, or --all").Hint("godwit builder list shows them")
			}
			return a.withBuilders(c.Context(), func(ctx context.Context, m *builder.Manager) error {
				list, err := m.List(ctx, false)
				if len(args) == 1 {
					list, err = m.Status(ctx, args[0])
				}
				if err != nil {
					return err
				}
				image := a.globals.image
				if a.globals.imageFile != "" {
					image = a.globals.imageFile
				}
				for _, s := range list {
					if image != "" && s.Image != image {
						continue
					}
					if a.dry("remove " + s.Name + " (" + s.System + ") and its store") {
						continue
					}
					if _, err := m.Remove(ctx, s.Name); err != nil {
						return err
					}
					fmt.Fprintf(a.stderr, "removed %s (%s)\n", s.Name, s.System)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "remove every builder")
	return c
}

func newBuilderShell(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "shell [BUILDER] [-- COMMAND...]", Short: "a shell, or a command, in a builder",
		Args: func(c *cobra.Command, args []string) error {
			if n := c.ArgsLenAtDash(); n > 1 || n < 0 && len(args) > 1 {
				return fault.New("shell takes one builder").Hint("godwit builder shell aarch64-linux -- COMMAND...")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			which, argv := args, []string(nil)
			if n := c.ArgsLenAtDash(); n >= 0 {
				which, argv = args[:n], args[n:]
			}
			return a.withBuilders(c.Context(), func(ctx context.Context, m *builder.Manager) error {
				if a.dry("run " + strings.Join(append([]string{cmp.Or(strings.Join(argv, " "), "a shell"), "in a builder"}, which...), " ")) {
					return nil
				}
				err := m.Shell(ctx, first(which), argv)
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					return silent{exit.ExitCode()}
				}
				return err
			})
		},
	}
}

func (a *app) printBuilders(list []builder.Status) error {
	if a.globals.json {
		if list == nil {
			list = []builder.Status{}
		}
		return a.printJSON(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stderr, "there is no container builder; commands that need one start it")
		return nil
	}
	rows := make([][]string, len(list))
	for i, s := range list {
		speed := "native"
		if s.Emulated {
			speed = "emulated"
		}
		size := ""
		if s.StoreSize > 0 {
			size = ui.Size(s.StoreSize)
		}
		since := ""
		if s.Running && !s.Since.IsZero() {
			since = ui.Elapsed(time.Since(s.Since))
		}
		rows[i] = []string{s.Name, s.System, s.State, since, speed, s.Sandbox, s.Nix, size, s.Image}
	}
	head := []string{"NAME", "SYSTEM", "STATE", "FOR", "SPEED", "SANDBOX", "NIX", "STORE", "IMAGE"}
	for i := len(head) - 1; i >= 0; i-- { // not what nobody was asked for
		if !slices.ContainsFunc(rows, func(r []string) bool { return r[i] != "" }) {
			head = slices.Delete(head, i, i+1)
			for j := range rows {
				rows[j] = slices.Delete(rows[j], i, i+1)
			}
		}
	}
	return a.print(ui.Table(0, head, rows))
}
