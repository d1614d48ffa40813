package lab

import (
	"context"
	"errors"
	"sync"

	"godwit/internal/crash"
)

// StartFleet starts hosts of the suite trixie with these names, three at a time. dir is their
// state directory. All of them run, or there is an error and none does. remove ends them.
func StartFleet(ctx context.Context, dir string, names []string) (hosts []*Host, remove func(), err error) {
	hosts = make([]*Host, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 3)
	for i, name := range names {
		wg.Go(func() {
			defer crash.Catch()
			gate <- struct{}{}
			defer func() { <-gate }()
			hosts[i], errs[i] = Start(ctx, Spec{Name: name, Suite: "trixie", Arch: "amd64", Dir: dir})
		})
	}
	wg.Wait()
	remove = func() {
		for _, h := range hosts {
			if h != nil {
				_ = h.Remove(ctx)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		remove()
		return nil, nil, err
	}
	return hosts, remove, nil
}
