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

// State is how a host ended.
type State string

// States of a host at the end of a run.
const (
	Built       State = "built"       // the system exists; nothing else was asked for
	Pushed      State = "pushed"      // the system is in the host's store
	Changed     State = "changed"     // the host runs (or will boot) the new system
	Unchanged   State = "unchanged"   // the host ran it already
	Checked     State = "healthy"     // checks alone were asked for, and passed
	Uploaded    State = "uploaded"    // secrets alone were asked for
	Ran         State = "ran"         // a command was asked for and ended with 0
	RolledBack  State = "rolled-back" // the host went back to what it ran before
	Failed      State = "failed"
	Skipped     State = "skipped"     // build-only, or a dry run
	NotStarted  State = "not-started" // left alone, because others failed first
	Interrupted State = "interrupted"
)

// Outcome is how one host ended.
type Outcome struct {
	Host   string
	State  State
	Detail string // one line for the summary
	System string // the toplevel's store path, when it was built
	// In is the store that has System; nothing when it was not built or copied.
	In       store.Endpoint
	Previous string // what the host ran before, when it was changed
	Duration time.Duration
	Err      error
	// Activation is what the guard said; empty when it did not come so far.
	Activation activate.Result
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
	var h interface{ HintLines() []string }
	if errors.As(err, &h) {
		f.Hints = h.HintLines()
	}
	return f
}
