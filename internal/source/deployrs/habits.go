package deployrs

import "godwit/internal/source"

// habits are the command line of deploy-rs: alias deploy='godwit deploy'.
// docs/deploy-rs.md lists the flags.
var habits = source.Habits{
	Verbs: []string{"deploy"},
	Flags: []source.Habit{
		{Name: "targets", Takes: source.Texts, Usage: "the same as naming `TARGET`s as arguments", Words: true},
		{Name: "dry-activate", Usage: "the action dry-activate", Action: "dry-activate"},
		{Name: "boot", Usage: "the action boot", Action: "boot"},
		{Name: "remote-build", Usage: "the same as --builder target", Flag: "builder", Values: map[string]string{"true": "target"}},
		{Name: "checksigs", Short: "c", Usage: "the same as --copy-with nix", Flag: "copy-with", Values: map[string]string{"true": "nix"}},
		{Name: "k", Short: "k", Usage: "the same as --keep-result", Flag: "keep-result"},
		{Name: "debug-logs", Short: "d", Usage: "the same as --verbose", Flag: "verbose"},
		{Name: "skip-checks", Short: "s", Usage: "nothing: godwit does not run nix flake check"},
		{Name: "interactive", Short: "i", Usage: "nothing: godwit asks on a terminal anyway"},
		{Name: "hostname", Takes: source.Text, Usage: "the `ADDRESS` of the selected hosts", Above: "hostname"},
		{Name: "ssh-user", Takes: source.Text, Usage: "the `USER` that logs in", Above: "sshUser"},
		{Name: "profile-user", Takes: source.Text, Usage: "the `USER` who owns the profiles", Above: "profileUser"},
		{Name: "ssh-opts", Takes: source.ShellText, Usage: "`WORDS` for ssh, before those of the configuration", Above: "sshOpts"},
		{Name: "sudo", Takes: source.Text, Usage: "the `WORDS` that run a command as another user; the user and the command follow them", Above: "sudo"},
		{Name: "temp-path", Takes: source.Text, Usage: "nothing: godwit writes no file to a `DIR` that others can write to"},
		{Name: "log-dir", Takes: source.Text, Usage: "refused", Refused: "there is no directory for logs: the logs are on the hosts",
			Hint: "godwit history --id ID shows the log of a deployment"},
		{Name: "result-path", Short: "r", Takes: source.Text, Usage: "refused", Refused: "results are in .gcroots beside the configuration",
			Hint: "--keep-result keeps them there"},
		{Name: "fast-connection", Takes: source.TrueFalse, Usage: "whether hosts fetch nothing from substituters", Above: "fastConnection"},
		{Name: "auto-rollback", Takes: source.TrueFalse, Usage: "whether a failed activation goes back",
			Flag: "no-guard", Values: map[string]string{"true": "false", "false": "true"}, Above: "autoRollback", AboveOnly: "true"},
		{Name: "magic-rollback", Takes: source.TrueFalse, Usage: "whether a host goes back if it is not confirmed", Above: "magicRollback"},
		{Name: "rollback-succeeded", Takes: source.TrueFalse, Usage: "the same as --on-failure rollback, or stop",
			Flag: "on-failure", Values: map[string]string{"true": "rollback", "false": "stop"}},
		{Name: "interactive-sudo", Takes: source.TrueFalse, Usage: "the same as --passwd", Flag: "passwd", Above: "interactiveSudo"},
		{Name: "activation-timeout", Takes: source.Number, Usage: "the same as --activate-timeout", Flag: "activate-timeout"},
	},
}
