package plan

import (
	"encoding/json"
	"time"

	"godwit/internal/fleet"
)

// Plans of versions 1 and 2 hold what the configuration says of a host under the
// names that the fields of fleet.Host had in Go then, and their hash is over the
// same text. The types below are what fleet had; they never change again.

type oldHost struct {
	Name                    string
	TargetHost              string
	TargetUser              string
	TargetPort              int
	BuildOnly               bool
	SubstituteOnDestination bool
	Tags                    []string
	Secrets                 []oldSecret
	HealthChecks            oldChecks
	PreDeployChecks         oldChecks
	System                  string
	SystemFrom              string
	BuildOn                 string
	DrvPath                 string
	OutPath                 string
	Release                 string
}

type oldSecret struct {
	Name        string
	Source      string
	SourceGiven string
	Destination string
	User, Group string
	Permissions string
	Action      []string
	MkDirs      bool
	UploadAt    string
}

type oldChecks struct {
	Cmd         []oldCmdCheck
	HTTP        []oldHTTPCheck
	TCP         []oldTCPCheck
	Unit        []oldUnitCheck
	FailedUnits []oldFailedUnitsCheck
	Local       []oldLocalCheck
	Accepted    fleet.UnitPatterns `json:"-"`
}

type oldCmdCheck struct {
	Description string
	Cmd         []string
	Period      time.Duration
	Timeout     time.Duration
}

type oldHTTPCheck struct {
	Description string
	Scheme      string
	Host        string
	Port        int
	Path        string
	Headers     map[string]string
	InsecureSSL bool
	Period      time.Duration
	Timeout     time.Duration
}

type oldTCPCheck struct {
	Description string
	Host        string
	Port        int
	Period      time.Duration
	Timeout     time.Duration
}

type oldUnitCheck struct {
	Description string
	Unit        string
	Period      time.Duration
	Timeout     time.Duration
}

type oldFailedUnitsCheck struct {
	Description string
	Ignore      []string
	Period      time.Duration
	Timeout     time.Duration
}

type oldLocalCheck struct {
	Description string
	Cmd         []string
	Dir         string
	Period      time.Duration
	Timeout     time.Duration
}

// readFirst is readOlder for plans of version 1. Their hash is over the systems, the
// addresses and the state of the hosts. Of the rest, what cannot do harm is taken as
// it is: the login (the host itself is known by its key and by what it runs), the
// builder, and the derivation, which must make the system (the caller sees to that).
// doubt names what cannot be taken so; "" when the plan can be applied.
func (p *Plan) readFirst(file []byte) (sum, doubt string, err error) {
	if _, err := p.readOlder(file); err != nil {
		return "", "", err
	}
	type host struct {
		Name, System, Running, Booted, Profile string
		Target                                 string
		Status                                 Status
		Risks                                  []string
	}
	v := struct {
		Version int
		Options Options
		Source  Source
		Hosts   []host
	}{1, p.Options, p.Source, nil}
	if len(p.NixConfig) > 0 {
		doubt = "its Nix settings were"
	}
	for _, h := range p.Hosts {
		x := host{Name: h.Name, System: h.System, Running: h.Running, Booted: h.Booted, Profile: h.Profile, Status: h.Status}
		if c := h.Config; c != nil {
			x.Target = c.At.Host
			switch {
			case doubt != "":
			case c.HealthChecks.Len()+c.PreDeployChecks.Len() > 0:
				doubt = "the checks of " + h.Name + " were"
			case len(c.Secrets) > 0:
				doubt = "the secrets of " + h.Name + " were"
			}
		}
		for _, r := range h.Risks {
			x.Risks = append(x.Risks, r.Name)
		}
		v.Hosts = append(v.Hosts, x)
	}
	b, _ := json.Marshal(v)
	return digest(b), doubt, nil
}

// readOlder puts what a plan of version 2 says of its hosts into a plan that was read
// from the same text. It gives the hash that the plan must have.
func (p *Plan) readOlder(file []byte) (sum string, err error) {
	var old struct {
		Hosts []struct{ Config *oldHost }
	}
	if err := json.Unmarshal(file, &old); err != nil {
		return "", err
	}
	configs := make([]any, len(p.Hosts))
	for i, h := range old.Hosts {
		p.Hosts[i].Config = nil
		if h.Config != nil {
			configs[i] = h.Config
			p.Hosts[i].Config = h.Config.host()
		}
	}
	return p.sum(2, configs), nil
}

func (o *oldHost) host() *fleet.Host {
	system := fleet.System(o.DrvPath, o.OutPath)
	system.Version = o.Release
	h := &fleet.Host{
		Name: o.Name, At: fleet.Address{Host: o.TargetHost, User: o.TargetUser, Port: o.TargetPort},
		Platform: fleet.Platform{Name: o.System, From: o.SystemFrom}, Tags: o.Tags,
		BuildOnly: o.BuildOnly, BuildOn: o.BuildOn, SubstituteOnDestination: o.SubstituteOnDestination,
		Profiles:     []fleet.Profile{system},
		HealthChecks: o.HealthChecks.checks(), PreDeployChecks: o.PreDeployChecks.checks(),
	}
	for _, s := range o.Secrets {
		h.Secrets = append(h.Secrets, fleet.Secret{
			Name: s.Name, From: fleet.Content{File: s.Source}, FileGiven: s.SourceGiven, Destination: s.Destination,
			User: s.User, Group: s.Group, Permissions: s.Permissions, Action: s.Action, MkDirs: s.MkDirs, UploadAt: s.UploadAt,
		})
	}
	return h
}

func (o oldChecks) checks() fleet.Checks {
	var out fleet.Checks
	for _, c := range o.Cmd {
		out.Cmd = append(out.Cmd, fleet.CmdCheck(c))
	}
	for _, c := range o.HTTP {
		out.HTTP = append(out.HTTP, fleet.HTTPCheck(c))
	}
	for _, c := range o.TCP {
		out.TCP = append(out.TCP, fleet.TCPCheck(c))
	}
	for _, c := range o.Unit {
		out.Unit = append(out.Unit, fleet.UnitCheck(c))
	}
	for _, c := range o.FailedUnits {
		out.FailedUnits = append(out.FailedUnits, fleet.FailedUnitsCheck(c))
	}
	for _, c := range o.Local {
		out.Local = append(out.Local, fleet.LocalCheck(c))
	}
	return out
}
