package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/ui/text"
)

// Load evaluates the hosts that the selection is about.
//
// Names are selected first, so a host that --on, --skip, --every or --limit
// leave out costs nothing. Metadata and profiles come from one evaluation of a
// host, in one process for many hosts: in ten hosts with real NixOS modules,
// metadata alone takes 4 s, both together what systems alone take. Tags are
// looked at inside that evaluation, before the profiles of a host are begun.
// Only when tags decide about places (--limit with ordering tags, say), or in
// another way than that each host must have them (--on '@web,db'), is the
// metadata of all read first and the profiles of the selected afterwards.
func (r *Reader) Load(ctx context.Context, req source.Request) (*source.Result, error) {
	sel := req.Selection
	first, err := r.first(req)
	if err != nil {
		if r.ahead != nil {
			r.ahead.stop()
		}
		return nil, err
	}
	a := r.about
	counts := fleet.Counts{Total: len(a.Names), Named: first.named}
	res := &source.Result{Targets: map[string][]source.Target{}}
	all := &fleet.Fleet{Description: a.Description, OrderingTags: a.OrderingTags, NixConfig: a.NixConfig, Settings: a.Settings}
	rest := first.rest
	finish := func(hosts []fleet.Host) (*source.Result, error) {
		all.Hosts = hosts
		chosen, c, err := fleet.Select(all, rest)
		var nobody *fleet.SelectionError
		if errors.As(err, &nobody) && nobody.Nobody && len(res.Failed) > 0 {
			chosen, err = nil, nil // it may have been one of those that failed
		}
		if err != nil {
			return nil, selectionFault(err)
		}
		// Hosts that failed count as chosen where their names alone chose them.
		counts.Chosen = c.Chosen
		if !sel.NeedsTags(a.OrderingTags) {
			counts.Chosen += len(res.Failed)
		}
		all.Hosts = chosen
		res.Fleet, res.Counts = all, counts
		return res, nil
	}
	var hosts []fleet.Host
	done := false
	if r.ahead != nil {
		hosts, done, err = r.ahead.result(req, res)
		r.ahead = nil
	}
	if !done {
		hosts, err = r.evaluate(ctx, first.query, res)
	}
	if err != nil {
		return nil, err
	}
	if !first.twice {
		if res, err = finish(hosts); err == nil {
			r.root(ctx, req, res)
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
	hosts, err = r.evaluate(ctx, query{request: req, names: chosen, outputs: true, each: req.OnHost}, res)
	if err != nil {
		return nil, err
	}
	all.Hosts = fleet.Order(hosts, orderTags(sel, a.OrderingTags))
	r.root(ctx, req, res)
	return res, nil
}

// first is the first evaluation of a request.
type first struct {
	query
	named int             // hosts that the selection names
	rest  fleet.Selection // what remains to be applied to the evaluated hosts
	// twice says that the query is for metadata, and that outputs follow.
	twice bool
}

func (r *Reader) first(req source.Request) (first, error) {
	sel := req.Selection
	names, err := sel.Names(r.about.Names)
	if err == nil {
		err = r.opts.Reach.Check(r.about.Names, names)
	}
	if err != nil {
		return first{}, selectionFault(err)
	}
	rest, wanted, simple := sel.Named(r.about.Names, names)
	f := first{named: len(names), rest: rest}
	f.request = req
	if !sel.NeedsTags(r.about.OrderingTags) {
		names = fleet.Limits(sel, names)
		f.rest.Skip, f.rest.Every, f.rest.Limit = 0, 1, 0
	}
	f.names = names
	if !simple && !req.Outputs {
		return f, nil // each host is known to be in when all are
	}
	if f.twice = (f.rest.Positional() || !simple) && req.Outputs; f.twice {
		return f, nil
	}
	f.outputs, f.wanted = req.Outputs, wanted
	if !f.rest.Positional() {
		f.each = req.OnHost
	}
	return f, nil
}

// root begins to keep the derivations of a result. While the evaluating process
// lives, Nix itself does; building holds its own roots; this is for the time
// between.
func (r *Reader) root(ctx context.Context, req source.Request, res *source.Result) {
	if req.RootDir == "" || !req.Outputs {
		return
	}
	var drvs []string
	for _, h := range res.Fleet.Hosts {
		if h.Main().Drv != "" {
			drvs = append(drvs, h.Main().Drv)
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
		err = r.tool.RootDerivations(ctx, req.RootDir, drvs)
	}()
	res.WaitRoots = func() error { <-done; return err }
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
	request source.Request
	names   []string
	outputs bool
	wanted  []string // tags without which the profiles are of no interest
	each    func(fleet.Host)
	// lead makes it an evaluation on a guess: it takes the configuration's summary
	// before the first host, and system stands for what System of nix.Each would ask for.
	lead   func(summary json.RawMessage) error
	system []string
}

// host is the function of the contract that a query calls for each name, of the
// configuration that stands before it.
func (q query) host(configuration string) (string, error) {
	wanted, err := nix.QuoteJSON(append([]string{}, q.wanted...))
	if err != nil {
		return "", err
	}
	only := "null"
	if q.request.Only != nil {
		if only, err = nix.QuoteJSON(q.request.Only); err != nil {
			return "", err
		}
	}
	if q.request.OnlyOf == nil {
		return fmt.Sprintf("%s.host { system = %t; wanted = %s; only = %s; }", configuration, q.outputs, wanted, only), nil
	}
	of, err := nix.QuoteJSON(q.request.OnlyOf)
	return fmt.Sprintf("(let from = %s; of = %s; in name: from.host { system = %t; wanted = %s; only = of.${name} or %s; } name)",
		configuration, of, q.outputs, wanted, only), err
}

// system is what builtins.currentSystem is while a host is evaluated. A
// configuration written on Linux says `import <nixpkgs> { }` and means Linux; on
// a Mac the same words must give the same packages. Where this machine is Linux
// already nothing is changed, unless the host was found to be something else.
func (r *Reader) system(platforms map[string]string) func(name string) string {
	return func(name string) string {
		if s := platforms[name]; s != "" {
			return s
		}
		return r.opts.Fallback
	}
}

// evaluate gives the hosts in the order of q.names and adds failures and targets to res.
func (r *Reader) evaluate(ctx context.Context, q query, res *source.Result) ([]fleet.Host, error) {
	got := map[string]fleet.Host{}
	var mu sync.Mutex
	host, err := q.host(r.call(q.request))
	if err != nil {
		return nil, err
	}
	run := r.on()
	begun := false
	began := time.Now()
	take := func(name string, value json.RawMessage) error {
		h, targets, selected, err := r.decode(value)
		if err != nil {
			return fmt.Errorf("%s: cannot read its metadata: %w", name, err)
		}
		if err := r.fit(&h); err != nil {
			return err
		}
		if err := hasProfiles(name, value, q.request.OnlyOf[name]); err != nil {
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
	}
	env := r.env(source.Hosts, q.names)
	key := r.depends(ctx, func(r *Reader) (string, error) { return q.host(r.call(q.request)) })
	if r.watch != nil {
		key = r.watchedKey(ctx, host)
	}
	fresh := map[string]json.RawMessage{}
	names := r.again(key, q, env, take)
	start := func() {
		if !begun {
			run.Start(fmt.Sprintf("evaluating %s", text.Count(len(names), "host")))
		}
		begun = true
	}
	each := nix.Each{
		Names:   names,
		Expr:    host,
		Env:     env,
		Args:    r.args(),
		System:  r.system(q.request.Platforms),
		Workers: r.opts.Workers,
		Sink:    r.opts.Sink,
		Got: func(name string, value json.RawMessage) error {
			err := take(name, value)
			if err == nil && keepable(value) {
				fresh[name] = value
			}
			return err
		},
		Explain: r.suggest,
		Failed: func(name string, err error) {
			mu.Lock()
			defer mu.Unlock()
			res.Failed = append(res.Failed, source.HostError{Host: name, Err: err})
		},
	}
	switch {
	case len(names) == 0:
	case q.lead == nil:
		start()
	default:
		of, err := q.host("configuration")
		if err != nil {
			return nil, err
		}
		each.Expr = fmt.Sprintf("(let configuration = %s; in { lead = configuration.summary; each = %s; })", r.call(q.request), of)
		each.System, each.Args = nil, append(each.Args, q.system...)
		each.Lead = func(summary json.RawMessage) error {
			if err := q.lead(summary); err != nil {
				return err
			}
			start()
			return nil
		}
	}
	if err = r.evalEach(ctx, each, host, key, fresh, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			_, ok := got[name]
			return ok || slices.ContainsFunc(res.Failed, func(f source.HostError) bool { return f.Host == name })
		})
	}); err != nil {
		if begun && !errors.Is(context.Cause(ctx), errGuess) {
			run.End("", err)
		}
		return nil, err
	}
	if begun {
		run.End(fmt.Sprintf("%s in %s", text.Count(len(got), "host"), time.Since(began).Round(100*time.Millisecond)), nil)
	}
	r.explainCache()
	slices.SortStableFunc(res.Failed, func(a, b source.HostError) int {
		return slices.Index(r.about.Names, a.Host) - slices.Index(r.about.Names, b.Host)
	})
	var hosts []fleet.Host
	for _, name := range q.names {
		if h, ok := got[name]; ok {
			hosts = append(hosts, h)
		}
	}
	return hosts, nil
}

// hasProfiles refuses a host that has not all of the profiles that were asked for by name.
func hasProfiles(host string, value json.RawMessage, wanted []string) error {
	var j struct{ Profiles []struct{ Name string } }
	if err := json.Unmarshal(value, &j); err != nil {
		return err
	}
	for _, name := range wanted {
		if !slices.ContainsFunc(j.Profiles, func(p struct{ Name string }) bool { return p.Name == name }) {
			return fault.New("it has no profile '%s'", name).On(host)
		}
	}
	return nil
}

// fit refuses a host that cannot be deployed to, and takes apart a target that says
// more than a host.
func (r *Reader) fit(h *fleet.Host) error {
	if r.dialect.Fit != nil {
		if err := r.dialect.Fit(*h); err != nil {
			return err
		}
	}
	if err := h.SettleTarget(); err != nil {
		w := r.dialect.Word
		return fault.New("%s%s", w("targetHost"), strings.TrimPrefix(err.Error(), "targetHost")).Because(err).On(h.Name).
			Hint("%s takes a name or an address, %s and %s the rest", w("targetHost"), w("targetUser"), w("targetPort"))
	}
	r.opts.Reach.Apply(h)
	return nil
}

// suggest adds to the error about an option that does not exist the name of the
// one that was most likely meant. It costs one more evaluation of the host's
// modules, and only the person who misspelt an option waits for it.
func (r *Reader) suggest(ctx context.Context, host string, err error) error {
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
	if r.dialect.Foreign != nil {
		if hint := r.dialect.Foreign(strings.Join(unknown.Option, ".")); hint != "" {
			f.Hints = []string{hint}
			return err
		}
	}
	parent := unknown.Option[:len(unknown.Option)-1]
	path, err2 := nix.QuoteJSON(append([]string{}, parent...))
	if err2 != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err2 := r.eval(ctx, nix.Evaluation{
		Expr: fmt.Sprintf("%s.siblings %s %s", r.call(source.Request{}), nix.Quote(host), path), Scope: event.On(event.Discard, "", ""),
	}, "", source.Summary)
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
