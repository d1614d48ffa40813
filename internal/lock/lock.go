// Package lock keeps a host from being changed because a person said so. The lock is a
// file on the host, so that everybody who tries learns who set it, why, and since when,
// whatever machine they deploy from. It is about people: what godwit does at one time on
// one host is kept apart by the guard (internal/activate).
package lock

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/ui/text"
)

// File is where a lock is on a host. Only root can write there, and everybody can read
// it: also who deploys profiles of a user, and has no root on the host.
const File = "/var/lib/godwit-lock.json"

var file = File // tests move it

// Lock is who keeps a host, why, and since when.
type Lock struct {
	Host     string    `json:"host,omitempty"`
	User     string    `json:"user"`
	Deployer string    `json:"deployer,omitempty"` // the machine from which it was set
	Message  string    `json:"message"`
	Since    time.Time `json:"since"`
}

// Read makes a lock of what the file on a host holds. A file that is there and cannot be
// understood is a lock as well: nobody knows what its owner meant.
func Read(data string) *Lock {
	data = strings.TrimSpace(data)
	if data == "" {
		return nil
	}
	l := new(Lock)
	if err := json.Unmarshal([]byte(data), l); err != nil {
		return &Lock{User: "somebody", Message: "the file " + File + " cannot be understood"}
	}
	for _, s := range []*string{&l.Host, &l.User, &l.Deployer, &l.Message} {
		*s = text.Clean(*s)
	}
	if l.User == "" {
		l.User = "somebody"
	}
	return l
}

// Who is "ana on laptop".
func (l *Lock) Who() string {
	if l.Deployer == "" {
		return l.User
	}
	return l.User + " on " + l.Deployer
}

// String is "ana on laptop since 2026-11-28 22:10: disk is being replaced".
func (l *Lock) String() string {
	s := l.Who()
	if !l.Since.IsZero() {
		s += " since " + l.Since.Local().Format("2006-01-02 15:04")
	}
	if l.Message != "" {
		s += ": " + l.Message
	}
	return s
}

// Err is why nothing is done on a host that is locked.
func (l *Lock) Err(host string) *fault.Error {
	return fault.New("the host is locked by %s; nothing was changed", l).On(host).Exit(exitLocked).
		Hint("ask %s; godwit unlock %s takes the lock away", fault.Raw(l.User), host).
		Hint("--override-lock goes on anyway, and the history records that")
}

// exitLocked is no code of the command line's: a locked host is one that failed.
const exitLocked = 75

// limit bounds each command of this package on a host.
const limit = time.Minute

// maxFile is the size of the file in bytes that is read.
const maxFile = 8 << 10

// The scripts. $LOCK is the file's content in base64. set replaces the file in one step;
// with $KEEP it makes a new one or none, so that of two people who lock at once one gets it.
const (
	set = `umask 022
if ! { mkdir -p "${FILE%/*}" && printf '%s' "$LOCK" | base64 -d >"$FILE.$$" && [ -s "$FILE.$$" ]; }; then
	rm -f "$FILE.$$"
	exit 66
fi
if [ -z "$KEEP" ]; then
	mv -f "$FILE.$$" "$FILE"
else
	ln "$FILE.$$" "$FILE" 2>/dev/null || head -c 4096 "$FILE"
	rm -f "$FILE.$$"
fi
`
	clear = `[ ! -s "$FILE" ] || { head -c 4096 "$FILE" && rm -f "$FILE"; }
`
	read = `[ ! -s "$FILE" ] || head -c 4096 "$FILE"
`
)

// Set locks a host. With keep a lock that is there stays, and is given back.
func Set(ctx context.Context, conn host.Conn, l Lock, keep bool) (*Lock, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, fault.New("%w", err).On(l.Host)
	}
	v := hostscript.Variables{"LOCK": base64.StdEncoding.EncodeToString(append(b, '\n')), "KEEP": ""}
	if keep {
		v["KEEP"] = "1"
	}
	return run(ctx, conn, l.Host, v, set, "locking the host")
}

// Clear takes the lock of a host away and gives the one that there was; nil: none.
func Clear(ctx context.Context, conn host.Conn, name string) (*Lock, error) {
	return run(ctx, conn, name, hostscript.Variables{}, clear, "unlocking the host")
}

// Of is the lock of a host; nil: none. It needs no root.
func Of(ctx context.Context, conn host.Conn, name string) (*Lock, error) {
	return run(ctx, conn, name, hostscript.Variables{}, read, "the search for a lock")
}

func run(ctx context.Context, conn host.Conn, name string, v hostscript.Variables, script, what string) (*Lock, error) {
	v["FILE"] = file
	head, err := v.Text()
	if err != nil {
		return nil, fault.New("%w", err).On(name)
	}
	var out strings.Builder
	err = conn.Run(ctx, host.Cmd{Script: hostscript.Compound(head, script), Elevate: script != read, Stdout: &out, MaxOutput: maxFile, Name: what, Limit: limit})
	l := Read(out.String())
	if l != nil {
		l.Host = name
	}
	return l, err
}
