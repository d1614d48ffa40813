package ui

// Plain writes a text that is not an event (a table, a report) in the
// characters that the terminal has.
func (u *UI) Plain(s string) string { return u.asciiText(s) }
