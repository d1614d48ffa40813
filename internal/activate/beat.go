package activate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"godwit/internal/awake"
	"godwit/internal/event"
	"godwit/internal/hostscript"
)

// beat is a sign of life of the host (scripts/lease.sh).
type beat struct {
	left  time.Duration // until it goes back if it hears nothing more; 0: it does so, or it does not
	phase string
	busy  string    // the job that systemd is busy with: "start web.service"
	at    time.Time // when it came; zero: there was none
}

func parseBeat(rest string) beat {
	f := strings.SplitN(rest, " ", 3)
	b := beat{at: time.Now()}
	if n, err := strconv.Atoi(f[0]); err == nil && n >= 0 && n < 1<<20 {
		b.left = time.Duration(n) * time.Second
	}
	if len(f) == 3 {
		b.phase, b.busy = f[1], hostscript.Words(f[2])
	}
	return b
}

// goesBack says, from what the host said last, when it goes back by itself.
func (d *run) goesBack() string {
	b := d.fr.beat
	if b.at.IsZero() {
		b.at, b.left = time.Now(), d.activate+d.stop+d.silence
	}
	left := seconds(max(0, b.left-time.Since(b.at)))
	if b.phase == "" {
		return fmt.Sprintf("%ds after its activation has ended, within %ds", seconds(d.silence), left)
	}
	return fmt.Sprintf("within %ds", left)
}

// waits is what a person is told while the host says nothing.
type waits struct {
	phase string
	busy  string        // the last that the activation waited for
	begun awake.Instant // the phase
	said  awake.Instant // when a person last heard something
	shown bool          // what it waits for is on the screen
}

// How long nothing must have happened until it is said what is waited for, and how
// often it is said again.
const tellAfter = 10 * time.Second

// waiting tells what the host is busy with, and until when, when its log has been
// silent for a while.
func (d *run) waiting(b beat) {
	w := &d.waits
	if b.phase == "" && b.busy != "" {
		w.busy = b.busy
	}
	if w.begun == 0 || w.phase != b.phase {
		*w = waits{phase: b.phase, busy: w.busy, begun: awake.Now(), said: awake.Now()}
		return
	}
	if awake.Since(w.said) < tellAfter {
		return
	}
	for_ := awake.Since(w.begun)
	text := ""
	switch b.phase {
	case "":
		// The host's own count: this may be another connection than the first.
		if left := b.left - d.silence - d.stop; d.guarded() {
			for_ = d.activate - left
		}
		text = fmt.Sprintf("for %s now; it is stopped after %s (--activate-timeout)", round(for_), round(d.activate))
	case "committing":
		text = fmt.Sprintf("the boot loader has been running for %s; it is killed after %s", round(for_), round(d.commitMax))
	case "failed", "rolling-back":
		text = fmt.Sprintf("going back for %s now; an attempt may take %s, and there are three", round(for_), round(d.rollbackMax))
	default:
		return
	}
	if b.busy != "" {
		text += "; it waits for: " + b.busy
	}
	w.said, w.shown = awake.Now(), true
	d.sc.Progress(0, 0, "", text)
}

// heardLine ends what waiting told.
func (d *run) heardLine() {
	d.waits.said = awake.Now()
	if d.waits.shown {
		d.waits.shown = false
		d.sc.Emit(event.Event{Kind: event.Progress, Text: string(d.req.Action)})
	}
}

func round(t time.Duration) time.Duration { return t.Round(time.Second) }
