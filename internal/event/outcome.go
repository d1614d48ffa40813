package event

// Outcome is how a host ended: in events, in the guard's result, in the history. There is
// no other list of such words.
type Outcome string

// Outcomes.
const (
	OutcomeOK          Outcome = "ok"          // nothing was to be changed (dry-activate); a whole run that is well
	OutcomeBuilt       Outcome = "built"       // the system exists; nothing else was asked for
	OutcomePushed      Outcome = "pushed"      // the system is in the host's store
	OutcomeChanged     Outcome = "changed"     // the host runs (or will boot) the new system
	OutcomeUnchanged   Outcome = "unchanged"   // the host ran it already
	OutcomeChecked     Outcome = "healthy"     // checks alone were asked for, and passed
	OutcomeUploaded    Outcome = "uploaded"    // secrets alone were asked for
	OutcomeRan         Outcome = "ran"         // a command was asked for and ended with 0
	OutcomeRolledBack  Outcome = "rolled-back" // the host went back to what it ran before
	OutcomeUntouched   Outcome = "untouched"   // a reboot that never began: the host is as before
	OutcomeFailed      Outcome = "failed"      // not what was asked for, or nobody knows
	OutcomeSkipped     Outcome = "skipped"     // build-only, or a dry run
	OutcomeNotStarted  Outcome = "not-started" // left alone, because others failed first
	OutcomeInterrupted Outcome = "interrupted"
	OutcomeUnreachable Outcome = "unreachable" // the host was lost, and nobody knows
	OutcomeSuperseded  Outcome = "superseded"  // somebody else switched the host meanwhile
	OutcomeUnknown     Outcome = "unknown"     // of an entry of the history whose end nobody wrote down
)
