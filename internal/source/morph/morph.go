// Package morph reads morph's network.nix: the attribute set of machines that
// DBCDK/morph deploys. Its Nix code (network.nix beside this file) is godwit's
// own and needs nothing but builtins until a host's own eval-config.nix runs.
package morph

import (
	"context"
	_ "embed" // network.nix
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/regular"
)

//go:embed network.nix
var networkNix string

// Options say how a network is evaluated.
type Options struct {
	// Fallback is the platform of hosts whose configuration does not say one.
	// Empty: this machine's Linux counterpart (a Mac on arm: aarch64-linux).
	Fallback string
	// Systems overrides Fallback host by host.
	Systems map[string]string
	// EvalMachines is a replacement for morph's eval-machines.nix, as in
	// MORPH_NIX_EVAL_MACHINES; Open looks there when it is empty.
	EvalMachines string
	// Target (a function from a node to a derivation, as text) or TargetFile (a
	// file that holds a set of such functions) replace the hosts' systems.
	Target, TargetFile string
	// KeepGCRoot and AllowBuildShell are only told to the configuration, in MORPH_ARGS.
	KeepGCRoot, AllowBuildShell bool
	// Workers limits evaluating processes; 0: cores and memory decide.
	Workers int
	// Ahead, when set, is the request that Load will be called with: Open then
	// begins to evaluate it, if it knows enough of the file from an earlier run.
	Ahead *Request
	// Memory is the directory where Open keeps what it knows for that; empty: it
	// keeps nothing.
	Memory string
	// Named is told the names of all hosts, before any event of a host. May be nil.
	Named func(names []string)
	// Sink takes events of step evaluate.
	Sink event.Sink
}

// Network is an opened deployment file: its names and what it says of itself.
type Network struct {
	File         string // absolute
	Names        []string
	Description  string
	OrderingTags []string
	NixConfig    map[string]string
	BuildShell   bool           // whether network.buildShell is set
	Settings     fleet.Settings // network.godwit

	tool  *nix.Tool
	opts  Options
	given map[string]fleet.Host // with Options.EvalMachines: what it said
	ahead *ahead                // nil: nothing was begun
}

// Open reads the names of the hosts and what the network says of itself, which
// needs no module system (0.03 s where reading all hosts takes many seconds).
func Open(ctx context.Context, tool *nix.Tool, file string, opts Options) (*Network, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f := fault.New("there is no file `%s'", file).Because(err)
		if near := nearFile(path); near != "" {
			f.Hint("did you mean %s?", near)
		}
		return nil, f
	case err != nil:
		return nil, fault.New("cannot read `%s': %s", file, err).Because(err)
	case st.IsDir():
		f := fault.New("`%s' is a directory; name the deployment file in it", file)
		if near := nearFile(filepath.Join(path, "network.nix")); near != "" {
			f.Hint("for instance %s", near)
		}
		return nil, f
	case !st.Mode().IsRegular():
		return nil, fault.New("cannot read `%s': %w", file, fault.Reason(regular.Check(path))).
			Hint("write it to a file first: it is read more than once, and paths in it begin where it is")
	}
	if opts.EvalMachines == "" {
		opts.EvalMachines = os.Getenv("MORPH_NIX_EVAL_MACHINES")
	}
	if opts.Sink == nil {
		opts.Sink = event.Discard
	}
	// Names take long where the file fetches something first.
	event.On(opts.Sink, "", event.StepEvaluate).Emit(event.Event{Kind: event.Progress, Text: "reading " + filepath.Base(path)})
	if opts.TargetFile != "" {
		if err := regular.Check(opts.TargetFile); err != nil {
			return nil, fault.New("cannot read the targets in `%s': %w", opts.TargetFile, errors.Unwrap(err))
		}
		if opts.TargetFile, err = filepath.Abs(opts.TargetFile); err != nil {
			return nil, err
		}
	}
	n := &Network{File: path, tool: tool, opts: opts}
	early := opts.EvalMachines == ""
	var before *memory
	if early && opts.Ahead != nil {
		before = n.remembered()
		if done, err := n.openAhead(ctx, before); done || err != nil {
			return n, err
		}
	}
	var openErr error
	if early {
		openErr = n.open(ctx)
	}
	c, err := tool.Config(ctx)
	if err != nil {
		return nil, errors.Join(openErr, err)
	}
	if n.opts.Fallback == "" {
		n.opts.Fallback = LinuxCounterpart(c.System)
	}
	// On a Mac a network that looks at builtins.currentSystem before anything
	// else gets a second reading, with the system that hosts are evaluated with.
	if !early || openErr != nil && n.opts.Fallback != c.System {
		openErr = n.open(ctx)
	}
	if openErr != nil {
		return nil, openErr
	}
	if early && opts.Ahead != nil {
		n.remember(ctx, before)
	}
	n.named()
	return n, nil
}

