package ui

import (
	"bytes"
	"encoding/json"

	"godwit/internal/event"
)

// emitJSON writes one event as one line on stdout, whole.
func (u *UI) emitJSON(e event.Event) {
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
	u.mu.Lock()
	defer u.mu.Unlock()
	u.write(u.opt.Stdout, b.Bytes())
}
