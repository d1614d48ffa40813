package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/action"
	"godwit/internal/cli/show"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/ui"
)

// finish ends a run over hosts: the view, the reasons of those that failed, a
// table of all, and the exit code.
func (v *view) finish(ctx context.Context, sum *action.Summary) error {
	v.close()
	outcomes := sum.Outcomes
	if sum.Stopped != nil {
		return v.stopped(ctx, sum)
	}
	var bad []deploy.Outcome
	for _, o := range outcomes {
		if o.Bad() {
			bad = append(bad, o)
		}
	}
	interrupted := interrupted(ctx)
	if v.quiet() {
		v.Emit(event.Event{Time: time.Now(), Kind: event.Result, Outcome: word(bad, interrupted), Text: v.sum(outcomes)})
	} else {
		for _, err := range show.Reasons(bad) {
			fmt.Fprintf(v.app.stderr, "\n%s", fault.Render(err))
		}
		// The live view ends with a line for each host.
		if len(outcomes) > 1 && v.Mode() != ui.Live {
			fmt.Fprintf(v.app.stderr, "\n%s", v.table(outcomes))
		}
		fmt.Fprintf(v.app.stderr, "%s\n", v.sum(outcomes))
	}
	return exitOf(outcomes, bad, interrupted)
}

// stopped ends a run whose plan was turned down.
func (v *view) stopped(ctx context.Context, sum *action.Summary) error {
	if interrupted(ctx) {
		return silent{ExitInterrupted}
	}
	if !v.quiet() {
		for _, o := range sum.Outcomes {
			if o.Err != nil && o.State != deploy.NotStarted {
				fmt.Fprintf(v.app.stderr, "\n%s", fault.Render(o.Err))
			}
		}
		fmt.Fprintln(v.app.stderr)
	}
	return sum.Stopped
}

func word(bad []deploy.Outcome, interrupted bool) event.Outcome {
	switch {
	case interrupted:
		return event.OutcomeInterrupted
	case len(bad) > 0:
		return event.OutcomeFailed
	}
	return event.OutcomeOK
}

func exitOf(all, bad []deploy.Outcome, interrupted bool) error {
	switch {
	case interrupted:
		return silent{ExitInterrupted}
	case len(bad) == 0:
		return nil
	}
	noBuilder := 0
	for _, o := range bad {
		var f *fault.Error
		if errors.As(o.Err, &f) && f.Code == ExitNoBuilder {
			noBuilder++
		}
	}
	if noBuilder == len(all) {
		return silent{ExitNoBuilder}
	}
	return silent{ExitHosts}
}

func (v *view) table(outcomes []deploy.Outcome) string {
	rows := make([][]string, len(outcomes))
	for i, o := range outcomes {
		rows[i] = []string{o.Host, string(o.State), ui.Elapsed(o.Duration), o.Detail}
	}
	return ui.Table(v.Width(), []string{"HOST", "RESULT", "TIME", ""}, rows)
}

// sum is the last line: how many hosts ended how.
func (v *view) sum(outcomes []deploy.Outcome) string {
	n := map[event.Outcome]int{}
	var order []event.Outcome
	for _, o := range outcomes {
		if n[o.State] == 0 {
			order = append(order, o.State)
		}
		n[o.State]++
	}
	slices.Sort(order)
	parts := make([]string, len(order))
	for i, st := range order {
		parts[i] = fmt.Sprintf("%d %s", n[st], st)
	}
	noun := "hosts"
	if len(outcomes) == 1 {
		noun = "host"
	}
	return fmt.Sprintf("%d %s: %s, in %s", len(outcomes), noun, strings.Join(parts, ", "), ui.Elapsed(time.Since(v.start)))
}
