package deploy

import (
	"errors"

	"godwit/internal/fault"
)

// LeaveAlone is an error for Run.Admit: the host is left as it is, for a reason
// that is not its own, and ends as NotStarted.
func LeaveAlone(reason *fault.Error) error { return errNotStarted{reason} }

// leftAlone is the outcome of a host that nothing was done to because of err.
func leftAlone(err error, system string) Outcome {
	o := Outcome{Err: err, System: system}
	var left errNotStarted
	if errors.As(err, &left) {
		o.State = NotStarted
	}
	return o
}
