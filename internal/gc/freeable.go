package gc

import (
	"context"

	"godwit/internal/hoststate"
	"godwit/internal/store"
)

// Freeable is how much of a host's store only the systems in drop need, in bytes. It is a guess: what else
// is kept on the host is not looked at.
func Freeable(ctx context.Context, src store.Endpoint, drop []hoststate.Generation, keep []Kept) (int64, bool) {
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