// openAhead opens the network with an evaluation that begins at once; false when
// it must be opened as ever.
func (n *Network) openAhead(ctx context.Context, m *memory) (bool, error) {
	a := n.begin(ctx, *n.opts.Ahead, m)
	if a == nil {
		return false, nil
	}
	led := <-a.led
	c, err := n.tool.Config(ctx)
	if err == nil && led {
		fallback := n.opts.Fallback
		if fallback == "" {
			fallback = LinuxCounterpart(c.System)
		}
		var args []string
		if args, err = n.tool.SystemOption(ctx, fallback); err == nil && fallback == m.Fallback && slices.Equal(args, m.Args) {
			*n = *a.net
			n.ahead = a
			return true, nil
		}
	}
	a.stop()
	return false, err
}

// LinuxCounterpart is the Linux that runs on the same processor: a NixOS host
// that says nothing is one of these, whatever its deployer is.
func LinuxCounterpart(system string) string {
	if cpu, ok := strings.CutSuffix(system, "-darwin"); ok {
		return cpu + "-linux"
	}
	return system
}

// nearFile is a Nix file that a misspelt path may have meant, as typed from here.
func nearFile(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".nix") {
			names = append(names, e.Name())
		}
	}
	base := filepath.Base(path)
	near := fleet.Nearest(base, names)
	switch {
	case slices.Contains(names, base):
		near = base
	case near == "" && slices.Contains(names, "network.nix"):
		near = "network.nix"
	case near == "" && len(names) == 1:
		near = names[0]
	}
	if near == "" {
		return ""
	}
	found := filepath.Join(filepath.Dir(path), near)
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, found); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return found
}

// call is the expression that opens the network in Nix.
func (n *Network) call() string {
	systems, err := nix.QuoteJSON(n.opts.Systems)
	if err != nil || n.opts.Systems == nil {
		systems = "{ }"
	}
	return fmt.Sprintf("((%s) { file = %s; systems = %s; fallback = %s; targets = %s; })",
		networkNix, nix.Quote(n.File), systems, nix.Quote(n.opts.Fallback), n.targets())
}

// targets is the expression of what --target or --target-file ask for.
func (n *Network) targets() string {
	switch {
	case n.opts.TargetFile != "":
		return "(import " + nix.QuotePath(n.opts.TargetFile) + ")"
	case n.opts.Target != "":
		return "{ out =\n" + n.opts.Target + "\n; }"
	}
	return "null"
}

// system is what builtins.currentSystem is while a host is evaluated. A
// configuration written on Linux says `import <nixpkgs> { }` and means Linux; on
// a Mac the same words must give the same packages. Where this machine is Linux
// already nothing is changed, unless the host was found to be something else.
func (n *Network) system(name string) string {
	if s := n.opts.Systems[name]; s != "" {
		return s
	}
	return n.opts.Fallback
}

func (n *Network) open(ctx context.Context) error {
	if n.opts.EvalMachines != "" {
		return n.openWith(ctx)
	}
	args, err := n.systemArgs(ctx)
	if err != nil {
		return err
	}
	out, err := n.tool.Eval(ctx, nix.Evaluation{
		Expr: n.call() + ".summary", Args: args, Scope: event.On(n.opts.Sink, "", event.StepEvaluate),
		Env: n.env("info.deployment", nil),
	})
	if err != nil {
		return err
	}
	return n.describe(out)
}

// named tells Options.Named.
func (n *Network) named() {
	if n.opts.Named != nil {
		n.opts.Named(n.Names)
	}
}

// describe reads the summary that network.nix beside this file gives.
func (n *Network) describe(summary []byte) error {
	var s struct {
		Names        []string
		Description  string
		OrderingTags []string
		NixConfig    map[string]string
		BuildShell   bool
		Godwit       json.RawMessage
		Other        *struct {
			Kind string
			Args []string
		}
	}
	if err := json.Unmarshal(summary, &s); err != nil {
		return fault.New("cannot read what `%s' says of itself: %s", n.File, err).Because(err)
	}
	if s.Other != nil {
		return notANetwork(n.File, s.Other.Kind, s.Other.Args)
	}
	n.Names, n.Description, n.OrderingTags, n.NixConfig, n.BuildShell = s.Names, s.Description, s.OrderingTags, s.NixConfig, s.BuildShell
	settings, err := fleet.ParseSettings(s.Godwit, filepath.Dir(n.File))
	if err == nil {
		err = settings.Check(n.Names)
	}
	if err != nil {
		return fault.New("network.godwit in `%s': %w", n.File, err)
	}
	n.Settings = settings
	return nil
}

