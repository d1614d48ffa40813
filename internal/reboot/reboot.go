// Package reboot restarts a host and waits until it is up again.
//
// That a host came back is proved by a new boot id, read over a connection made
// for the purpose: an answer alone may still come from the system that is going
// down.
package reboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// DefaultTimeout bounds the wait when Options do not.
const DefaultTimeout = 10 * time.Minute

// Options say how long to wait.
type Options struct {
	// Timeout bounds the wait for the host; 0 means DefaultTimeout.
	Timeout time.Duration
	// Poll is the pause between two looks; 0 means 2s.
	Poll time.Duration
	// TryTimeout bounds one look; 0 means 20s.
	TryTimeout time.Duration
}

// Result is what happened.
type Result struct {
	Before, After string // boot ids
	Took          time.Duration
}

// BootID is the id of the host's present boot.
func BootID(ctx context.Context, r host.Conn) (string, error) { return bootID(ctx, r, false) }

func bootID(ctx context.Context, r host.Conn, fresh bool) (string, error) {
	var b strings.Builder
	err := r.Run(ctx, host.Cmd{Argv: []string{"cat", "/proc/sys/kernel/random/boot_id"}, Fresh: fresh, Stdout: &b})
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(b.String())
	if id == "" {
		return "", errors.New("the host has no boot id")
	}
	return id, nil
}

// script asks for the reboot. systemctl is asked first: it knows inhibitors and
// says what is wrong.
const script = `PATH=$PATH:/run/current-system/sw/bin:/usr/sbin:/sbin:/usr/bin:/bin
if [ -d /run/systemd/system ]; then exec systemctl reboot; else exec reboot; fi
`

// Run asks the host to reboot and waits until it runs another boot. Progress
// goes to scope as notes; the step's start and end are the caller's to emit.
func Run(ctx context.Context, r host.Conn, name string, opts Options, scope event.Scope) (Result, error) {
	timeout, poll, try := opts.Timeout, opts.Poll, opts.TryTimeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if poll <= 0 {
		poll = 2 * time.Second
	}
	if try <= 0 {
		try = 20 * time.Second
	}
	var res Result
	start := time.Now()
	before, err := BootID(ctx, r)
	if err != nil {
		return res, fault.New("not rebooted: cannot read its boot id, so its return could not be told: %w", plain(err, name)).On(name).Because(err)
	}
	res.Before = before

	scope.Note("Asking host to reboot")
	var stderr strings.Builder
	err = r.Run(ctx, host.Cmd{Script: script, Elevate: true, Stderr: &stderr, Stdout: io.Discard, Name: "the reboot"})
	var exit *host.ExitError
	var dropped *host.DroppedError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return res, fmt.Errorf("%s: interrupted while asking for the reboot: it may or may not reboot: %w", name, context.Cause(ctx))
	case errors.As(err, &dropped):
		scope.Note("Remote host disconnected.")
	case errors.As(err, &exit):
		f := fault.New("the host refused to reboot (status %d)", exit.Code).On(name).Because(err)
		for line := range strings.Lines(stderr.String()) {
			f.Detail(strings.TrimSpace(line))
		}
		return res, f.Detail("it still runs its old boot")
	default:
		return res, fault.New("not rebooted: %w", plain(err, name)).On(name).Because(err)
	}

	scope.Note("Waiting for host to come online")
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	down := false // seen without an answer
	var last error
	for {
		tctx, done := context.WithTimeout(limit, try)
		after, err := bootID(tctx, r, true)
		done()
		switch {
		case err == nil && after != before:
			res.After, res.Took = after, time.Since(start)
			r.Disconnect() // what it had belongs to the old boot
			return res, nil
		case err == nil:
			last = nil
		default:
			if !down && limit.Err() == nil {
				down = true
				scope.Log("the host does not answer any more")
			}
			last = err
			if host.WrongKey(err) {
				return res, fault.New("rebooted, but something other than before answers: %w", plain(err, name)).On(name).Because(err)
			}
		}
		select {
		case <-time.After(poll):
			continue
		case <-limit.Done():
		}
		break
	}
	res.Took = time.Since(start)
	if ctx.Err() != nil {
		return res, fmt.Errorf("%s: interrupted while waiting for it to come back: %w", name, context.Cause(ctx))
	}
	wait := timeout.Round(time.Second)
	switch {
	case !down:
		return res, fault.New("was asked to reboot, but %s later it still runs the same boot", wait).On(name).
			Hint("look for what delays it: systemd-inhibit --list; systemctl list-jobs")
	case last == nil:
		return res, fault.New("did not reboot: it was away for a while, and %s later it runs the same boot", wait).On(name).
			Hint("systemctl list-jobs on the host")
	}
	return res, fault.New("went down to reboot and did not come back within %s", wait).On(name).Because(last).
		Detail("the last try said: " + plain(last, name).Error()).
		Hint("look at its console; wait longer with --reboot-timeout SECONDS")
}

// plain drops the host's name from the beginning of an error, for messages
// that name it already.
func plain(err error, host string) error {
	if s, ok := strings.CutPrefix(err.Error(), host+": "); ok {
		return errors.New(s)
	}
	return err
}
