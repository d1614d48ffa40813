package plan

import (
	"fmt"
	"slices"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/ui/text"
)

// LeavesOut says what of the secrets of its hosts is not in a plan that is saved, in a
// line with its break; "": nothing.
func (p *Plan) LeavesOut() string {
	all, withheld := 0, 0
	for _, h := range p.Hosts {
		if h.Config == nil || h.Status != Change && h.Status != Unchanged {
			continue
		}
		all += len(h.Config.Secrets)
		for _, s := range h.Config.Secrets {
			if s.From.File == "" {
				withheld++
			}
		}
	}
	switch {
	case all == 0:
		return ""
	case !p.Options.UploadSecrets:
		return fmt.Sprintf("it uploads no secrets, of which its hosts have %d: with --upload-secrets it would\n", all)
	case withheld > 0:
		return fmt.Sprintf("it does not hold %s (texts, and what commands print): applying takes them from the configuration, as long as that is the same\n", text.Count(withheld, "secret"))
	}
	return ""
}

// Refill puts into the hosts of a saved plan the secrets that it does not hold, from the
// same hosts as the configuration has them now.
func Refill(hosts, now []fleet.Host) error {
	for i := range hosts {
		for j := range hosts[i].Secrets {
			x := &hosts[i].Secrets[j]
			if x.From.Withheld == "" {
				continue
			}
			at := slices.IndexFunc(now, func(h fleet.Host) bool { return h.Name == hosts[i].Name })
			k := -1
			if at >= 0 {
				k = slices.IndexFunc(now[at].Secrets, func(y fleet.Secret) bool { return y.Name == x.Name && y.Destination == x.Destination })
			}
			if k < 0 {
				return fault.New("the configuration has no secret '%s' for %s any more", x.Name, x.Destination).On(hosts[i].Name)
			}
			x.From = now[at].Secrets[k].From
		}
	}
	return nil
}
