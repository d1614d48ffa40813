package cli

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"godwit/internal/crash"
	"godwit/internal/fault"
)

// errUnread is the cause of a context that ended because nobody reads what the
// run writes, as in `godwit exec network.nix uptime | head -1`. The run ends as
// after Ctrl-C, with everything cleaned up, but without a word.
var errUnread = fmt.Errorf("%w: the reader of the output is gone", errInterrupted)

// output is stdout or stderr. It keeps the first error of a write, since most of
// what is written are events, and who emits them does not look at errors.
type output struct {
	file   io.Writer
	unread func(error) // ends the run
	mu     sync.Mutex
	err    error
}

func (o *output) Write(b []byte) (int, error) {
	defer crash.Catch()
	n, err := o.file.Write(b)
	if err == nil {
		return n, nil
	}
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.mu.Unlock()
	if errors.Is(err, syscall.EPIPE) {
		o.unread(errUnread)
	}
	return n, err
}

// verdict is the exit code of a run that would end with code, had all of its
// output been written.
func (o *output) verdict(code int, stderr io.Writer) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err == nil || code != ExitOK:
		return code
	case errors.Is(o.err, syscall.EPIPE):
		return ExitInterrupted
	}
	fmt.Fprint(stderr, fault.Render(fault.New("the output could not be written: %w", o.err)))
	return ExitFailure
}
