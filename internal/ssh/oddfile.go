package ssh

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/regular"
)

// oddAfter is how long a login may take before the files of ssh's configuration are
// looked at.
const oddAfter = time.Second

// oddFile says which file that ssh reads for this host is a pipe or a device: ssh
// waits for one without end, before it even connects, and does not say so.
func (h *Host) oddFile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, whereMax)
	defer cancel()
	home, _ := os.UserHomeDir()
	var odd *fault.Error
	_ = h.configuration(ctx, func(key, value string) {
		var files []string
		switch key {
		case "identityfile", "certificatefile", "revokedhostkeys":
			files = []string{value}
		case "userknownhostsfile", "globalknownhostsfile":
			files = strings.Fields(value)
		}
		for _, f := range files {
			if rest, ok := strings.CutPrefix(f, "~/"); ok {
				f = filepath.Join(home, rest)
			}
			if st, err := os.Stat(f); err != nil || st.IsDir() || f == os.DevNull || odd != nil {
				continue
			}
			if err := regular.Check(f); err != nil {
				odd = fault.New("ssh would wait for %s without end: %w", f, fault.Reason(err)).On(h.target.Name).
					Because(&host.ConnectError{Kind: host.BadConfig}).Hint("it is the %s of ssh's configuration for this host", key)
			}
		}
	})
	if odd == nil {
		return nil
	}
	return odd
}