// Request is what Load is asked for.
type Request struct {
	Selection fleet.Selection
	// Systems asks for the derivation of each selected host's system, besides
	// its metadata.
	Systems bool
	// OnHost takes each selected host as soon as it is evaluated, in no order;
	// nil when nobody waits for single hosts. It is only called while the
	// selection cannot drop the host any more. Calls do not overlap.
	OnHost func(fleet.Host)
	// RootDir, when set, is where links to the derivations are made that keep
	// them from garbage collection until the caller removes the directory.
	RootDir string
}

// Target is a derivation that --target or --target-file asks for.
type Target struct{ Name, DrvPath, OutPath string }

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
	// Targets are by host and name, when Options ask for targets.
	Targets map[string][]Target

	rooted func() error
}

// Rooted waits until what was instantiated has the links in Request.RootDir that
// keep it: nothing is to be built before.
func (r *Result) Rooted() error {
	if r == nil || r.rooted == nil {
		return nil
	}
	return r.rooted()
}

// HostError is a host that could not be evaluated.
type HostError struct {
	Host string
	Err  error
}

// Load evaluates the hosts that the selection is about.
//
// Names are selected first, so a host that --on, --skip, --every or --limit
// leave out costs nothing. Metadata and systems come from one evaluation of a
// host, in one process for many hosts: in ten hosts with real NixOS modules,
// metadata alone takes 4 s, both together what systems alone take. Tags are
// looked at inside that evaluation, before the system of a host is begun.
// Only when tags decide about places (--limit with ordering tags, say) is the
// metadata of all read first and the systems of the selected afterwards.
func (n *Network) Load(ctx context.Context, r Request) (*Result, error) {
	sel := r.Selection
	first, err := n.first(r)
	if err != nil {
		if n.ahead != nil {
			n.ahead.stop()
		}
		return nil, err
	}
	counts := fleet.Counts{Total: len(n.Names), Named: first.named}
	res := &Result{Targets: map[string][]Target{}}
	all := &fleet.Fleet{Description: n.Description, OrderingTags: n.OrderingTags, NixConfig: n.NixConfig, Settings: n.Settings}
	rest := first.rest
	finish := func(hosts []fleet.Host) (*Result, error) {
		all.Hosts = hosts
		chosen, c, err := fleet.Select(all, rest)
		if err != nil {
			return nil, selectionFault(err)
		}
		// Hosts that failed count as chosen where their names alone chose them.
		counts.Chosen = c.Chosen
		if !sel.NeedsTags(n.OrderingTags) {
			counts.Chosen += len(res.Failed)
		}
		all.Hosts = chosen
		res.Fleet, res.Counts = all, counts
		return res, nil
	}
	if n.opts.EvalMachines != "" {
		hosts, err := n.loadWith(ctx, first.names, r, res)
		if err != nil {
			return nil, err
		}
		if res, err = finish(hosts); err == nil {
			n.root(ctx, r, res)
		}
		return res, err
	}
	var hosts []fleet.Host
	done := false
	if n.ahead != nil {
		hosts, done, err = n.ahead.result(r, res)
		n.ahead = nil
	}
	if !done {
		hosts, err = n.evaluate(ctx, first.query, res)
	}
	if err != nil {
		return nil, err
	}
	if !first.twice {
		if res, err = finish(hosts); err == nil {
			n.root(ctx, r, res)
		}
		return res, err
	}
	if _, err := finish(hosts); err != nil {
		return nil, err
	}
	chosen := make([]string, len(all.Hosts))
	for i, h := range all.Hosts {
		chosen[i] = h.Name
	}
	rest.Skip, rest.Every, rest.Limit = 0, 1, 0
	hosts, err = n.evaluate(ctx, query{names: chosen, systems: true, each: r.OnHost}, res)
	if err != nil {
		return nil, err
	}
	all.Hosts = fleet.Order(hosts, orderTags(sel, n.OrderingTags))
	n.root(ctx, r, res)
	return res, nil
}

// first is the first evaluation of a request.
type first struct {
	query
	named int             // hosts that the selection names
	rest  fleet.Selection // what remains to be applied to the evaluated hosts
	// twice says that the query is for metadata, and that systems follow.
	twice bool
}

