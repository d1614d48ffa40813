// Package event defines the one stream that every step of a run reports on.
//
// Nothing in godwit prints on the side: a step emits events, and exactly one
// renderer (internal/ui) turns them into a live terminal view, plain lines or
// JSON. The JSON form of Event is API; Version names it (docs/events.md).
package event

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Version is the number of the JSON schema of Event. It grows when a field
// changes meaning or goes away; new fields and new values do not change it.
const Version = 1

// Step names what a host, or the run, is busy with.
type Step string

// The steps of a run, in the order in which a deploy meets them.
const (
	StepEvaluate Step = "evaluate"  // Nix evaluation of one host, or of the fleet
	StepConnect  Step = "connect"   // ssh master, host facts
	StepBuilder  Step = "builder"   // choosing, starting and probing builders
	StepBuild    Step = "build"     // realising derivations
	StepCopy     Step = "copy"      // store paths on their way to a host
	StepSecrets  Step = "secrets"   // uploading secrets and running their actions
	StepPreCheck Step = "pre-check" // checks before anything is changed
	StepActivate Step = "activate"  // the new system's own activation
	StepReboot   Step = "reboot"    // asking for a reboot and waiting for it
	StepCheck    Step = "check"     // health checks after the change
	StepGC       Step = "gc"        // deleting old generations, collecting garbage
	StepExec     Step = "exec"      // a command of the user's on the hosts
	StepPlan     Step = "plan"      // finding out what would change
)

// Kind tells what an event says about its step.
type Kind string

// Kinds. Every started step ends with exactly one of done, failed, skipped.
const (
	Started  Kind = "started"  // the step begins
	Progress Kind = "progress" // Done of Total in Unit; Text says what is being worked on
	Waiting  Kind = "waiting"  // the step, or the host, waits; Text says for what. Started or Progress ends it
	Log      Kind = "log"      // one line of output of a tool or a host
	Note     Kind = "note"     // a line that a person should see and that changes nothing
	Warning  Kind = "warning"  // a line that a person should act on later
	Done     Kind = "done"     // the step ended well; Text sums it up
	Failed   Kind = "failed"   // the step ended badly; Error says why
	Skipped  Kind = "skipped"  // the step was not needed or not wanted; Text says why
	Result   Kind = "result"   // the whole host (or, with an empty Host, the whole run) is finished
)

// Unit is what Done and Total of a progress event count.
type Unit string

// Units of progress.
const (
	Bytes       Unit = "bytes"
	Derivations Unit = "derivations"
	Paths       Unit = "paths"
	Checks      Unit = "checks"
)

// Event is one thing that happened. Its JSON form is one object a line.
type Event struct {
	// Time is when it happened. Emit fills it in when it is zero.
	Time time.Time `json:"time"`
	// Host is the host's name in the configuration; empty for the run itself.
	Host string `json:"host,omitempty"`
	// Profile is that of the host which the event is about; empty for the host as a
	// whole, and where there is one profile only.
	Profile string `json:"profile,omitempty"`
	Step    Step   `json:"step,omitempty"`
	Kind    Kind   `json:"kind"`
	// Text is one line without a line break or control characters.
	Text string `json:"text,omitempty"`
	// Done and Total count in Unit. Total 0 means not known yet.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	Unit  Unit  `json:"unit,omitempty"`
	// Rate is in Unit per second; 0 when not known.
	Rate float64 `json:"rate,omitempty"`
	// Error is the reason of Failed: what failed and why, lower case.
	Error string `json:"error,omitempty"`
	// Hints are things to do next, each of them something that can be typed.
	Hints []string `json:"hints,omitempty"`
	// Outcome of a Result.
	Outcome Outcome `json:"outcome,omitempty"`
	// Activity is set on events that come from Nix's own log (internal/nixlog).
	Activity *Activity `json:"activity,omitempty"`
	// Data holds further facts for machines (store paths, exit codes, ...).
	Data map[string]string `json:"data,omitempty"`
}

// Activity is one of Nix's activities, from its internal-json log.
type Activity struct {
	ID uint64 `json:"id"`
	// Type is "build", "substitute", "copy", "download" or "query".
	Type string `json:"type"`
	// Path is the derivation or the store path worked on.
	Path string `json:"path,omitempty"`
	// From is the builder or the substituter; empty for this machine.
	From  string `json:"from,omitempty"`
	Phase string `json:"phase,omitempty"`
}

// Part is the key in Data of what a line of a log is part of, and WayBack the value
// of lines that a host wrote on its way back to the old system: they do not say why.
const (
	Part    = "part"
	WayBack = "rollback"
)

// Sink takes events. Implementations are safe for use by many goroutines and
// do not block longer than it takes to write a line.
type Sink interface {
	Emit(Event)
}

// SinkFunc makes a function a Sink.
type SinkFunc func(Event)

// Emit calls f.
func (f SinkFunc) Emit(e Event) { f(e) }

// Message is err's message without the name of the host, which an event names
// already. The end of a context is said in words.
func Message(err error) string {
	var b interface{ Bare() string }
	if errors.As(err, &b) {
		return b.Bare()
	}
	switch err {
	case context.Canceled:
		return "interrupted"
	case context.DeadlineExceeded:
		return "timed out"
	}
	return err.Error()
}

// Discard is a Sink that drops everything.
var Discard Sink = SinkFunc(func(Event) {})

// Scope emits events of one host and one step.
type Scope struct {
	Sink    Sink
	Host    string
	Profile string
	Step    Step
}

// For is the scope of one of several profiles of the host.
func (s Scope) For(profile string) Scope {
	s.Profile = profile
	return s
}

// On returns a scope for host and step.
func On(s Sink, host string, step Step) Scope {
	if s == nil {
		s = Discard
	}
	return Scope{Sink: s, Host: host, Step: step}
}

// Emit fills in host, step and time and passes e on.
func (s Scope) Emit(e Event) {
	if e.Host == "" {
		e.Host = s.Host
	}
	if e.Step == "" {
		e.Step = s.Step
	}
	if e.Profile == "" {
		e.Profile = s.Profile
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.Sink.Emit(e)
}

// Start emits Started.
func (s Scope) Start(text string) { s.Emit(Event{Kind: Started, Text: text}) }

// Log emits one line of output.
func (s Scope) Log(line string) { s.Emit(Event{Kind: Log, Text: line}) }

// Note emits a line that a person should see.
func (s Scope) Note(text string) { s.Emit(Event{Kind: Note, Text: text}) }

// Warn emits a warning with what can be done about it.
func (s Scope) Warn(text string, hints ...string) {
	s.Emit(Event{Kind: Warning, Text: text, Hints: hints})
}

// Progress emits done of total in unit.
func (s Scope) Progress(done, total int64, unit Unit, text string) {
	s.Emit(Event{Kind: Progress, Done: done, Total: total, Unit: unit, Text: text})
}

// End emits Done with text, or Failed with err.
func (s Scope) End(text string, err error) {
	if err == nil {
		s.Emit(Event{Kind: Done, Text: text})
		return
	}
	e := Event{Kind: Failed, Text: text, Error: Message(err)}
	if s.Host != "" {
		e.Error = strings.TrimPrefix(e.Error, s.Host+": ")
	}
	var h interface{ HintLines() []string }
	if errors.As(err, &h) {
		e.Hints = h.HintLines()
	}
	s.Emit(e)
}
