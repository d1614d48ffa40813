package action

import (
	"context"
	"errors"
	"strings"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// ExecRequest asks for a command to be run on hosts.
type ExecRequest struct {
	HostsRequest
	// Line is for the login shell; a first word sudo becomes root as Elevate says.
	Line string
	// Timeout is what it may take on each host; 0: no limit.
	Timeout time.Duration
}

// Exec runs a command on hosts, all at once.
func Exec(ctx context.Context, e *Env, r ExecRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	return s.onHosts(ctx, r.HostsRequest, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		return s.wet(event.On(s.View, h.Name, event.StepExec), "run "+r.Line, func() deploy.Outcome {
			if r.Timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, r.Timeout)
				defer cancel()
			}
			return s.execOn(ctx, h, conn, r.Line)
		})
	}})
}

// execLine is the longest line of a command that is passed on whole, in bytes.
const execLine = 64 << 10

func (s *session) execOn(ctx context.Context, h fleet.Host, conn host.Conn, line string) deploy.Outcome {
	sc := event.On(s.View, h.Name, event.StepExec)
	sc.Start(line)
	out := bounded.NewLineWriter(execLine, sc.Log)
	errs := bounded.NewLineWriter(execLine, func(l string) {
		sc.Emit(event.Event{Kind: event.Log, Text: l, Data: map[string]string{"stream": "stderr"}})
	})
	cmd := host.Cmd{Shell: line, Stdout: out, Stderr: errs, KillOnCancel: true, Limit: host.NoLimit}
	if rest, ok := strings.CutPrefix(line, "sudo "); ok {
		cmd.Shell, cmd.Elevate = rest, true
	}
	err := conn.Run(ctx, cmd)
	out.Flush()
	errs.Flush()
	if errors.Is(err, context.DeadlineExceeded) {
		err = fault.New("%s timed out", line).On(h.Name).Hint("--timeout SECONDS gives it longer").Because(err)
	}
	sc.End("exit 0", err)
	return deploy.Outcome{State: deploy.Ran, Err: err, Detail: okDetail(err, "exit 0")}
}

func okDetail(err error, text string) string {
	if err != nil {
		return ""
	}
	return text
}
