package activate

import (
	"fmt"
	"strconv"
	"strings"
)

// ExitMeaning says in words what a status of switch-to-configuration means.
// Statuses above 128 are how a shell reports a signal. Sources: nixpkgs
// switch-to-configuration.pl and switch-to-configuration-ng (src/main.rs).
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

func signalName(n int) string {
	names := map[int]string{1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL (out of memory?)", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}
	if name, ok := names[n]; ok {
		return name
	}
	return "signal " + strconv.Itoa(n)
}

// unitMeaning says how the unit of the activation ended when there is no exit
// status: result is "<SERVICE_RESULT> <EXIT_CODE> <EXIT_STATUS>", as systemd
// tells an ExecStopPost (systemd.exec(5), $SERVICE_RESULT).
func unitMeaning(result string, limit string) string {
	f := strings.Fields(result)
	if len(f) == 0 {
		return "was killed"
	}
	switch f[0] {
	case "timeout":
		return "was stopped because it took longer than " + limit
	case "oom-kill":
		return "was killed because the host ran out of memory"
	case "killed":
		return "was killed"
	case "signal", "core-dump":
		return "was killed by SIG" + strings.TrimPrefix(f[len(f)-1], "SIG")
	case "success":
		return "was stopped from outside"
	case "resources":
		return "could not be started for want of resources"
	}
	return "ended with " + strings.Join(f, " ")
}
