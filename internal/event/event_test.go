package event

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

type bare struct{}

func (bare) Error() string { return "web: refused" }
func (bare) Bare() string  { return "refused" }

// Nobody reads Go's words for the end of a context.
func TestMessage(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "plain"},
		{bare{}, "refused"},
		{fmt.Errorf("around: %w", bare{}), "refused"},
		{context.Canceled, "interrupted"},
		{context.DeadlineExceeded, "timed out"},
	} {
		if got := Message(c.err); got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}
