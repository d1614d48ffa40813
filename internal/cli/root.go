package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/action"
	"godwit/internal/cli/vaultverbs"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source/all"
	about "godwit/internal/version"
)

// globals are the flags that every verb takes.
type globals struct {
	dryRun          bool
	keepResult      bool
	allowBuildShell bool
	json            bool
	progress        string
	verbose         bool
	showTrace       bool
	nix             []string // "name\x00value"
	parallel        string
	builder         string
	engine          string
	image           string
	imageFile       string
	elevate         string
	forwardAgent    bool
	local           string
	user            string
	localAllowed    bool
	file            string
	flake           string
	dialect         string
	impure          bool
	noEvalCache     bool
	explainCache    bool
	targets         fleet.Targets // of --target: "HOST=ADDRESS", or an address alone
	buildHost       string
	inputs          []string // of --override-input: "name\x00reference"
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "godwit",
		Short: "deploy NixOS fleets from any laptop",
		Long: `godwit deploys the NixOS machines that one repository describes, from any laptop.

It evaluates the configuration and builds each system on a machine that can build it:
this machine, a builder in a container that godwit starts, an ssh store, or the host
itself. Then it copies the system over ssh, activates it and checks it. If the host does
not come back healthy, it goes back to the system that it ran before.` + "\n" + exitStatusHelp,
		Example: `  godwit build network.nix
  godwit deploy network.nix switch --on 'web*'
  godwit exec network.nix uptime
  godwit hosts
  godwit deploy .#web1`,
		Version:           about.Get().Text(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	g := &a.globals
	f.BoolVar(&g.dryRun, "dry-run", false, "evaluate and show what would be done; build nothing, change no host")
	f.BoolVar(&g.keepResult, "keep-result", false, "keep what was built: a GC root per host in .gcroots beside the deployment file")
	f.BoolVar(&g.allowBuildShell, "allow-build-shell", false, "allow network.buildShell to run the build in a shell")
	f.BoolVar(&g.json, "json", false, "events as JSON on stdout, one object per line (list commands: the list as JSON)")
	f.StringVar(&g.progress, "progress", "auto", "how to show progress, a `WORD`: auto, live, plain")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "show every log line")
	f.BoolVar(&g.showTrace, "show-trace", false, "show Nix's whole trace when an evaluation fails")
	f.StringArrayVar(&g.nix, "option", nil, "set a Nix option, as Nix does: --option `NAME VALUE`")
	f.StringVarP(&g.parallel, "parallel", "p", "", deploy.LimitsUsage())
	f.StringVar(&g.builder, "builder", "", "build on `WHERE`: auto, local, container, target, or a store such as ssh-ng://user@host")
	f.StringVar(&g.builder, "build-on", "", "the same as --builder `WHERE`")
	f.StringVar(&g.engine, "engine", "", "container engine, a `WORD`: docker, podman or nerdctl (default: the first that answers)")
	f.StringVar(&g.image, "image", "", "`IMAGE` of the container builder")
	f.StringVar(&g.imageFile, "image-file", "", "image of the container builder, from a `FILE` for docker load")
	f.StringVarP(&g.file, "file", "f", "", "the deployment file, instead of naming it as an argument")
	f.StringVar(&g.flake, "flake", "", "the flake that has the hosts: `REF`, REF#OUTPUT or REF#HOST")
	f.StringVar(&g.dialect, "dialect", "", "read the configuration as `NAME`: "+strings.Join(all.Names(), ", "))
	f.BoolVar(&g.impure, "impure", false, "let a flake see this machine (environment, paths), as Nix's --impure does")
	f.StringArrayVar((*[]string)(&g.targets), "target", nil, "reach a host at another address in this run: `HOST=ADDRESS`, or only [user@]address[:port] for a single host; several addresses with commas between them are tried in order; may be repeated")
	f.StringVar(&g.buildHost, "build-host", "", "build on this `HOST`, over ssh; the same as --builder ssh-ng://HOST")
	f.BoolVar(&g.noEvalCache, "no-eval-cache", false, "evaluate again, even if nothing has changed")
	f.BoolVar(&g.explainCache, "explain-cache", false, "say whether results of the evaluation are kept for the next run, and which line prevents it")
	f.StringArrayVar(&g.inputs, "override-input", nil, "use another flake for an input, as Nix does: --override-input `INPUT REF`")
	f.StringVar(&g.elevate, "elevate", "auto", "how to become root on hosts, a `WORD`: auto, sudo, doas, none")

	f.BoolVar(&g.forwardAgent, "forward-agent", false, "let sudo on hosts ask the ssh agent of this machine (pam_ssh_agent_auth); meanwhile root on the host can use the agent")
	f.StringVar(&g.user, "user", "", "log in as `USER` on the hosts of this run")
	f.StringVar(&g.local, "local", "", "reach the host `HOST` without ssh, because it is this machine (default: the host with this machine's name); select only this host, unless --on selects more")
	f.Lookup("local").NoOptDefVal = action.ThisMachine
	f.BoolVar(&g.localAllowed, "local-allowed", false, "refuse --local where the configuration does not allow it, as apply-local does")
	_ = f.MarkHidden("local-allowed")

	root.AddGroup(
		&cobra.Group{ID: "deploy", Title: "Deploying:"},
		&cobra.Group{ID: "fleet", Title: "The fleet:"},
		&cobra.Group{ID: "colmena", Title: "As in colmena:"},
		&cobra.Group{ID: "tools", Title: "Tools:"},
	)
	for _, c := range []*cobra.Command{newBuild(a), newPush(a), newPlan(a), newDeploy(a), newConfirm(a), newRollback(a), newCheckHealth(a), newUploadSecrets(a)} {
		c.GroupID = "deploy"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{newHosts(a), newListSecrets(a), newEval(a), newExec(a), newSSH(a), newStatus(a), newHistory(a), newDiff(a), newGC(a), newLock(a), newUnlock(a), newConvert(a), newInit(a)} {
		c.GroupID = "fleet"
		root.AddCommand(c)
	}
	for _, c := range vaultverbs.Commands(a.vaultFrame()) {
		c.GroupID = "fleet"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{newApply(a), newApplyLocal(a), newUploadKeys(a), newNixInfo(a)} {
		c.GroupID = "colmena"
		root.AddCommand(c)
	}
	b := newBuilder(a)
	b.GroupID = "tools"
	su := newSudoers(a)
	su.GroupID = "tools"
	dr := newDoctor(a)
	dr.GroupID = "tools"
	root.AddCommand(b, su, dr, newRepl(), newDocs(a), newMan(), newVersion(a))
	root.SetHelpCommandGroupID("tools")
	root.SetCompletionCommandGroupID("tools")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "show the help of a command"
		case "completion":
			c.Short = "print a completion script for a shell"
		}
	}
	completions(a, root)
	return root
}

