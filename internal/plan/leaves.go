package plan

import (
	"fmt"

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
