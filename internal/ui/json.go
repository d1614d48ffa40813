package ui

import (
	"bytes"
	"encoding/json"
	"time"

	"godwit/internal/event"
)

// emitJSON writes one event as one line on stdout, whole; and behind what a
// host has copied, what all of them have.
func (u *UI) emitJSON(e event.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writeJSON(e)
	if e.Host == "" {
		return
	}
	u.model.apply(e)
	if e.Step == event.StepCopy {
		u.writeCopies(e)
	}
}

func (u *UI) writeJSON(e event.Event) {
	e.Time = e.Time.UTC()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		// An Event holds nothing that cannot be encoded but a rate that is not
		// a number.
		e.Rate = 0
		b.Reset()
		_ = enc.Encode(e)
	}
	u.noted(WriteJSON(u.stdout, b.Bytes()))
}

// copiesEvery bounds how often the sum of all hosts is told while they copy.
const copiesEvery = 100 * time.Millisecond

// writeCopies writes the sum of all hosts' copying when it has changed: at once
// when e ends a host's copying, since no other event may follow.
func (u *UI) writeCopies(e event.Event) {
	c := u.model.copies()
	if c.done == u.copies.done && c.total == u.copies.total {
		return
	}
	if e.Kind == event.Progress && c.active > 0 && e.Time.Sub(u.copiesAt) < copiesEvery {
		return
	}
	u.copies, u.copiesAt = c, e.Time
	u.writeJSON(event.Event{Time: e.Time, Step: event.StepCopy, Kind: event.Progress, Done: c.done, Total: c.total, Unit: event.Bytes, Rate: c.rate})
}
