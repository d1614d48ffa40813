package profile

import "godwit/internal/nar"

// Look is sh that reads what of a profile a host has; nothing in it changes anything
// there. Each part defines a function whose name begins with the kind's; they say what
// they find with tell NAME VALUE, and find LINK.
type Look struct {
	// Guard defines look: what the guard has to know before it begins.
	Guard string
	// Change defines change: what a plan judges by what a change would mean. It runs as
	// root and finds NEW, which the host need not have yet; DRY, to ask NEW what it would
	// do; and UNITS, to list the units that run. Both are empty for no.
	Change string
	// Report defines report, as root: what of the running profile a status shows.
	Report string
}

// Line is one thing that a look told.
type Line struct{ Name, Value string }

// Seen is what was found of a profile. It asks nobody.
type Seen interface {
	// Report is about what the host has, after Look.Report.
	Report() Report
	// Judge says what a change would mean, after Look.Change.
	Judge(Question) Judgement
	// Fetch looks at what the host does not have yet, where it is: read gives an object
	// of that store by its path. What cannot be read is not known.
	Fetch(path string, read func(storePath string) (nar.Tree, bool))
}

// Report is what a host has of a profile, in words that all kinds share. What is not
// known, or does not exist, is empty.
type Report struct {
	Version  string // as people call it: "24.05"
	Revision string // of the configuration
	Kernel   string // of the running system, such as "linux 6.6.51"
	// RebootParts are what differs between what was booted and what runs, and only a
	// reboot changes; RebootText is the same for a person.
	RebootParts []string
	RebootText  string
	// Boots is the store path of what the machine boots next, as its boot loader says.
	Boots string
}

// Question is what a plan asks about a change.
type Question struct {
	Action Action
	Reboot bool // a reboot follows
}

// AtOnce tells whether what runs changes, now or by the reboot.
func (q Question) AtOnce() bool { return q.Action == Switch || q.Action == Test || q.Reboot }

// Lasts tells whether the next boot has the new one.
func (q Question) Lasts() bool { return q.Action != Test || q.Reboot }

// Judgement is what a change would mean.
type Judgement struct {
	Units *Units // that would be touched; nil: not known
	// Parts are those of the new one that only a boot, or PID 1, takes up.
	Parts      []Part
	NeedReboot bool
	Risks      []Risk
	// Warning is what the new one's own dry run says against the change; "": nothing.
	Warning string
	// BootBytes is what goes into /boot, and BootWhat what that is ("kernel and initrd
	// take"); 0: nothing new does.
	BootBytes int64
	BootWhat  string
}

// Units are the units that an activation would touch.
type Units struct {
	Stop    []string `json:"stop,omitempty"`
	Start   []string `json:"start,omitempty"`
	Restart []string `json:"restart,omitempty"`
	Reload  []string `json:"reload,omitempty"`
	// Kept are changed units that are not restarted because they say so.
	Kept []string `json:"kept,omitempty"`
	// Systemd tells that PID 1 re-executes itself.
	Systemd bool `json:"systemd,omitempty"`
	// Estimated tells that this comes from comparing unit files, because the
	// system is not on the host; the host's own answer may differ.
	Estimated bool `json:"estimated,omitempty"`
}

// Empty tells whether nothing is touched.
func (u *Units) Empty() bool {
	return u == nil || len(u.Stop)+len(u.Start)+len(u.Restart)+len(u.Reload)+len(u.Kept) == 0 && !u.Systemd
}

// Risk is something that a person has to want. Each sort has a name by which it
// is accepted; there is no way to accept all of them at once.
type Risk struct {
	Name string `json:"name"`
	Text string `json:"text"`
	// Accepted says by what: "--accept-risk", "--no-guard"; empty: not yet.
	Accepted string `json:"accepted,omitempty"`
}

// Names of the risks that a kind may judge a change to have. They are API; package plan
// has the others, and what they mean.
const (
	KernelChange = "kernel-change"
	BootLoader   = "boot-loader-change"
	SSHChange    = "ssh-change"
)

// Judged are those names.
var Judged = []string{KernelChange, BootLoader, SSHChange}
