package builder

import (
	"context"

	"godwit/internal/event"
	"godwit/internal/store"
)

// copyTo copies the closures of roots to a builder. Its progress is part of the
// build that scope is about.
func copyTo(ctx context.Context, src, dst store.Endpoint, roots []string, scope event.Scope) error {
	sink := event.SinkFunc(func(e event.Event) {
		switch e.Kind {
		case event.Progress, event.Warning:
			e.Host, e.Step = scope.Host, scope.Step
			if e.Kind == event.Progress {
				e.Text = "(sending derivations to " + dst.Name + ")"
			}
			scope.Emit(e)
		}
	})
	res := store.Copy(ctx, src, []store.Dest{{Endpoint: dst, Roots: roots}}, store.Options{}, sink)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return res[0].Err
}
