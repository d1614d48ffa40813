package nixos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ExitMeaning says in words what a status of switch-to-configuration means.
// Statuses above 128 are how a shell reports a signal. Sources: nixpkgs
// switch-to-configuration.pl and switch-to-configuration-ng (src/main.rs), which
// ends with the errno of the moment in some places.
func ExitMeaning(code int) string {
	switch {
	case code < 0:
		return "ended without an exit status"
	case code == 0:
		return "everything was activated"
	case code == 1:
		return "an error before or during the switch, often a failed pre-switch check"
	case code == 2:
		return "the activation script of the system failed"
	case code == 3:
		return "reloading systemd's units failed"
	case code == 4:
		return "activated, but some units failed"
	case code == 11:
		return "an error before or during the switch (errno 11, as when another switch-to-configuration holds the lock)"
	case errnos[code] != "":
		return "an error before or during the switch (errno " + strconv.Itoa(code) + ", " + errnos[code] + ")"
	case code == 100:
		return "the interface of init changed, so this system can only be booted, not switched to"
	case code == 101:
		return "switch-to-configuration itself crashed"
	case code == 126 || code == 127:
		return "switch-to-configuration could not be run"
	case code > 128 && code < 160:
		return "killed by " + signalName(code-128)
	}
	return fmt.Sprintf("switch-to-configuration failed with status %d", code)
}

// errnos are Linux's, whatever this machine runs: the usual ones above 4.
var errnos = map[int]string{5: "input/output error", 12: "out of memory", 13: "permission denied", 17: "file exists", 20: "not a directory",
	22: "invalid argument", 24: "too many open files", 28: "no space left on device", 30: "read-only file system"}

// own are lines in which switch-to-configuration says by itself why it ended. They
// are worth more than a status that stands for several things.
var own = []struct{ begins, means string }{
	{"Error: ", ""},
	{"Failed to run activate script", "the activation script of the system failed"},
	{"Activation script snippet ", "the activation script of the system failed"},
	{"Pre-switch checks failed", "its pre-switch checks failed"},
	{"This is not a NixOS installation!", "the host has neither /etc/NIXOS nor the os-release of a NixOS"},
	{"Could not open lock", "its lock could not be opened"},
	{"Unable to list users with logind", "logind did not answer"},
}

// Meaning is ExitMeaning with what the log says, for the statuses that stand
// for several things.
func Meaning(code int, log []string) string {
	if code == 4 || code >= 100 {
		return ExitMeaning(code)
	}
	for _, line := range slices.Backward(log) {
		for _, o := range own {
			if !strings.HasPrefix(line, o.begins) {
				continue
			}
			if o.means == "" {
				return "switch-to-configuration stopped: " + strings.TrimPrefix(line, o.begins)
			}
			return o.means
		}
	}
	return ExitMeaning(code)
}

func signalName(n int) string {
	names := map[int]string{1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL (out of memory?)", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}
	if name, ok := names[n]; ok {
		return name
	}
	return "signal " + strconv.Itoa(n)
}
