package reader

// Memories and Forget are for the test of how much is remembered.
const Memories = memories

var Forget = forget

// Began is closed when the evaluation that began on a guess is over; nil: none began.
func Began(r *Reader) chan struct{} {
	if r.ahead == nil {
		return nil
	}
	return r.ahead.done
}
