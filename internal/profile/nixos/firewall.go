package nixos

import (
	"regexp"
	"slices"
	"strings"
)

func firewallPrint(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n")
}

// opensOnly tells whether every rule is still there, for the rules that NixOS
// writes: one port a line (iptables) or a set of them in braces (nftables).
func opensOnly(old, next []string) bool {
	if len(old) == 0 || len(next) == 0 {
		return false
	}
	have := map[string]bool{}
	for _, r := range rules(next) {
		have[r] = true
	}
	for _, r := range rules(old) {
		if !have[r] {
			return false
		}
		delete(have, r)
	}
	for r := range have {
		if !strings.Contains(r, "accept") && !strings.Contains(r, "allow") && strings.TrimSpace(r) != "" {
			return false
		}
	}
	return true
}

var setOf = regexp.MustCompile(`^(.*)\{([^{}]*)\}(.*)$`)

// rules are the lines of a firewall's configuration, sets taken apart.
func rules(lines []string) []string {
	var out []string
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "X-Re") || strings.HasPrefix(l, "#") || strings.HasPrefix(l, "Environment=") { // triggers are only hashes
			continue
		}
		m := setOf.FindStringSubmatch(l)
		if m == nil {
			if !slices.Contains(out, l) {
				out = append(out, l)
			}
			continue
		}
		for _, item := range strings.Split(m[2], ",") {
			out = append(out, m[1]+strings.TrimSpace(item)+m[3])
		}
	}
	return out
}
