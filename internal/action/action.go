// Package action is what godwit's verbs do, without a command line: each verb is a
// function that takes a request (values), tells what happens as events, and gives a
// summary or a report. Flags, completion and how a report looks are the caller's.
package action

import (
	"context"
	"slices"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/settings"
	"godwit/internal/source"
)

// View is where a run is seen: it takes the events, and the few lines that are none.
type View interface {
	event.Sink
	// Announce names the hosts of a run before the first event of one.
	Announce(hosts []string)
	// Println shows a line to a person alone, where events say the same.
	Println(line string)
	// Tell is a line of which no event says the same, and Output one that scripts read on
	// stdout. A view that shows events shows both as notes, or as warnings.
	Tell(line string)
	Output(line string)
	// Using tells which configuration was found. why is empty where it was looked for.
	Using(at source.Location, why string)
	// Watched says that a person sees the run and can be asked; Ask asks until ctx ends,
	// with approve.ErrNobody where nobody is there after all, as CanAsk tells.
	Watched() bool
	CanAsk() bool
	Ask(ctx context.Context, question string) (string, error)
	// Plan shows what a run would change.
	Plan(p *plan.Plan, verbose bool)
}

// Env is what the actions of one command line share. Nothing in it says which action
// runs, and an action changes nothing in it.
type Env struct {
	View View
	// Getenv is the environment of the process.
	Getenv func(name string) string
	// Settings are the user's, read when they are first asked for.
	Settings func() (*settings.Settings, error)
	// Version is godwit's own, as records on hosts name it.
	Version string
	Options

	// fakes puts what tests have in place of Nix and ssh into a run; nil outside of them.
	fakes func(*session)
}

// Options are choices that hold for every action.
type Options struct {
	// DryRun tells what would be done: nothing is built, no host is changed.
	DryRun bool
	// Verbose has what else would be left out.
	Verbose bool
	// Message is why the run was started, for the history.
	Message string
	// KeepResult roots what was built beside the configuration; ResultDir makes a
	// directory with a link for each host of it, and tells where.
	KeepResult, ResultDir bool
	// Nix are options of Nix, names and values; ShowTrace asks for its whole traces.
	Nix       [][2]string
	ShowTrace bool
	// BuildArgs are further arguments of Nix's builds.
	BuildArgs []string
	// Impure, Overrides (input and reference), NoEvalCache, ExplainCache and AllowBuildShell are how
	// a configuration is read; Above are settings that stand above its own.
	Impure, NoEvalCache, ExplainCache, AllowBuildShell bool
	Overrides                                          [][2]string
	Above                                              map[string]any
	// Limits are how much runs at once.
	Limits deploy.Limits
	// Builder is where to build, in the words of --builder; the others are of the
	// container builder. Empty: as the user's settings say.
	Builder, Engine, Image, ImageFile string
	// Elevate is how to become root on hosts; User who logs in, where that is not as
	// the configuration says; Targets are other addresses of hosts.
	Elevate, User string
	Targets       fleet.Targets
	// ForwardAgent lets sudo on all hosts ask the agent of this machine.
	ForwardAgent bool
	// Local is the host that is this machine: a name, or ThisMachine; empty: the one
	// whose configuration allows it. LocalAllowed refuses any other.
	Local        string
	LocalAllowed bool
	// Password gives the password of sudo; nil: hosts that want one fail. With
	// PasswordOnRequest it is called when a host asks, else before the first one does.
	Password          func(context.Context) (string, error)
	PasswordOnRequest bool
	// Copy is how closures travel.
	Copy Copying
}

// Copying is how closures travel to hosts, in the words of the settings [copy].
type Copying struct {
	With, Compress, Direct string
	// NoSubstitute overrides what the configuration says of every host.
	NoSubstitute bool
}

// Summary is how a run over hosts ended.
type Summary struct {
	Outcomes []deploy.Outcome
	// Stopped is why the plan was turned down; nil: it was not.
	Stopped *fault.Error
}

// Actions are the words for what a deploy does with a system.
var Actions = []string{string(activate.DryActivate), string(activate.Test), string(activate.Switch), string(activate.Boot)}

// ParseAction reads one of Actions.
func ParseAction(word string) (activate.Action, error) {
	if slices.Contains(Actions, word) {
		return activate.Action(word), nil
	}
	f := fault.New("%q is not a switch action: use dry-activate, test, switch or boot", word)
	if near := fleet.Nearest(word, Actions); near != "" {
		f.Hint("did you mean %s?", near)
	}
	return "", f
}
