package ssh

// SetAESHere says what this machine's processor has, and gives the way back.
func SetAESHere(has bool) func() {
	before := aesHere
	aesHere = func() bool { return has }
	return func() { aesHere = before }
}
