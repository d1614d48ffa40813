package vaultverbs

import (
	"cmp"
	"fmt"
	"strings"

	"godwit/internal/fleet"
)

// SecretsText is morph's plain `list-secrets': hosts in their order, secrets by
// name (morph's own order is random).
func SecretsText(hosts []fleet.Host) string {
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&b, "Secrets for host %s:\n", h.Name)
		for _, s := range h.Secrets {
			fmt.Fprintf(&b, "%s:\n- `%s` -> `%s`, with:\n", s.Name, cmp.Or(s.FileGiven, s.From.String()), s.Destination)
			fmt.Fprintf(&b, "\tPermissions: %s:%s, %s\n", s.User, s.Group, s.Permissions)
			fmt.Fprintf(&b, "\tCreate remote directories: %t\n", s.MkDirs)
			fmt.Fprintf(&b, "\tUpload at: %s\n", s.UploadAt)
			if len(s.Action) > 0 {
				fmt.Fprintf(&b, "\tAction: `%s`\n", strings.Join(s.Action, " "))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Listed is a secret as `list-secrets --json' has it: all of morph's names.
type Listed struct {
	Source, Destination string
	Owner               ListedOwner
	Permissions         string
	Action              []string
	MkDirs              bool
	UploadAt            string
}

// ListedOwner is whose file a secret becomes.
type ListedOwner struct{ Group, User string }

// SecretsJSON is the value of morph's `list-secrets --json': keys as Go names them and
// sorted, sources absolute.
func SecretsJSON(hosts []fleet.Host) map[string]map[string]Listed {
	all := map[string]map[string]Listed{}
	for _, h := range hosts {
		all[h.Name] = map[string]Listed{}
		for _, s := range h.Secrets {
			all[h.Name][s.Name] = Listed{
				Source: cmp.Or(s.From.File, s.From.String()), Destination: s.Destination, Owner: ListedOwner{s.Group, s.User},
				Permissions: s.Permissions, Action: append([]string{}, s.Action...), MkDirs: s.MkDirs, UploadAt: s.UploadAt,
			}
		}
	}
	return all
}
