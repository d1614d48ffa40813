package activate

import "strings"

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
		return "could not be started: resources were missing"
	}
	return "ended with " + strings.Join(f, " ")
}
