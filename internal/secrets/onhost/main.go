//go:build linux

package onhost

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/secrets/bundle"
)

// Host is where things are on a host. Tests move them.
type Host struct {
	// Run has the link secrets and the folder secrets.d; State is State.
	Run, State string
	// Systemd is the folder below which units go, /etc/systemd.
	Systemd string
	// System is a link to the running system.
	System string
	// Stage is when in a boot this is: early, late, or "" where nobody says so.
	Stage string
	// Wait is how long another run of the program is waited for.
	Wait time.Duration
	// Memory makes a folder one of memory; an error when it cannot be.
	Memory func(folder string) error
	// Systemctl runs systemctl, and gives what it prints.
	Systemctl func(words ...string) (string, error)
	// Number looks up a name in the database passwd or group.
	Number func(database, name string) (id int, there bool)
	// Say takes lines for the log, without secrets.
	Say func(format string, args ...any)
}

// The two units of a boot name their stage in the environment, which programs of other
// releases than the unit's do not trip over.
const (
	stageVariable = "GODWIT_BOOT"
	early         = "early" // only what the initial ram disk mounted is there
	late          = "late"  // local file systems are mounted
)

// here is a real host.
func here() *Host {
	return &Host{Run: "/run/godwit", State: State, Systemd: "/etc/systemd", System: "/run/current-system", Stage: os.Getenv(stageVariable), Wait: time.Minute, Memory: memory, Systemctl: systemctl, Number: number,
		Say: func(format string, args ...any) { fmt.Printf("godwit: "+format+"\n", args...) }}
}

const usage = `usage: godwit-secrets VERB
  receive            a release from the input: opens all of it, then keeps it; prints its folder
  check RELEASE      does everything in it open?
  deliver RELEASE    makes it the one that runs
  settle             gives secrets to owners that came meanwhile
  restart            restarts the units whose secrets have changed
  keep RELEASE [SYSTEM...]   notes which system it goes with, and removes what nothing needs
  once [RELEASE SYSTEM...]   notes that a boot of one of these systems delivers it; alone, forgets that
  leave              there is no release any more
  boot [SYSTEM]      delivers what goes with the running system, if nothing is there yet
`

// Main runs the program with the words of its command line, and gives its status: 0; 1
// for what failed, with everything as before; 64 for words that it does not know.
func Main(args []string) int {
	h := here()
	err := h.run(args, os.Stdin, os.Stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		return 64
	case err != nil:
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(os.Stderr, Name+": "+strings.TrimRight(line, "\n"))
		}
		return 1
	}
	return 0
}

var errUsage = errors.New("usage")

// maxRelease bounds what is read of a release, in bytes.
const maxRelease = 256 << 20

func (h *Host) run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	verb, args := args[0], args[1:]
	release := func() (string, error) {
		if len(args) != 1 {
			return "", errUsage
		}
		return args[0], nil
	}
	switch verb {
	case "deliver", "settle", "keep", "once", "leave", "boot":
		// Not restart as a whole: what it restarts may wait for a unit that runs this program.
		end, err := h.alone()
		if err != nil {
			return err
		}
		defer end()
	}
	switch verb {
	case "receive":
		text, err := bounded.ReadAll(in, "the release", maxRelease)
		if err != nil {
			return err
		}
		folder, err := h.Receive(text)
		if err == nil {
			fmt.Fprintln(out, folder)
		}
		return err
	case "check":
		at, err := release()
		if err != nil {
			return err
		}
		_, err = h.open(at)
		return err
	case "deliver":
		at, err := release()
		if err != nil {
			return err
		}
		return h.Deliver(at)
	case "settle":
		return h.Settle()
	case "restart":
		return h.Restart()
	case "keep":
		if len(args) < 1 {
			return errUsage
		}
		return h.Keep(args[0], args[1:])
	case "once":
		if len(args) == 1 {
			return errUsage
		}
		return h.Once(args)
	case "leave":
		return h.Leave()
	case "boot":
		if len(args) > 1 {
			return errUsage
		}
		return h.Boot(strings.Join(args, ""))
	}
	return errUsage
}

// link is where the secrets that run are, and folder has them.
func (h *Host) link() string   { return h.Run + "/secrets" }
func (h *Host) folder() string { return h.Run + "/secrets.d" }

// path is where the plaintext of an entry is.
func (h *Host) path(e bundle.Entry) string { return h.link() + "/" + e.Name }
