package deploy

import (
	"cmp"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// Rolling is how a deploy is rolled out, as far as it was said; nil: as the fleet's own
// settings say, or else as it is by default.
type Rolling struct {
	Batch, MaxFailures, OnFailure, Unreachable *string
	Together                                   *bool
}

// Settle gives what was said, the fleet's settings and the defaults their meaning. There
// is no schedule where nothing asks for one.
func (r Rolling) Settle(s fleet.Settings) (*Schedule, Unreachable, error) {
	said := func(word *string, setting, otherwise string) string {
		if word != nil {
			return *word
		}
		return cmp.Or(setting, otherwise)
	}
	batch, budget, policy := said(r.Batch, s.Batch, ""), said(r.MaxFailures, s.MaxFailures, "0"), said(r.OnFailure, s.OnFailure, "")
	together := s.Together
	if r.Together != nil {
		together = *r.Together
	}
	schedule, err := scheduled(batch, budget, policy, together)
	if err != nil {
		return nil, "", err
	}
	unreachable, err := ParseUnreachable(said(r.Unreachable, s.Unreachable, "fail"))
	return schedule, unreachable, err
}

func scheduled(batch, budget, policy string, together bool) (*Schedule, error) {
	batches, err := fleet.ParseBatches(batch)
	if err != nil {
		return nil, fault.New("--batch: %w", err).Hint("for instance --batch 1,10%%,rest: one host, then a tenth of all, then the others")
	}
	allowed, err := fleet.ParseBudget(budget)
	if err != nil {
		return nil, fault.New("--max-failures: %w", err)
	}
	asked := batch != "" || policy != "" || together || budget != "0"
	if policy == "" {
		policy = string(Continue)
		if asked {
			policy = string(Stop)
		}
	}
	s := &Schedule{Batches: batches, Budget: allowed, Together: together}
	if s.OnFailure, err = ParseOnFailure(policy); err != nil || !asked {
		return nil, err
	}
	return s, nil
}
