// Package profile says what godwit must know of one sort of profile: a system of
// NixOS, the home of a user, whatever else has an activation of its own. Everything
// else treats profiles alike. internal/profile/kinds lists the sorts that there are.
package profile

import "slices"

// Action is what to do with the profiles of a host.
type Action string

// The actions, which are those of NixOS's switch-to-configuration.
const (
	Switch      Action = "switch"
	Boot        Action = "boot"
	Test        Action = "test"
	DryActivate Action = "dry-activate"
)

// Kind is one sort of profile: a value, and functions in sh for the host, which does
// it all with its own tools. The names of the functions begin with Name, as nixos_now:
//
//	now      the path of what runs; nothing when there is none
//	fits     can NEW be made to run, and OLD be gone back to? If not: why, and status 1
//	look     tells what a change would mean (tell NAME VALUE); changes nothing
//	try      ACTION: makes NEW run. 0: it does. The status of what it ran is left in $rc
//	keep     what runs becomes what the next boot and the profile's link have
//	unkeep   STATUS of keep: undoes it; nothing for STATUS: it did not come to the boot loader
//	back     makes OLD run. 0: it does; 9: neither OLD nor NEW runs here; 75: another time
//	returned does OLD run again since back began, whatever became of it?
//
// And, where a kind has a use for them:
//
//	armed    before anything is changed; with MODE once, before a reboot that tries the system
//	tried    when all profiles were tried: what had to wait for the others. As try
//	ended    RESULT: after everything
//	cut      did a deployment of it end between keep's link and its end?
//
// They find KIND, NAME, OLD, NEW, TOPLEVEL, LINK, OWNER, COMMAND, ACTION and MODE, and
// a folder of their own, $P; they call begin right before they change anything,
// unharmed when they did not, link_set, link_back and as_owner
// (internal/activate/scripts). A function that is run again after it was killed goes on.
type Kind struct {
	// Name is how a dialect calls it, and a record on a host.
	Name string
	// Link is where the generations of a profile are, by its owner ("": root) and name;
	// "" when only the host knows.
	Link func(owner, name string) string
	// Actions are those that it has.
	Actions []Action
	// Needs are files that a store object must have to be one, executable, below it.
	Needs []string
	// Boots tells that keep sets what the machine boots.
	Boots bool
	// Lasts tells that a reboot leaves it as it was activated, though it was not kept: then
	// the host itself takes it back when it has booted.
	Lasts bool
	// Always tells that it takes part wherever another profile of its host changes.
	Always bool
	// Now defines now, fits and cut, Guard the functions of the guard but these and look.
	Now, Guard string
	// Look reads what of it a host has; Read makes what was seen of the answer to its
	// Change or Report, in whatever order, and of one that somebody made up. Without Read
	// there is no more to see than what the guard knows.
	Look Look
	Read func([]Line) Seen
	// Whose is the one of hosts that a store path was made for, by its name; "" when that
	// does not tell. May be nil.
	Whose func(storePath string, hosts []string) string
	// Meaning says in words what a status of try means, with the last lines of its log.
	Meaning func(status int, log []string) string
	// ByHand are the words of a command that makes path run, or, with Switch and Boot,
	// keeps it, for a person to type; nil when there is none.
	ByHand func(path string, a Action) []string
}

// Has tells whether the kind has an action.
func (k Kind) Has(a Action) bool { return slices.Contains(k.Actions, a) }

// PlainMeaning is Kind.Meaning of a program whose statuses have no meaning of their own.
func PlainMeaning(status int, _ []string) string {
	switch {
	case status < 0:
		return "ended without an exit status"
	case status == 0:
		return "everything was activated"
	case status == 126 || status == 127:
		return "the activation could not be run"
	}
	return "the activation failed"
}
