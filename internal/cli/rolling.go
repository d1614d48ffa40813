package cli

import (
	"slices"

	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// scheduleFlags are the flags of rolling deploys.
type scheduleFlags struct {
	batch, budget, onFailure, unreachable string
	together                              bool
	given                                 func(flag string) bool // on the command line
}

// with takes from the fleet what the command line does not say.
func (f scheduleFlags) with(s fleet.Settings) scheduleFlags {
	for _, x := range []struct {
		flag, value string
		to          *string
	}{
		{"batch", s.Batch, &f.batch}, {"max-failures", s.MaxFailures, &f.budget},
		{"on-failure", s.OnFailure, &f.onFailure}, {"unreachable", s.Unreachable, &f.unreachable},
	} {
		if x.value != "" && !f.given(x.flag) {
			*x.to = x.value
		}
	}
	if !f.given("together") {
		f.together = f.together || s.Together
	}
	return f
}

// roll settles how a deploy is rolled out: the command line, then the fleet's
// own settings. Risks that the fleet accepts are added to the accepted ones.
func (s *session) roll(d *deploy.Options) error {
	if s.rolling.given == nil { // not a deploy
		return nil
	}
	settings := s.source.About().Settings
	rolling := s.rolling.with(settings)
	var err error
	if d.Schedule, err = rolling.schedule(); err != nil {
		return err
	}
	if d.Unreachable, err = deploy.ParseUnreachable(rolling.unreachable); err != nil {
		return err
	}
	s.approval.accept = slices.Concat(settings.AcceptRisks, s.approval.accept)
	return nil
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
