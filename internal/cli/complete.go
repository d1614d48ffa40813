package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/builder"
	"godwit/internal/plan"
	"godwit/internal/source/all"
	"godwit/internal/source/reader"
)

// completions says what a shell offers: files where a deployment file or a plan
// is due, the words that arguments and flags know, and the hosts that the deployment
// file had when it was last read. Nothing is evaluated for it.
func completions(a *app, root *cobra.Command) {
	second := map[string][]string{
		"deploy": {"switch", "boot", "test", "dry-activate"},
		"plan":   {"switch", "boot", "test"},
	}
	for _, c := range root.Commands() {
		if c.Flags().Lookup("on") != nil {
			_ = c.RegisterFlagCompletionFunc("on", func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				return a.hostsOf(c, args), cobra.ShellCompDirectiveNoFileComp
			})
		}
		switch c.Name() {
		case "exec", "builder", "completion", "help", "version", "docs":
			continue
		}
		takesHosts := strings.Contains(c.Use, "[DEPLOYMENT] HOST") || strings.Contains(c.Use, "[DEPLOYMENT] [HOST")
		c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			_, named := places(args)
			switch {
			case takesHosts && c.Name() == "diff" && len(named) > 0:
				return action.SystemWords, cobra.ShellCompDirectiveNoFileComp
			case takesHosts && len(args) == 0: // a file that begins as typed is offered when no host does
				return a.hostsOf(c, args), cobra.ShellCompDirectiveDefault
			case takesHosts:
				return a.hostsOf(c, args), cobra.ShellCompDirectiveNoFileComp
			case len(args) == 0:
				return nil, cobra.ShellCompDirectiveDefault
			case len(args) == 1:
				return second[c.Name()], cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	risks := make([]string, len(plan.RiskNames))
	for i, r := range plan.RiskNames {
		risks[i] = r.Name
	}
	words := map[string][]string{
		"progress":    {"auto", "live", "plain"},
		"builder":     {"auto", "local", "container", "target"},
		"build-on":    {"auto", "local", "container", "target"},
		"engine":      builder.EngineNames(),
		"elevate":     {"auto", "sudo", "doas", "none"},
		"accept-risk": risks,
		"compress":    {"auto", "on", "off", "ssh"},
		"copy-with":   {"godwit", "nix"},
		"direct":      {"auto", "on", "off"},
		"on-failure":  {"stop", "rollback", "continue"},
		"unreachable": {"fail", "skip", "wait"},
	}
	for flag, known := range words {
		for _, c := range append(root.Commands(), root) {
			if c.Flags().Lookup(flag) != nil || c.PersistentFlags().Lookup(flag) != nil {
				_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(known, cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
}

// hostsOf are the hosts of the deployment file that args are about, those that are not
// among args yet.
func (a *app) hostsOf(c *cobra.Command, args []string) []string {
	at, ok := all.Near(a.fleetArgs(c.Context(), args).Wish)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(reader.Remembered(action.Memory(), at), func(name string) bool { return slices.Contains(args, name) })
}
