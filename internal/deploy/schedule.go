package deploy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// OnFailure is what a run does when more hosts failed than it allows.
type OnFailure string

// Policies.
const (
	Continue OnFailure = "continue" // the other hosts go on
	Stop     OnFailure = "stop"     // no further host is changed
	Rollback OnFailure = "rollback" // no further host is changed, and those that this run changed go back
)

// ParseOnFailure reads a policy.
func ParseOnFailure(s string) (OnFailure, error) {
	switch p := OnFailure(s); p {
	case Continue, Stop, Rollback:
		return p, nil
	}
	return "", fault.New("--on-failure %s: there is stop, rollback and continue", s)
}

// Schedule deals the hosts of a run into batches. A batch begins when every host
// of the one before has ended and no more failed than the budget allows. Hosts
// are built and copied to ahead of their turn; only changing them waits.
type Schedule struct {
	Batches   fleet.BatchSpec
	Budget    fleet.Budget
	OnFailure OnFailure
	// Together confirms the hosts of a batch only when all of them are healthy;
	// one that is not takes the others back.
	Together bool

	mu      sync.Mutex
	batch   map[string]int // host -> its batch
	open    []int          // hosts of each batch that have not ended
	members [][]string
	turn    int // the batch that may be changed
	failed  []string
	allowed int
	stopped bool
	changed chan struct{}     // closed and made anew whenever something above changes
	healthy []map[string]bool // hosts of each batch that passed their checks, or ended well
	broken  []string          // of each batch: the first host that failed, "" for none
	sink    event.Sink
}

// begin deals hosts out, in their order.
func (s *Schedule) begin(hosts []fleet.Host, sink event.Sink) {
	s.batch = map[string]int{}
	s.sink = sink
	s.changed = make(chan struct{})
	s.allowed = s.Budget.Allows(len(hosts))
	at := 0
	for b, size := range s.Batches.Sizes(len(hosts)) {
		var names []string
		for _, h := range hosts[at : at+size] {
			s.batch[h.Name] = b
			names = append(names, h.Name)
		}
		at += size
		s.open = append(s.open, size)
		s.members = append(s.members, names)
	}
	for range s.open {
		s.healthy = append(s.healthy, map[string]bool{})
	}
	s.broken = make([]string, len(s.open))
	if len(s.open) > 1 {
		words := make([]string, len(s.open))
		for i, n := range s.open {
			words[i] = fmt.Sprint(n)
		}
		event.On(sink, "", event.StepActivate).Note(fmt.Sprintf("%d batches: %s hosts", len(words), strings.Join(words, ", ")))
	}
}

func (s *Schedule) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// errNotStarted is the reason of a host that a stopped run left alone.
type errNotStarted struct{ reason *fault.Error }

func (e errNotStarted) Error() string { return e.reason.Error() }
func (e errNotStarted) Unwrap() error { return e.reason }

// enter waits for the turn of a host's batch.
func (s *Schedule) enter(ctx context.Context, host string) error {
	said := false
	for {
		s.mu.Lock()
		b, stopped, turn, ch := s.batch[host], s.stopped, s.turn, s.changed
		waits := strings.Join(s.members[min(turn, len(s.members)-1)], ", ")
		failed := strings.Join(s.failed, ", ")
		s.mu.Unlock()
		switch {
		case stopped:
			return errNotStarted{fault.New("not started: %s failed", failed).On(host)}
		case b <= turn:
			return nil
		}
		if !said {
			said = true
			event.On(s.sink, host, event.StepActivate).Emit(event.Event{Kind: event.Waiting,
				Text: fmt.Sprintf("batch %d waits for %s to be healthy", b+1, waits)})
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settled takes the end of a host into account.
func (s *Schedule) settled(o Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.batch[o.Host]
	if !ok {
		return
	}
	s.open[b]--
	if o.Bad() {
		s.failed = append(s.failed, o.Host)
		if s.broken[b] == "" {
			s.broken[b] = o.Host
		}
		if s.OnFailure != Continue && len(s.failed) > s.allowed {
			s.stopped = true
		}
	} else {
		s.healthy[b][o.Host] = true
	}
	for s.turn < len(s.open) && s.open[s.turn] == 0 && !s.stopped {
		s.turn++
		if s.turn < len(s.open) && len(s.open) > 1 {
			event.On(s.sink, "", event.StepActivate).Note(fmt.Sprintf("batch %d: %s", s.turn+1, strings.Join(s.members[s.turn], ", ")))
		}
	}
	s.signal()
}

// together waits until every host of the batch is healthy. A host that ended
// well already (it ran the system before) counts as one.
func (s *Schedule) together(ctx context.Context, host string) error {
	if !s.Together {
		return nil
	}
	s.mu.Lock()
	b := s.batch[host]
	s.healthy[b][host] = true
	s.signal()
	for {
		size, good, broken, ch := len(s.members[b]), len(s.healthy[b]), s.broken[b], s.changed
		s.mu.Unlock()
		switch {
		case broken != "":
			return fault.New("%s failed, and these hosts are changed together or not at all", broken).On(host)
		case good == size:
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return fault.New("the other hosts of its batch were not healthy in time").On(host).Because(context.Cause(ctx)).
				Hint("--confirm-timeout gives them longer")
		}
		s.mu.Lock()
	}
}
