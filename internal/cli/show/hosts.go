package show

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/activate"
	"godwit/internal/fleet"
	"godwit/internal/ui"
)

// Host is a host as scripts see it.
type Host struct {
	Name       string   `json:"name"`
	TargetHost string   `json:"targetHost"`
	TargetPort int      `json:"targetPort,omitempty"`
	TargetUser string   `json:"targetUser,omitempty"`
	TargetAlso []string `json:"targetAlso,omitempty"` // further addresses
	System     string   `json:"system"`
	SystemFrom string   `json:"systemFrom"`
	Release    string   `json:"release,omitempty"`
	Tags       []string `json:"tags"`
	BuildOnly  bool     `json:"buildOnly"`
	BuildOn    string   `json:"buildOn,omitempty"`
	Secrets    int      `json:"secrets"`
	Checks     int      `json:"healthChecks"`
	// Profiles are those of a host that has others than its system.
	Profiles []Profile `json:"profiles,omitempty"`
}

// Profile is a profile as scripts see it.
type Profile struct {
	Name string     `json:"name"`
	Kind fleet.Kind `json:"kind"`
	User string     `json:"user,omitempty"`
}

func profilesJSON(h fleet.Host) []Profile {
	if activate.Plain(h) {
		return nil
	}
	var out []Profile
	for _, p := range h.Profiles {
		out = append(out, Profile{p.Name, p.Kind, p.User})
	}
	return out
}

// HostsJSON is what a configuration says of hosts, for scripts.
func HostsJSON(hosts []fleet.Host) []Host {
	list := make([]Host, len(hosts))
	for i, h := range hosts {
		list[i] = Host{h.Name, h.At.Host, h.At.Port, h.At.User, h.At.Also, h.Platform.Name, h.Platform.From, h.Main().Version,
			append([]string{}, h.Tags...), h.BuildOnly, h.BuildOn, len(h.Secrets), h.HealthChecks.Len(), profilesJSON(h)}
	}
	return list
}

// Hosts is a table of what a configuration says of hosts.
func Hosts(hosts []fleet.Host) string {
	rows := make([][]string, len(hosts))
	for i, h := range hosts {
		target := h.At.Host
		if h.At.Port != 0 {
			target = net.JoinHostPort(target, strconv.Itoa(h.At.Port))
		}
		switch {
		case h.At.Host == "":
			target = "-"
		case h.At.User != "":
			target = h.At.User + "@" + target
		}
		target = strings.Join(append([]string{target}, h.At.Also...), ",")
		rows[i] = []string{h.Name, target, h.Platform.Name, strings.Join(h.Tags, ","),
			fmt.Sprint(len(h.Secrets)), fmt.Sprint(h.HealthChecks.Len())}
	}
	head := []string{"HOST", "TARGET", "SYSTEM", "TAGS", "SECRETS", "CHECKS"}
	if slices.ContainsFunc(hosts, func(h fleet.Host) bool { return !activate.Plain(h) }) {
		head = append(head, "PROFILES")
		for i, h := range hosts {
			var names []string
			for _, p := range h.Profiles {
				names = append(names, p.Name)
			}
			rows[i] = append(rows[i], strings.Join(names, ","))
		}
	}
	return ui.Table(0, head, rows)
}
