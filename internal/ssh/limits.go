package ssh

import "syscall"

// openFiles is how many files this process may have open. Go's runtime has raised the
// soft limit to the hard one before main.
func openFiles() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<20))
}
