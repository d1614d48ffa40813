package cli

import (
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// scheduleFlags are the flags of rolling deploys.
type scheduleFlags struct {
	batch, budget, onFailure, unreachable string
	together                              bool
}

// schedule is what the flags ask for; nil when they ask for nothing.
func (f scheduleFlags) schedule() (*deploy.Schedule, error) {
	batches, err := fleet.ParseBatches(f.batch)
	if err != nil {
		return nil, fault.New("--batch: %w", err).Hint("for instance --batch 1,10%%,rest: one host, then a tenth of all, then the others")
	}
	budget, err := fleet.ParseBudget(f.budget)
	if err != nil {
		return nil, fault.New("--max-failures: %w", err)
	}
	policy := f.onFailure
	if policy == "" {
		policy = string(deploy.Continue)
		if f.batch != "" || f.together || f.budget != "0" {
			policy = string(deploy.Stop)
		}
	}
	s := &deploy.Schedule{Batches: batches, Budget: budget, Together: f.together}
	if s.OnFailure, err = deploy.ParseOnFailure(policy); err != nil {
		return nil, err
	}
	if f.batch == "" && f.onFailure == "" && !f.together && f.budget == "0" {
		return nil, nil
	}
	return s, nil
}
