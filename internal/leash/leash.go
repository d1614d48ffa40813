// Package leash makes that programs which this process starts end with it, however
// it ends: also when it is killed and cannot end them itself. Pdeathsig would do that
// on Linux alone, for the thread that started the program, and not for what that
// started in turn.
//
// A small shell waits at the other end of a pipe from us. When the pipe closes, it
// ends the process groups that are still held, and removes the directories.
package leash

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"godwit/internal/crash"
	"godwit/internal/hostscript"
)

// script reads what is held: "+ PGID", "- PGID", "d DIRECTORY", "r DIRECTORY". A
// master of ssh that gets SIGTERM says goodbye and removes its socket; what does not
// end by that in a second is killed, with what it started in sessions of its own. Of
// directories only the sockets in them, the lock of internal/scratch and they themselves
// are removed.
var script = hostscript.Below + `
trap '' HUP INT QUIT TERM PIPE
nl='
'
held='' dirs=$nl
while IFS= read -r line; do
	what=${line#? }
	case $line in
	'+ '*) held="$held $what" ;;
	'- '*) left=; for p in $held; do [ "$p" = "$what" ] || left="$left $p"; done; held=$left ;;
	'd '*) dirs="$dirs$what$nl" ;;
	'r '*) case $dirs in *"$nl$what$nl"*) dirs="${dirs%%"$nl$what$nl"*}$nl${dirs#*"$nl$what$nl"}" ;; esac ;;
	esac
done
for p in $held; do kill -s TERM -- "-$p"; done
[ -z "$held" ] || sleep 1
for p in $held; do
	kill -s 0 -- "-$p" || continue
	below "$p"
	for g in $p $below_groups; do kill -s KILL -- "-$g"; done
done
while [ "$dirs" != "$nl" ]; do
	dirs=${dirs#"$nl"} dir=${dirs%%"$nl"*} dirs=$nl${dirs#*"$nl"}
	for f in "$dir"/*; do [ ! -S "$f" ] || rm -f "$f"; done
	rm -f "$dir/.godwit-lock" # of internal/scratch
	rmdir "$dir"
done`

// watch is the shell; started when it is first needed, one for this process.
var watch = sync.OnceValue(func() *watcher {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = "/"
	// A Ctrl-C in the terminal, or its end, is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return &watcher{} // without it all works, as long as nobody kills us
	}
	go func() { defer crash.Catch(); _ = cmd.Wait() }()
	return &watcher{in: in}
})

type watcher struct {
	mu sync.Mutex
	in io.Writer
}

func (w *watcher) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.in != nil {
		_, _ = fmt.Fprintf(w.in, format+"\n", args...)
	}
}

// Group has the process group pgid end with this process. The returned function lets
// it go: call it when the group has ended.
func Group(pgid int) (release func()) {
	watch().say("+ %d", pgid)
	return sync.OnceFunc(func() { watch().say("- %d", pgid) })
}

// Sockets has the directory, and the sockets in it, removed with this process. The
// returned function is for who has removed it.
func Sockets(dir string) (release func()) {
	if strings.ContainsAny(dir, "\n") {
		return func() {}
	}
	watch().say("d %s", dir)
	return sync.OnceFunc(func() { watch().say("r %s", dir) })
}
