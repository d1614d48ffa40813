package action

import (
	"context"
	"strings"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

func TestAskKeepIsRefused(t *testing.T) {
	for want, d := range map[string]deploy.Options{
		"with --no-guard nothing is taken back":              {Action: activate.Switch, NoGuard: true},
		"boot runs nothing that could be kept":               {Action: activate.Boot},
		"dry-activate runs nothing that could be kept":       {Action: activate.DryActivate, Reboot: true},
		"there is no terminal to ask on; no host was change": {Action: activate.Switch},
	} {
		e, _ := tested(t)
		s := e.open()
		defer s.close()
		if err := s.askKeep(&d); err == nil || !strings.Contains(fault.Render(err), want) || d.Keep != nil {
			t.Errorf("%v, want %s", err, want)
		}
	}
	d := deployment{Options: deploy.Options{Keep: func(context.Context, string, time.Time) error { return nil }}}
	if err := keepable([]fleet.Host{{Name: "a"}, {Name: "b", Guard: fleet.Guard{NoAutoRollback: true}}}, d); err == nil || !strings.Contains(err.Error(), "b: --ask-keep: its configuration says that nothing is taken back") {
		t.Error(err)
	}
}
