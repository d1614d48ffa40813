package cli

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/shell"
)

// deployRsFlags are those of deploy-rs's own command line, so that people who come from
// it can go on typing them: alias deploy='godwit deploy'. They do not show in help;
// docs/deploy-rs.md lists them.
type deployRsFlags struct {
	targets                                                  []string
	dryActivate, boot, remoteBuild, checkSigs, keep, verbose bool
	skipChecks, interactive                                  bool
	hostname, sshUser, profileUser, sshOpts, sudo, tempPath  string
	logDir, resultPath                                       string
	fast, auto, magic, succeeded, interactiveSudo            truth
	activationTimeout                                        int
}

// truth is a flag that takes true or false as a word of its own: --magic-rollback false.
type truth struct{ given, value bool }

func (t *truth) String() string {
	if !t.given {
		return ""
	}
	return strconv.FormatBool(t.value)
}
func (t *truth) Type() string { return "true|false" }
func (t *truth) Set(s string) error {
	switch s {
	case "true", "false":
		*t = truth{true, s == "true"}
		return nil
	}
	return fmt.Errorf("it takes true or false, not %q", s)
}

func (o *deployRsFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.targets, "targets", nil, "the same as naming `TARGET`s as words")
	f.BoolVar(&o.dryActivate, "dry-activate", false, "the action dry-activate")
	f.BoolVar(&o.boot, "boot", false, "the action boot")
	f.BoolVar(&o.remoteBuild, "remote-build", false, "the same as --builder target")
	f.BoolVarP(&o.checkSigs, "checksigs", "c", false, "the same as --copy-with nix")
	f.BoolVarP(&o.keep, "k", "k", false, "the same as --keep-result")
	f.BoolVarP(&o.verbose, "debug-logs", "d", false, "the same as --verbose")
	f.BoolVarP(&o.skipChecks, "skip-checks", "s", false, "nothing: godwit does not run nix flake check")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "nothing: godwit asks on a terminal anyway")
	f.StringVar(&o.hostname, "hostname", "", "the `ADDRESS` of the selected hosts")
	f.StringVar(&o.sshUser, "ssh-user", "", "the `USER` that logs in")
	f.StringVar(&o.profileUser, "profile-user", "", "the `USER` whose the profiles are")
	f.StringVar(&o.sshOpts, "ssh-opts", "", "`WORDS` for ssh, before those of the configuration")
	f.StringVar(&o.sudo, "sudo", "", "the `WORDS` before a user and a command that make it that user's")
	f.StringVar(&o.tempPath, "temp-path", "", "nothing: there is no file in a `DIR` that others could touch")
	f.StringVar(&o.logDir, "log-dir", "", "refused")
	f.StringVarP(&o.resultPath, "result-path", "r", "", "refused")
	f.Var(&o.fast, "fast-connection", "whether hosts fetch nothing from substituters")
	f.Var(&o.auto, "auto-rollback", "whether a failed activation goes back")
	f.Var(&o.magic, "magic-rollback", "whether a host that nobody confirms goes back")
	f.Var(&o.succeeded, "rollback-succeeded", "the same as --on-failure rollback, or stop")
	f.Var(&o.interactiveSudo, "interactive-sudo", "the same as --passwd")
	f.IntVar(&o.activationTimeout, "activation-timeout", 0, "the same as --activate-timeout")
	mine := []string{"targets", "dry-activate", "boot", "remote-build", "checksigs", "k", "debug-logs", "skip-checks", "interactive", "hostname", "ssh-user",
		"profile-user", "ssh-opts", "sudo", "temp-path", "log-dir", "result-path", "fast-connection", "auto-rollback", "magic-rollback",
		"rollback-succeeded", "interactive-sudo", "activation-timeout"}
	for _, name := range mine {
		_ = f.MarkHidden(name)
	}
}

// deployRsMeaning is what the flags mean for a deploy.
type deployRsMeaning struct {
	args  []string       // of the command, targets and action among them
	above map[string]any // settings of deploy-rs above the configuration's
}

// settle gives the words of the command line their meaning, and sets those flags of
// godwit's own that are the same.
func (o *deployRsFlags) settle(c *cobra.Command, args []string) (m deployRsMeaning, err error) {
	f := c.Flags()
	switch {
	case o.logDir != "":
		return m, fault.New("there is no directory for logs: they are on the hosts").Hint("%s", fault.Raw("godwit history --id ID shows the log of a deployment"))
	case o.resultPath != "":
		return m, fault.New("the results' place is .gcroots beside the configuration").Hint("%s", fault.Raw("--keep-result keeps them there"))
	}
	m.args = slices.Concat(o.targets, args)
	if o.dryActivate && o.boot {
		return m, fault.New("--dry-activate and --boot exclude each other")
	}
	for flag, act := range map[string]activate.Action{"dry-activate": activate.DryActivate, "boot": activate.Boot} {
		if on, _ := f.GetBool(flag); !on {
			continue
		}
		if last := len(m.args) - 1; last >= 0 {
			if word, err := action.ParseAction(m.args[last]); err == nil {
				if word != act {
					return m, fault.New("--%s and the action %s exclude each other", flag, word)
				}
				m.args = m.args[:last]
			}
		}
		m.args = append(m.args, string(act))
	}
	// What godwit has a flag for.
	for _, same := range []struct {
		when        bool
		flag, value string
	}{
		{o.remoteBuild, "builder", "target"},
		{o.checkSigs, "copy-with", "nix"},
		{o.keep, "keep-result", "true"},
		{o.verbose, "verbose", "true"},
		{o.auto.given, "no-guard", strconv.FormatBool(!o.auto.value)},
		{o.interactiveSudo.given, "passwd", o.interactiveSudo.String()},
		{o.succeeded.given && o.succeeded.value, "on-failure", "rollback"},
		{o.succeeded.given && !o.succeeded.value, "on-failure", "stop"},
		{f.Changed("activation-timeout"), "activate-timeout", strconv.Itoa(o.activationTimeout)},
	} {
		if !same.when {
			continue
		}
		if f.Changed(same.flag) {
			if set := f.Lookup(same.flag).Value.String(); set != same.value {
				return m, fault.New("--%s=%s and a flag of deploy-rs's that means --%[1]s=%s exclude each other", same.flag, set, same.value)
			}
			continue
		}
		if err := f.Set(same.flag, same.value); err != nil {
			return m, err
		}
	}
	m.above, err = o.above()
	return m, err
}

// above are the settings that only the dialect can take.
func (o *deployRsFlags) above() (map[string]any, error) {
	above := map[string]any{}
	for name, text := range map[string]string{"hostname": o.hostname, "sshUser": o.sshUser, "profileUser": o.profileUser, "sudo": o.sudo} {
		if text != "" {
			above[name] = text
		}
	}
	if o.sshOpts != "" {
		words, err := shell.Split(o.sshOpts)
		if err != nil {
			return nil, fault.New("--ssh-opts: %w", err)
		}
		above["sshOpts"] = words
	}
	for name, t := range map[string]truth{"fastConnection": o.fast, "interactiveSudo": o.interactiveSudo, "autoRollback": {o.auto.given && o.auto.value, true}, "magicRollback": o.magic} {
		if t.given {
			above[name] = t.value
		}
	}
	if len(above) == 0 {
		return nil, nil
	}
	return above, nil
}
