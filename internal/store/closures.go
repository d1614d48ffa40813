package store

import (
	"context"
	"slices"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/storepath"
)

// Closure gives everything that roots refer to, the roots included, references
// before referrers. What was asked before is not asked again.
func (p *Pusher) Closure(ctx context.Context, roots []string) ([]*Info, error) {
	if len(roots) == 0 {
		return nil, nil
	}
	select {
	case p.query <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.query }()
	var ask []string
	for _, r := range roots {
		if err := storepath.Check(r); err != nil {
			return nil, fault.New("%w", err)
		}
		if _, ok := p.complete[r]; !ok {
			ask = append(ask, r)
		}
	}
	if len(ask) > 0 {
		if err := p.learn(ctx, ask); err != nil {
			return nil, err
		}
	}
	p.visits++
	out := p.found[:0]
	visit := func(s string) {
		if i := p.infos[s]; i.visit != p.visits {
			i.visit = p.visits
			out = append(out, i)
		}
	}
	for _, r := range roots {
		visit(r)
	}
	for k := 0; k < len(out); k++ {
		for _, r := range out[k].References {
			visit(r)
		}
	}
	slices.SortFunc(out, compareInfo)
	p.found = out
	return slices.Clone(out), nil
}

// learn asks the source about the closure of roots. p.query is held.
func (p *Pusher) learn(ctx context.Context, roots []string) error {
	for again := false; ; again = true {
		c, old, err := p.anySource(ctx, again)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { defer crash.Catch(); c.fail(context.Cause(ctx)) })
		err = p.ask(c, roots)
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			p.putSource(c)
			return nil
		}
		c.abandon()
		// A connection that had been idle may have gone meanwhile.
		if !old || ctx.Err() != nil {
			return err
		}
	}
}

func (p *Pusher) ask(c *conn, roots []string) error {
	list, err := c.queryClosure(roots)
	if err != nil {
		return err
	}
	var unknown []string
	for _, s := range list {
		if p.infos[s] == nil {
			unknown = append(unknown, s)
		}
	}
	fresh, err := c.queryPathInfos(unknown)
	if err != nil {
		return err
	}
	if len(fresh) != len(unknown) {
		return fault.New("%s: knows %d of %d paths of the closure: something was deleted there", c.name, len(fresh), len(unknown)).
			Hint("build it again and keep a root of it")
	}
	all := make([]*Info, 0, len(list))
	got := make(map[string]*Info, len(fresh))
	for _, i := range fresh {
		got[i.Path] = i
	}
	dir := storeDir(roots[0])
	for _, s := range list {
		if storeDir(s) != dir {
			return fault.New("%s: %s is not in the store %s", c.name, s, dir)
		}
		i := got[s]
		if i == nil {
			i = p.infos[s]
		}
		all = append(all, i)
	}
	if err := order(all); err != nil {
		return fault.New("%s: %w", c.name, err)
	}
	p.deal(all)
	for _, i := range fresh {
		p.infos[i.Path] = i
	}
	for _, i := range all {
		p.complete[i.Path] = struct{}{}
	}
	return nil
}
