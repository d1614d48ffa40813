package action

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/doctor"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/reboot"
)

// DoctorRequest asks for what would stop or hinder a deploy.
type DoctorRequest struct {
	HostsRequest
	// Hosts asks hosts, too: those of the request. Without it no configuration is read.
	Hosts bool
}

// Doctor looks at this machine, and at hosts. It changes nothing.
func Doctor(ctx context.Context, e *Env, r DoctorRequest) (*doctor.Checkup, error) {
	s := e.open()
	defer s.close()
	out := &doctor.Checkup{}
	out.Add(doctor.Here(ctx, e.Getenv, s.Engine)...)
	if !r.Hosts || ctx.Err() != nil {
		return out, ctx.Err()
	}
	if err := s.openPool(); err != nil {
		return nil, err
	}
	if err := s.load(ctx, loadRequest{where: r.Where, selection: r.Where.selection(r.Selection), call: true}); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	by := map[string][]doctor.Finding{}
	found := func(name string, list ...doctor.Finding) {
		mu.Lock()
		defer mu.Unlock()
		by[name] = append(by[name], list...)
	}
	for _, b := range s.broken {
		found(b.Host, doctor.NoAnswer(b.Host, b.Err))
	}
	reach := func(ctx context.Context, h fleet.Host) error {
		if h.BuildOnly {
			return nil
		}
		err := s.conns.Conn(h).Connect(ctx)
		if err != nil {
			found(h.Name, doctor.NoAnswer(h.Name, err))
		}
		return err
	}
	deploy.Reached(ctx, s.hosts, s.Limits.Look, event.Discard, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{}
		}
		conn := s.conns.Conn(h)
		asked := time.Now()
		var facts hoststate.Facts
		var err error
		nixos := len(h.Profiles) == 0 || h.Main().Kind == fleet.NixOS
		if nixos {
			facts, err = hoststate.Look(ctx, conn, h.Name)
		} else {
			if facts, err = hoststate.LookProfiles(ctx, conn, h.Name, activate.Known(h)); err == nil {
				facts.Clock = clock(ctx, conn)
			}
		}
		if err != nil {
			found(h.Name, doctor.NoAnswer(h.Name, err))
			return deploy.Outcome{}
		}
		asked = asked.Add(time.Since(asked) / 2)
		var loader *reboot.Loader
		if nixos {
			var probed reboot.Loader
			probed, err = reboot.Probe(ctx, conn, h.Name)
			loader = &probed
		}
		found(h.Name, doctor.Host(h, facts, asked, loader, err)...)
		return deploy.Outcome{}
	})
	for _, b := range s.broken {
		out.Add(by[b.Host]...)
	}
	for _, h := range s.hosts {
		out.Add(by[h.Name]...)
	}
	return out, ctx.Err()
}

// clock is that of a host; the zero time where it does not say.
func clock(ctx context.Context, conn host.Conn) time.Time {
	out, err := conn.Output(ctx, host.Cmd{Script: "date +%s", Name: "the clock"})
	n, perr := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil || perr != nil {
		return time.Time{}
	}
	return time.Unix(n, 0)
}