func (n *Network) first(r Request) (first, error) {
	sel := r.Selection
	names, err := sel.Names(n.Names)
	if err != nil {
		return first{}, selectionFault(err)
	}
	f := first{named: len(names), rest: sel}
	f.rest.On = nil
	if !sel.NeedsTags(n.OrderingTags) {
		names = fleet.Limits(sel, names)
		f.rest.Skip, f.rest.Every, f.rest.Limit = 0, 1, 0
	}
	f.names = names
	if f.twice = f.rest.Positional() && r.Systems; f.twice {
		return f, nil
	}
	f.systems, f.wanted = r.Systems, sel.Tagged
	if !f.rest.Positional() {
		f.each = r.OnHost
	}
	return f, nil
}

// root begins to keep the derivations of a result. While the evaluating process
// lives, Nix itself does; building holds its own roots; this is for the time
// between.
func (n *Network) root(ctx context.Context, r Request, res *Result) {
	if r.RootDir == "" || !r.Systems {
		return
	}
	var drvs []string
	for _, h := range res.Fleet.Hosts {
		if h.DrvPath != "" {
			drvs = append(drvs, h.DrvPath)
		}
		for _, t := range res.Targets[h.Name] {
			drvs = append(drvs, t.DrvPath)
		}
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer crash.Catch()
		defer close(done)
		err = n.tool.RootDerivations(ctx, r.RootDir, drvs)
	}()
	res.rooted = func() error { <-done; return err }
}

// count is n hosts in words.
func count(n int) string {
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}

func orderTags(s fleet.Selection, own []string) []string {
	if len(s.OrderByTags) > 0 {
		return s.OrderByTags
	}
	return own
}

// selectionFault gives a selection's error the form that a person reads.
func selectionFault(err error) error {
	var s *fleet.SelectionError
	if !errors.As(err, &s) {
		return err
	}
	f := fault.New("%s", s.Msg).Because(err)
	f.Hints = s.Hints
	return f
}

// query is one run of evaluations.
type query struct {
	names   []string
	systems bool
	wanted  []string // tags without which the system is of no interest
	each    func(fleet.Host)
	// lead makes it an evaluation on a guess: it takes the network's summary before
	// the first host, and args stand for what System of nix.Each would ask for.
	lead func(summary json.RawMessage) error
	args []string
}

// evaluate gives the hosts in the order of q.names and adds failures and targets to res.
func (n *Network) evaluate(ctx context.Context, q query, res *Result) ([]fleet.Host, error) {
	got := map[string]fleet.Host{}
	var mu sync.Mutex
	fail := func(name string, err error) {
		mu.Lock()
		defer mu.Unlock()
		res.Failed = append(res.Failed, HostError{name, err})
	}
	wanted, err := nix.QuoteJSON(append([]string{}, q.wanted...))
	if err != nil {
		return nil, err
	}
	run := event.On(n.opts.Sink, "", event.StepEvaluate)
	begun := false
	start := func() {
		begun = true
		run.Start(fmt.Sprintf("evaluating %s", count(len(q.names))))
	}
	began := time.Now()
	each := nix.Each{
		Names:   q.names,
		Expr:    fmt.Sprintf("%s.host { system = %t; wanted = %s; }", n.call(), q.systems, wanted),
		Env:     n.env("machines", q.names),
		System:  n.system,
		Workers: n.opts.Workers,
		Sink:    n.opts.Sink,
		Got: func(name string, value json.RawMessage) error {
			h, targets, selected, err := n.decode(value)
			if err != nil {
				return fmt.Errorf("%s: cannot read its metadata: %w", name, err)
			}
			if f := n.unfit(h); f != nil {
				return f
			}
			if err := settleTarget(&h); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			got[name] = h
			if len(targets) > 0 {
				res.Targets[name] = targets
			}
			if selected && q.each != nil {
				q.each(h)
			}
			return nil
		},
		Explain: n.suggest,
		Failed:  func(name string, err error) { fail(name, err) },
	}
	if q.lead == nil {
		start()
	} else {
		each.Expr = fmt.Sprintf("(let network = %s; in { lead = network.summary; each = network.host { system = %t; wanted = %s; }; })", n.call(), q.systems, wanted)
		each.System, each.Args = nil, q.args
		each.Lead = func(summary json.RawMessage) error {
			if err := q.lead(summary); err != nil {
				return err
			}
			start()
			return nil
		}
	}
	if err = n.tool.EvalEach(ctx, each); err != nil {
		if begun && !errors.Is(context.Cause(ctx), errGuess) {
			run.End("", err)
		}
		return nil, err
	}
	run.End(fmt.Sprintf("%s in %s", count(len(got)), time.Since(began).Round(100*time.Millisecond)), nil)
	slices.SortStableFunc(res.Failed, func(a, b HostError) int {
		return slices.Index(n.Names, a.Host) - slices.Index(n.Names, b.Host)
	})
	var hosts []fleet.Host
	for _, name := range q.names {
		if h, ok := got[name]; ok {
			hosts = append(hosts, h)
		}
	}
	return hosts, nil
}

