package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/regular"
)

// Dialect is one way to write a fleet down. It is a value: its Nix and a few words.
// Everything else about reading a configuration is source/reader's.
type Dialect struct {
	// Name is what --dialect takes: "morph", "colmena".
	Name string
	// Expr is a Nix expression for a location: a function of one set { systems,
	// fallback, targets } that gives what docs/dialects.md says. FileExpr and
	// FlakeExpr make one of a dialect's .nix file.
	Expr func(l Location, o Options) string
	// Args are further arguments for Nix's evaluating processes. The features that
	// flakes need are there already. May be nil.
	Args func(l Location, o Options) []string
	// Env is what the dialect's own tool exports to Nix. May be nil.
	Env func(e Evaluating) []string
	// Setting is how the configuration spells a setting of a host or a fleet, for
	// messages and hints; of a secret: "secrets.%q.destination". "targetHost" gives "deployment.targetHost". nil: as it is.
	Setting func(name string) string
	// Other explains a configuration that is something else than the dialect's:
	// kind and args are what its Nix gives as summary.other. nil: in general words.
	Other func(l Location, kind string, args []string) error
	// Foreign says what to do about an option that the dialect does not have and that
	// people bring along from another tool; "": it is nobody's. May be nil.
	Foreign func(option string) string
	// Fit refuses a host that can never be deployed to; nil: there is none.
	Fit func(h fleet.Host) error
	// Files are names of files that are the dialect's, and Outputs those of a flake that
	// are, both in the order in which they are looked for.
	Files, Outputs []string
	// Kinds are what other dialects' Nix calls a configuration of this one's in
	// summary.other: then it is opened anew with this dialect.
	Kinds []string
	// UploadSecrets says that a deploy uploads secrets unless it is told otherwise, as
	// the dialect's own tool does.
	UploadSecrets bool
	// Above says that the dialect takes Options.Above: what its own tool has flags for.
	Above bool
	// Habits are words of the dialect's own tool that godwit takes as well.
	Habits Habits
	// Kept says why a configuration is not converted to godwit's own output; nil: it is.
	Kept func(l Location) error
	// Empty says how a host is written down, where there is none; nil: in general words.
	Empty string
	// Header are the first lines of a run that people know from the dialect's own
	// tool; nil: godwit's.
	Header func(hosts []fleet.Host, counts fleet.Counts) string
}

// Evaluating is one evaluation, as Dialect.Env is told of it.
type Evaluating struct {
	Location Location
	Options  Options
	About    About
	Nix      nix.Settings
	// What is evaluated: one of the constants below, or "nodes." and an attribute.
	What string
	// Names are the hosts of it.
	Names []string
}

// What is evaluated.
const (
	Summary = "summary"
	Hosts   = "hosts"
	Shell   = "shell"
)

// OtherKind is a configuration that is something else than the dialect's, in the word
// of summary.other. It is the cause of the error that Dialect.Other made.
type OtherKind struct{ Kind string }

func (e *OtherKind) Error() string { return "it is a " + e.Kind }

// Word is how the dialect spells a setting.
func (d *Dialect) Word(setting string) string {
	if d.Setting == nil {
		return setting
	}
	return d.Setting(setting)
}

// FileExpr makes an Expr of a dialect's Nix for files: a function of { file, … }.
func FileExpr(text string) func(Location, Options) string {
	return func(l Location, _ Options) string {
		return fmt.Sprintf("(args: (%s) ({ file = %s; } // args))", text, nix.Quote(l.File))
	}
}

// FlakeExpr is the flake of a location as a Nix expression.
func (l Location) FlakeExpr() string {
	if l.Locked == nil {
		return "(builtins.getFlake " + nix.Quote(l.Flake) + ")"
	}
	return l.Locked.Expr
}

// FlakeExpr makes an Expr of a dialect's Nix for flakes: a function of { flake, attr, … }.
func FlakeExpr(text string) func(Location, Options) string {
	return func(l Location, _ Options) string {
		return fmt.Sprintf("(args: (%s) ({ flake = %s; attr = %s; } // args))", text, l.FlakeExpr(), nix.Quote(l.Attr))
	}
}

// LinuxCounterpart is the Linux that runs on the same processor: a NixOS host
// that says nothing is one of these, whatever its deployer is.
func LinuxCounterpart(system string) string {
	if cpu, ok := strings.CutSuffix(system, "-darwin"); ok {
		return cpu + "-linux"
	}
	return system
}

// TargetOf is Request.Targets for one function from a node to a derivation: --target.
func TargetOf(lambda string) string {
	if lambda == "" {
		return ""
	}
	return "{ out =\n" + lambda + "\n; }"
}

// TargetsIn is Request.Targets for a file with a set of such functions: --target-file.
func TargetsIn(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	if err := regular.Check(file); err != nil {
		return "", fault.New("cannot read the targets in '%s': %w", file, errors.Unwrap(err))
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	return "(import " + nix.QuotePath(path) + ")", nil
}
