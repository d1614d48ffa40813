package nixlog

import (
	"io"
	"slices"

	"godwit/internal/crash"
	"godwit/internal/event"
)

// logLines is how many lines of a failed build's output are kept.
const logLines = 20

// BuildLog takes the standard error of a Nix that builds with
// `--log-format internal-json -v`: it makes events of it (Forward), and remembers
// what failed. It is an io.Writer; Close it at the end.
type BuildLog struct {
	t    *Tracker
	in   *io.PipeWriter
	done chan struct{}
}

// NewBuildLog makes a BuildLog that emits on scope.
func NewBuildLog(scope event.Scope) *BuildLog {
	r, w := io.Pipe()
	l := &BuildLog{t: NewTracker(), in: w, done: make(chan struct{})}
	l.t.Keep = logLines
	go func() {
		defer crash.Catch()
		defer close(l.done)
		ForwardTo(l.t, r, scope, nil)
		_, _ = io.Copy(io.Discard, r)
	}()
	return l
}

// Write takes a piece of the log.
func (l *BuildLog) Write(p []byte) (int, error) {
	defer crash.Catch()
	return l.in.Write(p)
}

// Close takes a last line without line break. All events are out afterwards.
func (l *BuildLog) Close() error {
	err := l.in.Close()
	<-l.done
	return err
}

// Failures are the derivations that failed by themselves, first failed first. One of
// which nothing but a counter told is among them only when Nix named no other.
func (l *BuildLog) Failures() []Failure {
	own := slices.DeleteFunc(l.t.Failures(), func(f Failure) bool { return f.Dependency })
	if named := slices.DeleteFunc(slices.Clone(own), func(f Failure) bool { return f.Reason == "" }); len(named) > 0 {
		return named
	}
	for i := range own {
		own[i].Reason = "Nix does not say why"
	}
	return own
}

// Errors are errors that are not about one derivation, a line each.
func (l *BuildLog) Errors() []string { return l.t.others() }

// Last is the last such error, or err's own text.
func (l *BuildLog) Last(err error) string {
	if e := l.Errors(); len(e) > 0 {
		return e[len(e)-1]
	}
	if err != nil {
		return err.Error()
	}
	return "no reason given"
}
