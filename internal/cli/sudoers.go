package cli

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"godwit/internal/fault"
)

// accountName is what may be the name of a user in a sudoers file without quotes.
var accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]*\$?$`)

func newSudoers(a *app) *cobra.Command {
	var asNix bool
	c := &cobra.Command{
		Use:   "sudoers [USER]",
		Short: "print the sudo rule that a login user needs on hosts",
		Long: `sudoers prints the sudo rule that godwit needs on a host where it logs in as USER
(default: deploy): a file for /etc/sudoers.d, or with --nix options of NixOS.

The rule allows one command: /bin/sh as root, which reads its script from standard input.
godwit calls nothing else through sudo. A user who may run that command has all rights of
root. A smaller rule is not possible, because the activation of a system needs them.` + "\n" + exitStatusHelp,
		Example: `  godwit sudoers deploy | ssh root@web1 'cat >/etc/sudoers.d/godwit && visudo -c'
  godwit sudoers --nix deploy`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			user := "deploy"
			if len(args) > 0 {
				user = args[0]
			}
			if !accountName.MatchString(user) {
				return fault.New("%q is not a user name", user)
			}
			return a.print(sudoers(user, asNix))
		},
	}
	c.Flags().BoolVar(&asNix, "nix", false, "as options of NixOS")
	return c
}

// sudoers is the rule for a user: what ssh.bootstrap and local.bootstrap run.
func sudoers(user string, asNix bool) string {
	if asNix {
		return fmt.Sprintf(`{
  # godwit runs nothing else with sudo. Who may run this is root.
  security.sudo.extraRules = [
    { users = [ %q ]; runAs = "root"; commands = [ { command = "/bin/sh"; options = [ "NOPASSWD" ]; } ]; }
  ];
}
`, user)
	}
	return fmt.Sprintf(`# godwit runs nothing else with sudo. Who may run this is root.
Defaults:%[1]s !requiretty
%[1]s ALL=(root) NOPASSWD: /bin/sh
`, user)
}
