package ssh

import "context"

// SetAESHere says what this machine's processor has, and gives the way back.
func SetAESHere(has bool) func() {
	before := aesHere
	aesHere = func() bool { return has }
	return func() { aesHere = before }
}

// Configured is what ssh is configured to use with h.
func Configured(ctx context.Context, h *Host) (mine, builtin string) { return h.configured(ctx) }
