package morph

import (
	"context"

	"godwit/internal/fleet"
)

func (n *Network) openWith(ctx context.Context) error { return nil }

func (n *Network) loadWith(ctx context.Context, names []string, r Request, res *Result) ([]fleet.Host, error) {
	return nil, nil
}
