// Package source is how a fleet is written down, for everybody who only wants to
// know which hosts there are: a Source is a configuration that was found, a
// Location says where it is, and a Dialect is one way to write it. The dialects
// are packages below this one (source/all lists them), source/reader evaluates
// any of them. docs/dialects.md is the contract between a dialect's Nix and Go.
package source

import (
	"context"

	"godwit/internal/event"
	"godwit/internal/flakeref"
	"godwit/internal/fleet"
	"godwit/internal/nix"
)

// Source is a configuration that was found and read as far as it says something of
// itself. Load evaluates its hosts, as often as it is asked.
type Source interface {
	About() About
	Load(ctx context.Context, r Request) (*Result, error)
}

// About is what a configuration says of itself; no host is evaluated for it.
type About struct {
	At           Location
	Names        []string // of all hosts, in the configuration's order
	Description  string
	OrderingTags []string
	NixConfig    map[string]string
	Settings     fleet.Settings
	// MustChoose says that hosts are not to be changed before somebody chose some.
	MustChoose bool
	// UploadSecrets says that a deploy uploads secrets unless it is told otherwise, as
	// the tool does that the configuration was written for.
	UploadSecrets bool
	// Shell says that the configuration has a shell that builds run in (Sheller).
	Shell bool
}

// Request is what Load is asked for.
type Request struct {
	Selection fleet.Selection
	// Outputs asks for the derivations of each selected host's profiles, besides
	// its metadata.
	Outputs bool
	// Only are the names of the profiles that are of interest; nil: all.
	Only []string
	// OnlyOf are the same by host, for hosts of which a profile was named with the
	// host: one that the host does not have is an error of it. It stands above Only.
	OnlyOf map[string][]string
	// Targets, when set, is a Nix expression of a set of functions from a node to a
	// derivation (TargetOf, TargetsIn). They take the place of the profiles.
	Targets string
	// Platforms are those of hosts whose configuration does not say one, where the
	// hosts were asked.
	Platforms map[string]string
	// OnHost takes each selected host as soon as it is evaluated, in no order;
	// nil when nobody waits for single hosts. It is only called while the
	// selection cannot drop the host any more. Calls do not overlap.
	OnHost func(fleet.Host)
	// RootDir, when set, is where links to the derivations are made that keep
	// them from garbage collection until the caller removes the directory.
	RootDir string
}

// Result is a loaded fleet.
type Result struct {
	// Fleet has the selected hosts that could be evaluated, in the order in
	// which they are to be worked on.
	Fleet  *fleet.Fleet
	Counts fleet.Counts
	// Failed are the hosts that could not be evaluated, in the order of the
	// configuration. Each of them was selected, or may have been: the tags of a
	// host that fails are not known.
	Failed []HostError
	// Targets are by host and name, when the request asks for targets.
	Targets map[string][]Target
	// WaitRoots waits until what was instantiated has the links in Request.RootDir;
	// nil: there is nothing to wait for.
	WaitRoots func() error
}

// Rooted waits until what was instantiated has the links in Request.RootDir that
// keep it: nothing is to be built before. A nil Result has none.
func (r *Result) Rooted() error {
	if r == nil || r.WaitRoots == nil {
		return nil
	}
	return r.WaitRoots()
}

// HostError is a host that could not be evaluated.
type HostError struct {
	Host string
	Err  error
}

// Target is a derivation that Request.Targets asks for.
type Target struct{ Name, DrvPath, OutPath string }

// Options say how a configuration is opened.
type Options struct {
	// Fallback is the platform of hosts whose configuration does not say one.
	// Empty: this machine's Linux counterpart (a Mac on arm: aarch64-linux).
	Fallback string
	// KeepGCRoot and AllowBuildShell are only told to configurations whose own tool
	// tells them.
	KeepGCRoot, AllowBuildShell bool
	// Above are settings in the dialect's own words that stand above all that the
	// configuration says: texts, numbers, truths and lists of texts. They come from
	// the command line.
	Above map[string]any
	// Overrides are inputs of a flake and what to take in their place, and Impure lets
	// a flake see this machine.
	Overrides [][2]string
	Impure    bool
	// Asker asks the person whether a flake gets the settings that it asks for itself
	// (flakeref.Locked.Accepted); nil: nobody is there.
	Asker flakeref.Asker
	// Workers limits evaluating processes; 0: cores and memory decide.
	Workers int
	// Ahead, when set, is the request that Load will be called with: opening then
	// begins to evaluate it, if enough is known from an earlier run.
	Ahead *Request
	// Memory is the directory where what is known for that is kept; empty: nothing is.
	Memory string
	// Reach is where to reach hosts in this run, whatever the configuration says of the
	// address, and of the user and the port where it names any.
	Reach fleet.Targets
	// Cache is the directory where results of evaluations are kept; empty: none are, and
	// none are taken from there. ExplainCache says why some are not.
	Cache        string
	ExplainCache bool
	// Named is told the names of all hosts, before any event of a host. May be nil.
	Named func(names []string)
	// Sink takes events of step evaluate.
	Sink event.Sink
}

// What only some sources can do is asked for with a type assertion.

// Evaluator evaluates an attribute of the nodes (godwit eval).
type Evaluator interface {
	// Eval gives nodes.ATTRIBUTE as Nix writes it, or as JSON.
	Eval(ctx context.Context, attribute string, asJSON bool) (string, error)
	// Apply gives what a function of { nodes, pkgs, lib } gives, as JSON.
	Apply(ctx context.Context, function string) (string, error)
}

// Sheller has an environment that builds run in; see About.Shell.
type Sheller interface {
	InShell(ctx context.Context, tool *nix.Tool) (*nix.Tool, error)
}

// Presenter has first lines of its own for a run: what people who come from its tool
// know, ending in a line break. Empty: none.
type Presenter interface {
	Header(hosts []fleet.Host, counts fleet.Counts) string
}