// unknownCommand refuses a word that stands where a command of parent is due and
// is none. The command-line library shows a help for most of them, and is content.
func unknownCommand(root, parent *cobra.Command, args []string) error {
	c, rest, _ := parent.Find(args)
	if c.Name() == "help" {
		return unknownCommand(root, root, rest)
	}
	c.InitDefaultHelpFlag()
	if c.Runnable() || c.ParseFlags(rest) != nil || c.Flags().NArg() == 0 {
		return nil
	}
	word := c.Flags().Arg(0)
	if strings.HasPrefix(word, "__") { // how a shell asks for completions
		return nil
	}
	e := fault.New("there is no command '%s %s'", c.CommandPath(), word)
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(word); len(near) > 0 {
		return e.Hint("did you mean %s %s?", fault.Raw(c.CommandPath()), near[0])
	}
	return e.Hint("%s --help lists the commands", fault.Raw(c.CommandPath()))
}

// flagError is a flag that was not understood, without the words of the library
// that reads numbers.
func flagError(c *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		what := "a value"
		switch t := invalid.GetFlag().Value.Type(); {
		case strings.HasPrefix(t, "int"):
			what = "a whole number"
		case t == "bool":
			what = "true or false"
		}
		err = fmt.Errorf("--%s takes %s, not %q", invalid.GetFlag().Name, what, invalid.GetValue())
	}
	return fault.New("%w", err).Hint("%s --help shows the flags", fault.Raw(c.CommandPath()))
}

