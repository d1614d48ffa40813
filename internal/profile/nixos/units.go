package nixos

import (
	"regexp"
	"slices"
	"strings"

	"godwit/internal/profile"
)

var wouldLine = regexp.MustCompile(`^would (NOT )?(stop|start|restart|reload) the following (?:changed )?(?:user )?units: (.+)$`)

// parseDryActivate reads what a system's own `switch-to-configuration
// dry-activate` prints (both the Perl and the Rust one say it alike). A unit
// that is stopped and started again is restarted.
func parseDryActivate(lines []string) *profile.Units {
	u := new(profile.Units)
	add := func(to *[]string, list string) {
		for _, name := range strings.Split(list, ",") {
			if name = strings.TrimSpace(name); name != "" && !slices.Contains(*to, name) {
				*to = append(*to, name)
			}
		}
	}
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "would restart systemd" {
			u.Systemd = true
			continue
		}
		m := wouldLine.FindStringSubmatch(l)
		switch {
		case m == nil:
		case m[1] != "":
			add(&u.Kept, m[3])
		case m[2] == "stop":
			add(&u.Stop, m[3])
		case m[2] == "start":
			add(&u.Start, m[3])
		case m[2] == "restart":
			add(&u.Restart, m[3])
		case m[2] == "reload":
			add(&u.Reload, m[3])
		}
	}
	var stop []string
	for _, name := range u.Stop {
		if i := slices.Index(u.Start, name); i >= 0 {
			u.Start = slices.Delete(u.Start, i, i+1)
			if !slices.Contains(u.Restart, name) {
				u.Restart = append(u.Restart, name)
			}
			continue
		}
		stop = append(stop, name)
	}
	u.Stop = stop
	sortUnits(u)
	return u
}

func sortUnits(u *profile.Units) {
	for _, l := range []*[]string{&u.Stop, &u.Start, &u.Restart, &u.Reload, &u.Kept} {
		slices.Sort(*l)
		if len(*l) == 0 {
			*l = nil
		}
	}
}

// compareUnits estimates from the unit files of two systems, by name, what
// would be touched. Only what names a daemon is looked at.
func compareUnits(old, next map[string]string) *profile.Units {
	u := &profile.Units{Estimated: true}
	for name, file := range next {
		was, ok := old[name]
		switch {
		case !daemon(name):
		case !ok:
			u.Start = append(u.Start, name)
		case was != file:
			u.Restart = append(u.Restart, name)
		}
	}
	for name := range old {
		if _, ok := next[name]; !ok && daemon(name) {
			u.Stop = append(u.Stop, name)
		}
	}
	sortUnits(u)
	return u
}

func daemon(name string) bool {
	for _, kind := range []string{".service", ".socket", ".timer", ".mount", ".path", ".automount", ".swap"} {
		if strings.HasSuffix(name, kind) {
			return !strings.HasSuffix(strings.TrimSuffix(name, kind), "@")
		}
	}
	return false
}

// access are the units that a login over the network needs.
var access = regexp.MustCompile(`^(sshd?(@.*)?\.(service|socket)|sshd-keygen\.service|firewall\.service|nftables\.service|` +
	`systemd-networkd\.service|NetworkManager\.service|network-setup\.service|network-addresses-.*\.service|` +
	`dhcpcd\.service|wpa_supplicant.*\.service|iwd\.service|wg-quick-.*\.service|wireguard-.*\.service|tailscaled\.service)$`)

// accessUnits are those of a list that a login over the network needs.
func accessUnits(list []string) []string {
	var out []string
	for _, n := range list {
		if access.MatchString(n) {
			out = append(out, n)
		}
	}
	return out
}
