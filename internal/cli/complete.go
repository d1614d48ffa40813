package cli

import (
	"github.com/spf13/cobra"

	"godwit/internal/plan"
)

// completions says what a shell offers: files where a deployment file or a plan
// is due, and the words that arguments and flags know. Hosts are not offered,
// because naming them takes an evaluation.
func completions(root *cobra.Command) {
	second := map[string][]string{
		"deploy": {"switch", "boot", "test", "dry-activate"},
		"plan":   {"switch", "boot", "test"},
	}
	for _, c := range root.Commands() {
		switch c.Name() {
		case "exec", "builder", "completion", "help", "version", "docs":
			continue
		}
		c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return nil, cobra.ShellCompDirectiveDefault
			case 1:
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
		"engine":      {"docker", "podman", "nerdctl"},
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