// suggest adds to the error about an option that does not exist the name of the
// one that was most likely meant. It costs one more evaluation of the host's
// modules, and only the person who misspelt an option waits for it.
func (n *Network) suggest(ctx context.Context, host string, err error) error {
	var f *fault.Error
	var foreign *nix.ForeignSystem
	if errors.As(err, &f) && errors.As(err, &foreign) {
		f.Detail("it is needed while evaluating (import from derivation), before a builder can be chosen")
		f.Hint("let Nix itself reach a builder: --option builders 'ssh-ng://USER@HOST %s'", foreign.System)
		return err
	}
	var unknown *nix.UnknownOption
	if !errors.As(err, &f) || !errors.As(err, &unknown) || strings.Contains(f.Msg, "did you mean") {
		return err
	}
	parent := unknown.Option[:len(unknown.Option)-1]
	path, err2 := nix.QuoteJSON(append([]string{}, parent...))
	if err2 != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err2 := n.tool.Eval(ctx, nix.Evaluation{
		Expr: fmt.Sprintf("%s.siblings %s %s", n.call(), nix.Quote(host), path),
		Env:  n.env("info.deployment", nil),
	})
	var names []string
	if err2 != nil || json.Unmarshal(out, &names) != nil {
		return err
	}
	if near := fleet.Nearest(unknown.Option[len(parent)], names); near != "" {
		f.Msg += fmt.Sprintf(" (did you mean %s?)", strings.Join(append(slices.Clone(parent), near), "."))
		f.Hints = nil
	}
	return err
}

// settleTarget takes apart a deployment.targetHost that says more than a host.
func settleTarget(h *fleet.Host) error {
	if err := h.SettleTarget(); err != nil {
		return fault.New("deployment.%w", err).On(h.Name).
			Hint("deployment.targetHost takes a name or an address, deployment.targetUser and deployment.targetPort the rest")
	}
	return nil
}

// unfit says why a host can never be a NixOS: its packages are a Mac's.
func (n *Network) unfit(h fleet.Host) *fault.Error {
	if !strings.HasSuffix(h.System, "-darwin") {
		return nil
	}
	linux := LinuxCounterpart(h.System)
	f := fault.New("a NixOS host cannot be %s", h.System).On(h.Name)
	switch h.SystemFrom {
	case "pkgs":
		return f.Detail("its packages (network.pkgs or nixpkgs.pkgs) are those of a Mac").
			Hint(`write pkgs = import <nixpkgs> { system = "%s"; };`, linux)
	case "hostPlatform":
		return f.Hint(`write nixpkgs.hostPlatform = "%s";`, linux)
	case "localSystem":
		return f.Hint(`write nixpkgs.localSystem.system = "%s";`, linux)
	default:
		return f.Hint(`write nixpkgs.system = "%s";`, linux)
	}
}

// env is what morph exports to its Nix processes: a configuration may read
// MORPH_ARGS. The file that MORPH_ARGS_FILE names in morph exists only while it
// builds; here the same text is in the variable at any time.
func (n *Network) env(attr string, names []string) []string {
	s := n.tool.Settings()
	args := map[string]any{
		"ArgsFile": "", "Attr": attr, "DeploymentPath": n.File, "Names": names, "NixArgs": nil,
		"NixBuildTargets": "", "NixConfig": n.NixConfig, "ResultLinkPath": "",
		"NixContext": map[string]any{
			"EvalCmd": s.EvalCmd, "BuildCmd": s.BuildCmd, "ShellCmd": s.ShellCmd,
			"EvalMachines": n.opts.EvalMachines, "ShowTrace": s.ShowTrace,
			"KeepGCRoot": n.opts.KeepGCRoot, "AllowBuildShell": n.opts.AllowBuildShell,
		},
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil
	}
	return []string{"MORPH_ARGS=" + string(b)}
}
