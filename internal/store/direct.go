package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// Direct lets the source's machine send to a host by itself, where it can reach
// it: the data does not pass through this machine.
type Direct struct {
	// Run runs a script with /bin/sh on the source's machine, with stdin.
	Run func(ctx context.Context, script, stdin string) error
	// Import are the words that, run on the source's machine, run `nix-store
	// --import` on the host with the rights to write its store:
	// ssh -o BatchMode=yes root@host nix-store --import.
	Import []string
	// Probe tells whether the source's machine reaches the host; ProbeTime bounds
	// it, or AskedProbeTime. It may set Import. May be nil.
	Probe func(ctx context.Context) error
	// Least is how many bytes must be missing for the direct way to be tried.
	Least int64
	// Quiet says nothing where the probe fails.
	Quiet bool
}

// How long a probe may take: short where nobody asked for the direct way, so that
// a host that the builder cannot reach costs little.
const (
	ProbeTime      = 2 * time.Second // when Quiet
	AskedProbeTime = 10 * time.Second
)

// reaches asks the probe.
func (t *transfer) reaches(ctx context.Context) bool {
	d := t.d.Direct
	if d.Probe == nil {
		return true
	}
	limit := AskedProbeTime
	if d.Quiet {
		limit = ProbeTime
	}
	pctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := d.Probe(pctx)
	if err == nil || ctx.Err() != nil {
		return err == nil
	}
	why := text.OneLine(err.Error())
	if pctx.Err() != nil {
		why = "no answer within " + limit.String()
	}
	text := fmt.Sprintf("%s cannot send to this host by itself (%s): sending through this machine", t.p.src.Name, why)
	if d.Quiet {
		t.scope.Log(text)
	} else {
		t.scope.Warn(text)
	}
	return false
}

// directScript exports the paths on stdin, references before referrers, into
// the words that follow. Only what Nix and a POSIX shell have is used. The
// stream of an export is one for each call, and an import reads one, so that all
// paths go through one call; they are far below the limit of arguments up to
// some ten thousand, and sent in parts beyond.
func directScript(words []string) string {
	quoted := make([]string, len(words))
	for k, w := range words {
		quoted[k] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	to := strings.Join(quoted, " ")
	return `set -eu
part() {
	s=$({ { nix-store --export "$@" || echo export >&3; } | { ` + to + ` >/dev/null || echo import >&3; }; } 3>&1)
	[ -z "$s" ] || { echo "$s failed" >&2; exit 1; }
}
set --
while IFS= read -r p; do
	set -- "$@" "$p"
	if [ $# -ge 4000 ]; then part "$@"; set --; fi
done
[ $# -eq 0 ] || part "$@"
`
}

// direct tries the direct way. Our own connection holds the temporary roots
// meanwhile, and tells how far things are. valid is brought up to date.
func (t *transfer) direct(ctx context.Context, c *conn, need []*Info, total int64, valid pathSet) error {
	var list strings.Builder
	for _, i := range need {
		list.WriteString(i.Path + "\n")
	}
	paths := pathsOf(need)
	if total < t.d.Direct.Least || !t.reaches(ctx) {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		defer crash.Catch()
		done <- t.d.Direct.Run(ctx, directScript(t.d.Direct.Import), list.String())
	}()
	look := func() (int64, error) {
		got, err := c.queryValidPaths(paths, true, false)
		if err != nil {
			return 0, err
		}
		n := int64(0)
		for _, i := range need {
			if got.has(i.Path) {
				valid.add(i.Path)
				n += i.NarSize
			}
		}
		return n, nil
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	t0 := time.Now()
	for {
		select {
		case err := <-done:
			n, lerr := look()
			if lerr != nil {
				return lerr
			}
			if n < total && ctx.Err() == nil {
				why := "it sent less than it should"
				if err != nil {
					why = text.OneLine(err.Error())
				}
				t.scope.Warn(fmt.Sprintf("%s cannot send to this host by itself (%s): sending through this machine", t.p.src.Name, why))
			}
			return nil
		case <-tick.C:
			n, err := look()
			if err != nil {
				return err
			}
			t.scope.Emit(event.Event{Kind: event.Progress, Done: n, Total: total, Unit: event.Bytes,
				Rate: float64(n) / time.Since(t0).Seconds(), Text: "directly from " + t.p.src.Name})
		}
	}
}