// exclusive refuses two flags that were given together.
func exclusive(c *cobra.Command, one, other string) error {
	if c.Flags().Changed(one) && c.Flags().Changed(other) {
		return fault.New("--%s and --%s exclude each other", one, other)
	}
	return nil
}

func newVersion(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "print godwit's version", GroupID: "tools", Args: cobra.NoArgs,
		Long: `version prints which godwit this is: the release, or the commit that it was built from,
and the platform that it runs on. --json is for scripts.` + "\n" + exitStatusHelp,
		RunE: func(*cobra.Command, []string) error {
			if a.globals.json {
				return a.printJSON(about.Get())
			}
			return a.print("godwit " + about.Get().Text() + "\n")
		},
	}
	return c
}

// version is the release, or the commit that this program was built from.
func version() string { return about.String() }

// joinOptionPairs makes Nix's spelling `--option NAME VALUE` (and --override-input) one argument, since
// flags of the command-line library take one value. Words after `--` are left alone.
func joinOptionPairs(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		pair := args[i]
		if pair == "--nix-option" { // as colmena says it
			pair = "--option"
		}
		if (pair == "--option" || pair == "--override-input") && i+2 < len(args) {
			out = append(out, pair+"="+args[i+1]+"\x00"+args[i+2])
			i += 2
			continue
		}
		out = append(out, args[i])
	}
	return out
}

// splitOptionPair undoes joinOptionPairs for a word that was not godwit's after all.
func splitOptionPair(word string) []string {
	if name, value, ok := strings.Cut(word, "\x00"); ok { // no argument of a program holds one
		flag, name, _ := strings.Cut(name, "=")
		return []string{flag, name, value}
	}
	return []string{word}
}

// nixOptions are the --option pairs.
func (g *globals) nixOptions() ([][2]string, error) {
	var out [][2]string
	for _, o := range g.nix {
		name, value, ok := strings.Cut(o, "\x00")
		if !ok {
			return nil, fault.New("--option takes two words, a name and a value").Hint("--option %s VALUE", o)
		}
		out = append(out, [2]string{name, value})
	}
	return out, nil
}

// overrides are the --override-input pairs.
func (g *globals) overrides() [][2]string {
	var out [][2]string
	for _, o := range g.inputs {
		input, ref, _ := strings.Cut(o, "\x00")
		out = append(out, [2]string{input, ref})
	}
	return out
}

// wantedBuilder is --builder, or --build-host in its words.
func (g *globals) wantedBuilder() (string, error) {
	switch {
	case g.buildHost == "":
		return g.builder, nil
	case g.builder != "":
		return "", fault.New("--builder and --build-host both say where to build")
	case g.buildHost == "localhost":
		return "local", nil
	}
	return "ssh-ng://" + g.buildHost, nil
}

// options are the flags as actions take them.
func (g *globals) options() (o action.Options, err error) {
	o = action.Options{
		DryRun: g.dryRun, Verbose: g.verbose, KeepResult: g.keepResult, ResultDir: !g.json,
		ShowTrace: g.showTrace, Impure: g.impure, NoEvalCache: g.noEvalCache, ExplainCache: g.explainCache, AllowBuildShell: g.allowBuildShell, Overrides: g.overrides(),
		Engine: g.engine, Image: g.image, ImageFile: g.imageFile,
		Elevate: g.elevate, User: g.user, Targets: g.targets, ForwardAgent: g.forwardAgent, Local: g.local, LocalAllowed: g.localAllowed,
	}
	if o.Limits, err = deploy.ParseLimits(g.parallel); err != nil {
		return o, err
	}
	if o.Nix, err = g.nixOptions(); err != nil {
		return o, err
	}
	o.Builder, err = g.wantedBuilder()
	return o, err
}
