package ssh

import "context"

// SetAESHere says what this machine's processor has, and gives the way back.
func SetAESHere(has bool) func() {
	before := aesHere
	aesHere = func() bool { return has }
	return func() { aesHere = before }
}

// ForgetSilence makes it a while ago that h was waited for in vain.
func ForgetSilence(h *Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.quiet = h.quiet.Add(-silenceHolds)
}

// Configured is what ssh is configured to use with h, and where nobody says anything.
func Configured(ctx context.Context, h *Host) (mine, builtin string, env []string) {
	c := h.configured(ctx)
	return c.ciphers, h.pool.builtin(ctx), c.environment()
}
