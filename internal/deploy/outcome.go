// Package deploy takes hosts through their stages: build, copy, secrets,
// pre-deploy checks, activation, health checks. Each host has a pipeline of its
// own, so that one host activates while another still builds, and one host that
// fails takes nobody with it. What changes a host passes through one place
// (Wet), so that a dry run is the same code.
package deploy

import (
	"errors"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/store"
)

// How hosts end, in short (event.Outcome).
const (
	Built       = event.OutcomeBuilt
	Pushed      = event.OutcomePushed
	Changed     = event.OutcomeChanged
	Unchanged   = event.OutcomeUnchanged
	Checked     = event.OutcomeChecked
	Uploaded    = event.OutcomeUploaded
	Ran         = event.OutcomeRan
	RolledBack  = event.OutcomeRolledBack
	Failed      = event.OutcomeFailed
	Skipped     = event.OutcomeSkipped
	NotStarted  = event.OutcomeNotStarted
	Interrupted = event.OutcomeInterrupted
)

// Outcome is how one host ended.
type Outcome struct {
	Host   string
	State  event.Outcome
	Detail string // one line for the summary
	System string // the toplevel's store path, when it was built
	// In is the store that has System; nothing when it was not built or copied.
	In       store.Endpoint
	Previous string // what the host ran before, when it was changed
	Duration time.Duration
	Err      error
	// Activation is what the guard said; empty when it did not come so far.
	Activation activate.Result

	began time.Time // before its turn in Run.Hosts; zero: then
}

// Bad tells whether the host did not reach what was asked for.
func (o Outcome) Bad() bool {
	return o.State == Failed || o.State == RolledBack || o.State == NotStarted || o.State == Interrupted
}

// named makes err carry the host's name, once.
func named(host string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		if f.Host == "" {
			f.Host = host
		}
		return err
	}
	f = fault.New("%s", strings.TrimPrefix(event.Message(err), host+": ")).On(host).Because(err)
	f.Hints = fault.Hints(err)
	return f
}
