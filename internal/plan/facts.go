package plan

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/storepath"
)

//go:embed facts.sh
var factsScript string

// System is what is known of one system.
type System struct {
	Path     string            `json:"path,omitempty"`
	Known    bool              `json:"known,omitempty"` // it was looked at
	Parts    map[string]string `json:"parts,omitempty"` // kernel, initrd, ...: where they are, or a sum
	Prints   map[string]string `json:"prints,omitempty"`
	Version  string            `json:"version,omitempty"`
	Hostname string            `json:"hostname,omitempty"`
	Firewall []string          `json:"firewall,omitempty"`
	Units    map[string]string `json:"units,omitempty"` // unit -> its file, when asked for

	elsewhere bool // it is not on the host; only its parts are known
}

// Facts are what was found out about one host; judging them needs no host.
type Facts struct {
	State   activate.State   `json:"state"`
	Current System           `json:"current"`
	Booted  System           `json:"booted"`
	New     System           `json:"new"`
	Last    *activate.Record `json:"last,omitempty"`
	// Dry are the lines of the new system's dry-activate; DryExit its status,
	// -1 when it was not asked.
	Dry       []string `json:"dry,omitempty"`
	DryExit   int      `json:"dryExit"`
	BootBytes int64    `json:"bootBytes,omitempty"` // of the new kernel and initrd
	// OtherHost is the host of the fleet whose system this one runs, if any.
	OtherHost string `json:"otherHost,omitempty"`
	// NoOneShot says why the host cannot boot a system once; empty when it can,
	// or was not asked.
	NoOneShot string `json:"noOneShot,omitempty"`
	// Twin says that the host has the address of another host of the run.
	Twin string `json:"twin,omitempty"`
	// Stranger says that the host may only lose a system that is known here, and has
	// another one.
	Stranger string `json:"stranger,omitempty"`
	// Present tells that the host has the new system.
	Present bool `json:"present"`
}

// Ask says what to find out about a host.
type Ask struct {
	Host   string
	System string // the new system; it may be absent on the host
	// Profiles are all of a host that has others than its system; none: System alone.
	Profiles []activate.Change
	// Other says that System is no NixOS: of it there is only what the guard knows.
	Other  bool
	Action activate.Action // that is planned
	Dry    bool            // ask the new system for dry-activate
	Units  bool            // list the running system's unit files
}

// Look reads a host. It changes nothing there.
func Look(ctx context.Context, r host.Conn, a Ask) (*Facts, error) {
	f := &Facts{DryExit: -1}
	// The pre-switch checks of the new system are left to dry-activate and to
	// the activation itself.
	preflight := func() (activate.State, error) {
		return activate.Preflight(ctx, r, activate.Request{Host: a.Host, NewSystem: a.System, Profiles: a.Profiles, Action: activate.DryActivate})
	}
	if a.Other {
		state, err := preflight()
		if err != nil {
			return nil, err
		}
		f.take(state, a)
		return f, nil
	}
	if !a.Dry { // neither depends on the other
		done := make(chan error, 1)
		go func() { defer crash.Catch(); done <- f.read(ctx, r, a, false) }()
		state, err := preflight()
		if rerr := <-done; err == nil {
			err = rerr
		}
		if err != nil {
			return nil, err
		}
		f.take(state, a)
		return f, nil
	}
	state, err := preflight()
	if err != nil {
		return nil, err
	}
	f.take(state, a)
	state = f.State
	dry := f.Present && state.Root && len(state.NoSwitch) == 0 && state.Current != a.System && state.Rebuild == "" && state.Held == "" && state.Pending == ""
	if err := f.read(ctx, r, a, dry); err != nil {
		return nil, err
	}
	return f, nil
}

// take keeps what the preflight says. About a system that the host does not
// have it says nothing.
func (f *Facts) take(state activate.State, a Ask) {
	f.Present = a.System != "" && len(state.Absent) == 0
	if !f.Present {
		state.Absent, state.Differs, state.InitChanged, state.Inhibited = nil, nil, false, false
		state.NoSwitch = slices.DeleteFunc(state.NoSwitch, func(p string) bool { return p == a.System })
	}
	for i, p := range state.Profiles {
		if p.Absent { // it is copied before it is activated
			state.Profiles[i].Absent, state.Profiles[i].Unfit = false, ""
		}
	}
	f.State = state
}

// lookLimit leaves room for the new system's own dry activation.
const lookLimit = 2 * time.Minute

func (f *Facts) read(ctx context.Context, r host.Conn, a Ask, dry bool) error {
	next := a.System
	if next != "" {
		if err := storepath.Check(next); err != nil {
			return fault.New("not a system: %w", err).On(a.Host)
		}
	}
	flag := func(b bool) string {
		if b {
			return "1"
		}
		return ""
	}
	// A script that was cut off runs nothing: one compound command.
	script := fmt.Sprintf("{\nNEW='%s' DRY='%s' UNITS='%s' STATE=/var/lib/godwit\n%s\nexit\n}\n", next, flag(dry), flag(a.Units), factsScript)
	var out bytes.Buffer
	err := r.Run(ctx, host.Cmd{Script: script, Elevate: true, Stdout: &out, Name: "the look at the host", Limit: lookLimit})
	if !f.parse(out.String()) {
		if err == nil {
			err = errors.New("the answer of the host was cut off")
		}
		var fe *fault.Error
		if errors.As(err, &fe) {
			return err
		}
		return fault.New("cannot look at the host: %s", strings.TrimPrefix(err.Error(), a.Host+": ")).On(a.Host).Because(err)
	}
	return nil
}

// parse reads the answer of facts.sh; false: it is not whole.
func (f *Facts) parse(out string) bool {
	which := map[string]*System{"cur": &f.Current, "booted": &f.Booted, "new": &f.New}
	ended := false
	for kind, rest := range hostscript.Answer(out, &ended) {
		word, value, _ := strings.Cut(rest, " ")
		s := which[word]
		switch {
		case kind == "sys" && s != nil:
			s.Path, s.Known = value, true
			s.Parts, s.Prints = map[string]string{}, map[string]string{}
		case kind == "part" && s != nil && s.Parts != nil:
			name, v, _ := strings.Cut(value, " ")
			switch name {
			case "version":
				s.Version = v
			case "hostname":
				s.Hostname = v
			default:
				s.Parts[name] = v
			}
		case kind == "print" && s != nil && s.Prints != nil:
			name, v, _ := strings.Cut(value, " ")
			s.Prints[name] = v
		case kind == "line" && s != nil:
			_, v, _ := strings.Cut(value, " ")
			s.Firewall = append(s.Firewall, v)
		case kind == "unit":
			if f.Current.Units == nil {
				f.Current.Units = map[string]string{}
			}
			f.Current.Units[word] = value
		case kind == "record":
			var rec activate.Record
			if json.Unmarshal([]byte(value), &rec) == nil && rec.ID != "" {
				f.Last = &rec
			}
		case kind == "size":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				f.BootBytes = n << 10
			}
		case kind == "dry" && word == "rc":
			f.DryExit, _ = strconv.Atoi(value)
		case kind == "dry" && word == "line":
			f.Dry = append(f.Dry, value)
		}
	}
	for _, s := range which {
		if s.Known {
			s.Prints["firewall"] = firewallPrint(s.Firewall)
		}
	}
	// Opening more ports takes nobody's access away.
	if f.New.Known && f.Current.Known && opensOnly(f.Current.Firewall, f.New.Firewall) {
		f.New.Prints["firewall"] = f.Current.Prints["firewall"]
	}
	return ended
}

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
