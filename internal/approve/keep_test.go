package approve

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeep(t *testing.T) {
	for answers, want := range map[string][]string{
		"y,n":     {"", "the answer was not to keep it"},
		"YES,":    {"", "the answer was not to keep it"},
		"what,y,": {"", "the answer was not to keep it"},
		"a":       {"", ""},
		"eof,all": {"the answer was not to keep it", ""},
	} {
		said := strings.Split(answers, ",")
		k := NewKeeper(func(_ context.Context, question string) (string, error) {
			if !strings.HasSuffix(question, "runs the new system. Keep it? [y/N/a for all, no answer in 1m0s: no] ") {
				t.Errorf("%q", question)
			}
			if len(said) == 0 {
				t.Fatalf("%s: asked once more", answers)
			}
			a := said[0]
			said = said[1:]
			if a == "eof" {
				return "", io.EOF
			}
			return a, nil
		})
		for i, w := range want {
			err := k.Keep(context.Background(), fmt.Sprint("h", i), time.Now().Add(time.Minute))
			if (err == nil) != (w == "") || err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%s: h%d: %v, want %q", answers, i, err, w)
			}
		}
		if len(said) > 0 {
			t.Errorf("%s: %q were not asked for", answers, said)
		}
	}
}

// Nobody answers: each host goes back in its own time, also one whose question was
// never asked.
func TestKeepInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(func(ctx context.Context, question string) (string, error) {
			if !strings.Contains(question, "no answer in 1m0s: no") {
				t.Errorf("%q", question)
			}
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		begin := time.Now()
		errs := make(chan error)
		for i, limit := range []time.Duration{time.Minute, 30 * time.Second} {
			go func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				defer cancel()
				errs <- k.Keep(ctx, fmt.Sprint("h", i), time.Now().Add(limit))
			}()
		}
		for range 2 {
			if err := <-errs; err == nil || !strings.Contains(err.Error(), "there was no answer in time") {
				t.Error(err)
			}
		}
		if took := time.Since(begin); took > time.Minute+time.Second {
			t.Error(took)
		}
	})
}
