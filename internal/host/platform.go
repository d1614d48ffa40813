package host

import (
	"context"
	"fmt"
	"strings"
)

// Platform is the Nix system of a live host: that of the system that it
// runs, or else of its processor.
func Platform(ctx context.Context, h Conn) (string, error) {
	out, err := h.Output(ctx, Cmd{Script: `cat /run/current-system/system 2>/dev/null || { uname -m; uname -s; }`})
	if err != nil {
		return "", err
	}
	words := strings.Fields(out)
	switch {
	case len(words) == 1 && strings.Contains(words[0], "-"):
		return words[0], nil
	case len(words) == 2:
		cpu := map[string]string{"arm64": "aarch64", "amd64": "x86_64"}[words[0]]
		if cpu == "" {
			cpu = words[0]
		}
		return cpu + "-" + strings.ToLower(words[1]), nil
	}
	return "", fmt.Errorf("the host says %q", out)
}
