package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Settings are what a fleet says to godwit alone, for all its hosts: how it is
// rolled out, which risks are known, and checks. Every dialect has a place for
// them and gives them to ParseSettings; the command line wins over them. What a
// fleet does not say is empty.
type Settings struct {
	Batch       string
	MaxFailures string
	OnFailure   string
	Together    bool
	Unreachable string
	AcceptRisks []string
	// RestSecrets makes the secrets that a configuration pushes rest on their hosts instead:
	// encrypted for the machine, there after a reboot, and back with a rollback.
	RestSecrets bool

	HealthChecks    []SharedCheck
	PreDeployChecks []SharedCheck
}

// SharedCheck is a check of all hosts that match.
type SharedCheck struct {
	On     []*Glob // of host names; none: all hosts
	Checks Checks  // one check
}

// ParseSettings reads settings as JSON: what the dialect evaluated. Commands of
// local checks are run in dir. The error names the attribute.
func ParseSettings(data []byte, dir string) (Settings, error) {
	var s Settings
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return s, nil
	}
	var in struct {
		Batch           word       `json:"batch"`
		MaxFailures     word       `json:"maxFailures"`
		OnFailure       string     `json:"onFailure"`
		Together        bool       `json:"together"`
		Unreachable     string     `json:"unreachable"`
		AcceptRisks     []string   `json:"acceptRisks"`
		RestSecrets     bool       `json:"restSecrets"`
		HealthChecks    checkLists `json:"healthChecks"`
		PreDeployChecks checkLists `json:"preDeployChecks"`
	}
	if err := decode(data, &in); err != nil {
		return s, err
	}
	s = Settings{Batch: string(in.Batch), MaxFailures: string(in.MaxFailures), OnFailure: in.OnFailure, Together: in.Together,
		Unreachable: in.Unreachable, AcceptRisks: in.AcceptRisks, RestSecrets: in.RestSecrets}
	if _, err := ParseBatches(s.Batch); err != nil {
		return s, fmt.Errorf("batch: %w", err)
	}
	if s.MaxFailures != "" {
		if _, err := ParseBudget(s.MaxFailures); err != nil {
			return s, fmt.Errorf("maxFailures: %w", err)
		}
	}
	if err := oneOf("onFailure", s.OnFailure, "stop", "rollback", "continue"); err != nil {
		return s, err
	}
	if err := oneOf("unreachable", s.Unreachable, "fail", "skip", "wait"); err != nil {
		return s, err
	}
	var err error
	if s.HealthChecks, err = in.HealthChecks.checks("healthChecks", dir); err != nil {
		return s, err
	}
	s.PreDeployChecks, err = in.PreDeployChecks.checks("preDeployChecks", dir)
	return s, err
}

func oneOf(name, value string, all ...string) error {
	if value == "" || slices.Contains(all, value) {
		return nil
	}
	return fmt.Errorf("%s: there is no %q: there is %s%s", name, value, strings.Join(all, ", "), meant(value, all))
}

func meant(word string, all []string) string {
	if near := Nearest(word, all); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}

// Apply gives a host the checks that the fleet has for it, and says which of its secrets rest.
func (s Settings) Apply(h *Host) {
	h.HealthChecks = h.HealthChecks.With(checksFor(h.Name, s.HealthChecks))
	h.PreDeployChecks = h.PreDeployChecks.With(checksFor(h.Name, s.PreDeployChecks))
	for i := range h.Secrets {
		// What is to come after the activation, or runs a command of its own, is still pushed.
		x := &h.Secrets[i]
		_, ok := x.Restarts()
		x.Rest = s.RestSecrets && ok && x.UploadAt != PostActivation
	}
}

// Check refuses checks for hosts that the fleet does not have.
func (s Settings) Check(names []string) error {
	for _, c := range slices.Concat(s.HealthChecks, s.PreDeployChecks) {
		for _, g := range c.On {
			if !slices.ContainsFunc(names, g.Match) {
				return fmt.Errorf("checks: no host matches on = %q%s", g.pattern, meant(g.pattern, names))
			}
		}
	}
	return nil
}

func checksFor(name string, all []SharedCheck) Checks {
	var out Checks
	for _, c := range all {
		if len(c.On) == 0 || slices.ContainsFunc(c.On, func(g *Glob) bool { return g.Match(name) }) {
			out = out.With(c.Checks)
		}
	}
	return out
}

// checkLists are lists of checks by kind.
type checkLists map[string][]json.RawMessage

// CheckKinds are the names of the kinds of checks.
var CheckKinds = []string{"cmd", "http", "tcp", "unit", "failedUnits", "local"}

