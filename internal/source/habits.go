package source

// Habits are the words of the dialect's own tool that godwit takes as well, so that
// people who come from it can go on typing them. They do not show in help; the page of
// the dialect lists them.
type Habits struct {
	// Verbs are godwit's that take Flags.
	Verbs []string
	Flags []Habit
	// LastCounts says that of such a flag and the one of godwit's own that it means, the
	// one that stands last counts. Without it both exclude each other.
	LastCounts bool
	// Goals are what the verb apply takes, with what it then does.
	Goals []Goal
}

// Goal is a word for one of godwit's verbs.
type Goal struct{ Word, Verb string }

// Habit is a flag. One that means nothing is taken all the same.
type Habit struct {
	// Name is without dashes; Short is one letter; Usage says what it is the same as.
	Name, Short, Usage string
	Takes              Takes
	// Words says that its values are words of the command line, before the others.
	Words bool
	// Action is a word that it stands for, behind the others.
	Action string
	// Flag is the one of godwit's own that it sets: to its value, or to what Values have
	// for that ("true" for a flag that takes none).
	Flag   string
	Values map[string]string
	// Above is the setting of Options.Above that it gives; where AboveOnly is set, with
	// that value alone.
	Above, AboveOnly string
	// Refused says why there is no such thing, and Hint what there is in its place.
	Refused, Hint string
}

// Takes is what follows a flag.
type Takes int

// What follows a flag.
const (
	Nothing   Takes = iota
	Text            // a word
	Texts           // a word, and the flag may be repeated
	TrueFalse       // the word true or false
	Number
	ShellText // words in one, quoted as for a shell
)
