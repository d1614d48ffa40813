package action

import (
	"context"
	"sync"

	"godwit/internal/deploy"
	"godwit/internal/doctor"
	"godwit/internal/event"
	"godwit/internal/fleet"
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
		found(h.Name, doctor.Ask(ctx, s.conns.Conn(h), h)...)
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
