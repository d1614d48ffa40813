package colmena

import "godwit/internal/source"

// habits are the command line of colmena: alias colmena=godwit.
var habits = source.Habits{
	Verbs:      []string{"build", "push", "deploy", "apply", "apply-local"},
	LastCounts: true,
	Flags: []source.Habit{
		word("build-on-target", "builder", "target"),
		word("no-build-on-target", "builder", "auto"),
		word("no-gzip", "compress", "off"),
		word("no-substitutes", "no-substitute", "true"),
		word("force-replace-unknown-profiles", "accept-risk", "unknown-profile"),
		{Name: "eval-node-limit", Takes: source.Text, Usage: sized},
		{Name: "evaluator", Takes: source.Text, Usage: sized},
	},
	Goals: []source.Goal{
		{Word: "build", Verb: "build"}, {Word: "push", Verb: "push"}, {Word: "switch", Verb: "deploy"}, {Word: "boot", Verb: "deploy"}, {Word: "test", Verb: "deploy"},
		{Word: "dry-activate", Verb: "deploy"}, {Word: "upload-keys", Verb: "upload-secrets"}, {Word: "keys", Verb: "upload-secrets"},
	},
}

const sized = "a flag of colmena without effect: godwit chooses the number of processes by memory and processors"

// word is one of colmena's for a flag of godwit's with a value.
func word(name, flag, value string) source.Habit {
	return source.Habit{Name: name, Usage: "colmena's word for --" + flag + "=" + value, Flag: flag, Values: map[string]string{"true": value}}
}