func (l checkLists) checks(where, dir string) ([]SharedCheck, error) {
	for kind := range l {
		if !slices.Contains(CheckKinds, kind) {
			return nil, fmt.Errorf("%s: there are no %s checks: there is %s%s", where, kind, strings.Join(CheckKinds, ", "), meant(kind, CheckKinds))
		}
	}
	var out []SharedCheck
	for _, kind := range CheckKinds {
		for i, raw := range l[kind] {
			c, err := parseCheck(kind, raw, dir)
			if err != nil {
				return nil, fmt.Errorf("%s.%s, number %d: %w", where, kind, i+1, err)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// Defaults of a check, in seconds. They are morph's.
const (
	defaultPeriod  = 2
	defaultTimeout = 5
)

// parseCheck reads one check. Its defaults are those of the options.
func parseCheck(kind string, raw []byte, dir string) (SharedCheck, error) {
	type common struct {
		On          oneOrMore `json:"on"`
		Description string    `json:"description"`
		Period      int       `json:"period"`
		Timeout     int       `json:"timeout"`
	}
	base := common{Period: defaultPeriod, Timeout: defaultTimeout}
	var out SharedCheck
	var err error
	needs := func(ok bool, what string) {
		if err == nil && !ok {
			err = errors.New("it has no " + what)
		}
	}
	text := func(s string) string {
		if base.Description == "" {
			return s
		}
		return base.Description
	}
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	switch kind {
	case "cmd", "local":
		in := struct {
			*common
			Cmd []string `json:"cmd"`
		}{common: &base}
		err = decode(raw, &in)
		needs(len(in.Cmd) > 0, "cmd")
		if kind == "cmd" {
			out.Checks.Cmd = []CmdCheck{{text(strings.Join(in.Cmd, " ")), in.Cmd, sec(base.Period), sec(base.Timeout)}}
		} else {
			out.Checks.Local = []LocalCheck{{text(strings.Join(in.Cmd, " ")), in.Cmd, dir, sec(base.Period), sec(base.Timeout)}}
		}
	case "http":
		in := struct {
			*common
			Host        string            `json:"host"`
			Scheme      string            `json:"scheme"`
			Port        int               `json:"port"`
			Path        string            `json:"path"`
			Headers     map[string]string `json:"headers"`
			InsecureSSL bool              `json:"insecureSSL"`
		}{common: &base, Scheme: "http", Path: "/"}
		err = decode(raw, &in)
		needs(in.Port > 0, "port")
		out.Checks.HTTP = []HTTPCheck{{text(fmt.Sprintf("%s on port %d", in.Scheme, in.Port)), in.Scheme, in.Host, in.Port, in.Path, in.Headers, in.InsecureSSL, sec(base.Period), sec(base.Timeout)}}
	case "tcp":
		in := struct {
			*common
			Host string `json:"host"`
			Port int    `json:"port"`
		}{common: &base}
		err = decode(raw, &in)
		needs(in.Port > 0, "port")
		out.Checks.TCP = []TCPCheck{{text(fmt.Sprintf("port %d", in.Port)), in.Host, in.Port, sec(base.Period), sec(base.Timeout)}}
	case "unit":
		in := struct {
			*common
			Unit string `json:"unit"`
		}{common: &base}
		err = decode(raw, &in)
		needs(in.Unit != "", "unit")
		out.Checks.Unit = []UnitCheck{{text(in.Unit), in.Unit, sec(base.Period), sec(base.Timeout)}}
	case "failedUnits":
		in := struct {
			*common
			Ignore []string `json:"ignore"`
		}{common: &base}
		err = decode(raw, &in)
		out.Checks.FailedUnits = []FailedUnitsCheck{{text("no newly failed units"), in.Ignore, sec(base.Period), sec(base.Timeout)}}
	}
	for _, pattern := range base.On {
		g, bad := CompileGlob(pattern)
		if bad != nil && err == nil {
			err = fmt.Errorf("on: %w", bad)
		}
		out.On = append(out.On, g)
	}
	return out, err
}

// decode reads JSON into a struct; an attribute that it does not have is an
// error with a suggestion.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var t *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &t) && t.Field != "":
		return fmt.Errorf("%s: it does not take the type %s", t.Field, t.Value)
	case errors.As(err, &t):
		return fmt.Errorf("it does not take the type %s", t.Value)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		all := fields(reflect.TypeOf(into).Elem())
		return fmt.Errorf("there is no %s: there is %s%s", name, strings.Join(all, ", "), meant(name, all))
	}
	return err
}

func fields(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		if f.Anonymous {
			out = append(out, fields(f.Type.Elem())...)
		} else {
			out = append(out, f.Tag.Get("json"))
		}
	}
	return out
}

// word is a text that may be written as a number.
type word string

func (w *word) UnmarshalJSON(b []byte) error {
	var n int
	if json.Unmarshal(b, &n) == nil {
		*w = word(fmt.Sprint(n))
		return nil
	}
	var s string
	err := json.Unmarshal(b, &s)
	*w = word(s)
	return err
}

// oneOrMore is a list of texts that may be written as one.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*l = oneOrMore{s}
		return nil
	}
	var list []string
	err := json.Unmarshal(b, &list)
	*l = list
	return err
}
