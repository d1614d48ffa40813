package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/gc"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/store"
	"godwit/internal/ui"
	"godwit/internal/ui/text"
)

func newGC(a *app) *cobra.Command {
	var sel fleet.Selection
	var p passwords
	var keep, timeout int
	var olderThan string
	c := &cobra.Command{
		Use:   "gc [DEPLOYMENT] [HOST...]",
		Short: "delete old systems of hosts, and what nothing needs any more",
		Long: `gc deletes old generations of the system profile of each selected host, and then
collects the garbage of its store. The systems that the host runs, was booted
with and boots next stay, so does the one that a rollback would go to, and the
newest --keep generations. Hosts with a pending deployment are left alone.
--dry-run shows which generations would go, and about how much that frees.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit gc network.nix --dry-run
  godwit gc network.nix --keep 3 --older-than 30d
  godwit gc network.nix --on 'pi*' --keep 1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			rule := gc.KeepRule{Newest: keep}
			var err error
			if keep < 1 {
				return fault.New("--keep must be 1 or more, not %d", keep)
			}
			if timeout < 0 {
				return errNegative
			}
			if rule.OlderThan, err = parseAge(olderThan); err != nil {
				return err
			}
			f := a.fleetArgs(c.Context(), args)
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				return s.onHosts(ctx, f, sel, &p, nil, nil, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
					ctx, cancel := context.WithTimeoutCause(ctx, seconds(or(timeout, 3600)), fmt.Errorf("took longer than %s", seconds(or(timeout, 3600))))
					defer cancel()
					return s.collect(ctx, h, conn, rule)
				})
			})
		},
	}
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	f := c.Flags()
	f.IntVar(&keep, "keep", 5, "keep the newest `N` generations")
	f.StringVar(&olderThan, "older-than", "", "delete only generations older than `AGE`, such as 30d, 2w, 12h")
	f.IntVar(&timeout, "timeout", 0, "`SECONDS` that a host may take (0: 3600)")
	return c
}

// parseAge reads 30d, 2w, 12h.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	units := map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	unit, ok := units[s[len(s)-1:]]
	n, err := strconv.Atoi(s[:len(s)-1])
	if !ok || err != nil || n < 0 || n > 10000 {
		return 0, fault.New("--older-than %s is not an age", s).Hint("for instance 30d, 2w or 12h")
	}
	return time.Duration(n) * unit, nil
}

// collect deletes what a host does not need any more.
func (s *session) collect(ctx context.Context, h fleet.Host, conn host.Conn, rule gc.KeepRule) deploy.Outcome {
	sc := event.On(s.ui, h.Name, event.StepGC)
	sc.Start("")
	fail := func(err error) deploy.Outcome {
		if cause := context.Cause(ctx); ctx.Err() == context.DeadlineExceeded && cause != nil {
			err = fault.New("collecting garbage %s; what was deleted is deleted, the rest is as it was", cause).On(h.Name).Because(err)
		}
		sc.End("", err)
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	facts, err := hoststate.Look(ctx, conn, h.Name)
	if err == nil {
		err = gc.MayCollect(facts, h.Name)
	}
	if err != nil {
		return fail(err)
	}
	drop, keep := gc.Sweep(facts, rule)
	for _, k := range keep {
		if s.app.globals.verbose {
			sc.Note(fmt.Sprintf("generation %d stays: it %s", k.Number, k.Why))
		}
	}
	would := "delete " + generationNumbers(drop)
	if s.app.globals.dryRun && len(drop) > 0 {
		if n, ok := freeable(ctx, conn, drop, keep); ok {
			would += ", about " + ui.Size(n)
		}
	}
	return s.wet(sc, would, func() deploy.Outcome {
		res, err := gc.Collect(ctx, conn, h.Name, facts, drop, sc)
		if err != nil {
			return fail(err)
		}
		return collected(res, sc)
	})
}

// collected is the outcome of a host whose garbage was collected.
func collected(res gc.Collected, sc event.Scope) deploy.Outcome {
	detail := text.Count(res.Generations, "generation") + " and " + text.Count(res.Paths, "path") + " deleted"
	if res.Bytes >= 0 {
		detail += ", " + ui.Size(res.Bytes) + " freed"
	}
	sc.Emit(event.Event{Kind: event.Done, Text: detail, Data: map[string]string{
		"generations": strconv.Itoa(res.Generations), "paths": strconv.Itoa(res.Paths), "bytes": strconv.FormatInt(res.Bytes, 10),
	}})
	state := deploy.Changed
	if res.Generations == 0 && res.Paths == 0 {
		state = deploy.Unchanged
	}
	return deploy.Outcome{State: state, Detail: detail}
}

func generationNumbers(list []hoststate.Generation) string {
	if len(list) == 0 {
		return "no generation"
	}
	const most = 12
	var n []string
	for i, g := range list {
		if i == most {
			n = append(n, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		n = append(n, strconv.Itoa(g.Number))
	}
	word := "generation "
	if len(list) > 1 {
		word = "generations "
	}
	return word + strings.Join(n, ", ")
}

// freeable is how much only the systems in drop need. It is a guess: what else
// is kept on the host is not looked at.
func freeable(ctx context.Context, conn host.Conn, drop []hoststate.Generation, keep []gc.Kept) (int64, bool) {
	if len(drop) == 0 {
		return 0, true
	}
	var gone, stay []string
	for _, g := range drop {
		gone = append(gone, g.System)
	}
	for _, k := range keep {
		stay = append(stay, k.System)
	}
	src := deploy.HostStore(conn)
	all, err := store.Closure(ctx, src, gone)
	if err != nil {
		return 0, false
	}
	kept, err := store.Closure(ctx, src, stay)
	if err != nil {
		return 0, false
	}
	needed := make(map[string]bool, len(kept))
	for _, i := range kept {
		needed[i.Path] = true
	}
	var n int64
	for _, i := range all {
		if !needed[i.Path] {
			n += i.NarSize
		}
	}
	return n, true
}
