package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/source/all"
)

// The verbs and flags of colmena's, so that `alias colmena=godwit` keeps a person's
// habits. They are other words for godwit's own: nothing here deploys.

func newApply(a *app) *cobra.Command {
	own := newDeploy(a)
	c := &cobra.Command{
		Use:   "apply [DEPLOYMENT] [build|push|switch|boot|test|dry-activate|upload-keys]",
		Short: "deploy, as colmena's apply: with keys; the default action is switch",
		Long: `apply is deploy for people who know colmena. The default action is switch (with
--reboot: boot), and keys are uploaded unless --no-keys is given. The actions build,
push and upload-keys are the verbs build, push and upload-secrets.` + "\n" + exitStatusHelp,
		Example: "  godwit apply --on @web\n  godwit apply boot --reboot --on 'db*'",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			words, err := applyWords(c.Flags(), args)
			if err != nil {
				return err
			}
			return a.again(c, words)
		},
	}
	habitFlags(c)
	c.Flags().AddFlagSet(own.Flags())
	c.Flags().Bool("no-keys", false, "do not upload keys")
	return c
}

// applyWords is what apply stands for.
func applyWords(f *pflag.FlagSet, args []string) ([]string, error) {
	goal := "switch"
	if f.Changed("reboot") {
		goal = "boot"
	}
	verb := "deploy"
	if n := len(args); n > 0 && !all.IsPlace(args[n-1]) {
		goal, args = args[n-1], args[:n-1]
		goals := goals()
		i := slices.IndexFunc(goals, func(g source.Goal) bool { return g.Word == goal })
		if i < 0 {
			var words []string
			for _, g := range goals {
				words = append(words, g.Word)
			}
			e := fault.New("%q is not an action: use one of %s", goal, strings.Join(words[:len(words)-1], ", "))
			if near := fleet.Nearest(goal, words); near != "" {
				e.Hint("did you mean %s?", near)
			}
			return nil, e
		}
		verb = goals[i].Verb
	}
	keys := true
	if no, err := f.GetBool("no-keys"); err == nil && no {
		keys = false
	}
	if verb == "upload-secrets" && !keys {
		return nil, fault.New("--no-keys leaves nothing to upload")
	}
	out := append([]string{verb}, args...)
	if verb == "deploy" {
		out = append(out, goal)
		if goal != "dry-activate" && !f.Changed("upload-secrets") {
			out = append(out, fmt.Sprintf("--upload-secrets=%t", keys))
		}
	}
	return append(out, flagWords(f)...), nil
}

// flagWords are the flags that were given, as words.
func flagWords(f *pflag.FlagSet) []string {
	var out []string
	f.Visit(func(x *pflag.Flag) {
		if x.Value.Type() == "boolfunc" { // it has set another, or means nothing
			return
		}
		if list, ok := x.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				out = append(out, "--"+x.Name+"="+v)
			}
			return
		}
		out = append(out, "--"+x.Name+"="+x.Value.String())
	})
	return out
}

// again runs another verb in place of c. Flags that it does not know have no meaning for
// it, as in colmena.
func (a *app) again(c *cobra.Command, words []string) error {
	root := newRoot(a)
	verb, _, err := root.Find(words[:1])
	if err != nil {
		return err
	}
	words = slices.DeleteFunc(words, func(w string) bool {
		name, flag := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		return flag && verb.Flag(name) == nil && root.PersistentFlags().Lookup(name) == nil
	})
	root.SetArgs(words)
	return root.ExecuteContext(c.Context())
}

func newApplyLocal(a *app) *cobra.Command {
	own := newDeploy(a)
	var node string
	c := &cobra.Command{
		Use:   "apply-local [DEPLOYMENT] [switch|boot|test|dry-activate]",
		Short: "deploy this machine, as colmena's apply-local",
		Long: `apply-local is deploy --local for people who know colmena. It deploys the host that has
this machine's name, or the host of --node, without ssh. The configuration of the host
must allow that (deployment.allowLocalDeployment).` + "\n" + exitStatusHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			words, err := applyWords(c.Flags(), args)
			if err != nil {
				return err
			}
			if words[0] != "deploy" {
				return fault.New("apply-local takes the actions switch, boot, test and dry-activate").Hint("godwit %s does the rest", words[0])
			}
			local := "--local"
			if node != "" {
				local += "=" + node
			}
			return a.again(c, append(words, local, "--local-allowed"))
		},
	}
	// Before deploy's flags, of which one is called so and takes a word.
	c.Flags().BoolFunc("sudo", "become root with sudo; not needed, because --elevate finds that out by itself", func(string) error { return nil })
	habitFlags(c)
	c.Flags().AddFlagSet(own.Flags())
	c.Flags().Bool("no-keys", false, "do not upload keys")
	c.Flags().StringVar(&node, "node", "", "the `HOST` that this machine is (default: the one with its name)")
	return c
}

func newUploadKeys(a *app) *cobra.Command {
	c := newUploadSecrets(a)
	c.Use, c.Short = "upload-keys [DEPLOYMENT]", "upload keys, as colmena's upload-keys; the same as upload-secrets"
	return c
}

func newNixInfo(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "nix-info", Short: "print which Nix godwit uses here", Args: cobra.NoArgs,
		Long: "nix-info prints the version of Nix, the platform that it builds for, and the settings that matter for a deploy." + "\n" + exitStatusHelp,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.reporting(c.Context(), nil, func(ctx context.Context, e *action.Env, v *view) error {
				tool, err := action.Nix(ctx, e)
				if err != nil {
					return err
				}
				conf, err := tool.Config(ctx)
				if err != nil {
					return err
				}
				v.close()
				return a.print(fmt.Sprintf("%s\nsystem: %s\nsubstituters: %s\nbuilders: %s\n",
					tool.Version, conf.System, strings.Join(conf.Substituters, " "), conf.Builders))
			})
		},
	}
}

// newRepl says what there is in place of colmena's repl.
func newRepl() *cobra.Command {
	return &cobra.Command{
		Use: "repl", Short: "what to use instead of colmena's repl", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return fault.New("godwit has no repl of its own").
				Hint("use nix repl, and type :lf . there for a flake or :l ./hive.nix for a file").
				Hint("godwit eval -E '{ nodes, pkgs, lib }: …' for one value")
		},
	}
}
