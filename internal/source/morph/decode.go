package morph

import (
	"encoding/json"
	"errors"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/storepath"
)

// hostJSON is what network.nix says about a host.
type hostJSON struct {
	Name                    string
	TargetHost              string
	TargetPort              *int
	TargetUser              string
	BuildOnly               bool
	SubstituteOnDestination bool
	Tags                    []string
	BuildOn                 *string
	Secrets                 map[string]struct {
		Destination, Source, User, Group, Permissions, UploadAt string
		Action                                                  []string
		MkDirs                                                  bool
	}
	HealthChecks    checksJSON
	PreDeployChecks checksJSON
	Release         string
	Platform        struct{ System, From string }
	Selected        bool
	Toplevel        *drvJSON
	Targets         map[string]drvJSON
}

type drvJSON struct{ Drv, Out string }

type checksJSON struct {
	Cmd []struct {
		Description     string
		Cmd             []string
		Period, Timeout int
	}
	HTTP []struct {
		Description     string
		Host            *string
		Scheme, Path    string
		Port            int
		Headers         map[string]string
		InsecureSSL     bool
		Period, Timeout int
	} `json:"http"`
	TCP []struct {
		Description     string
		Host            *string
		Port            int
		Period, Timeout int
	} `json:"tcp"`
	Unit []struct {
		Description, Unit string
		Period, Timeout   int
	}
	FailedUnits []struct {
		Description     string
		Ignore          []string
		Period, Timeout int
	}
	Local []struct {
		Description     string
		Cmd             []string
		Period, Timeout int
	}
}

// checks are those of one host; local commands are run in dir.
func (c checksJSON) checks(dir string) fleet.Checks {
	var out fleet.Checks
	for _, x := range c.Cmd {
		out.Cmd = append(out.Cmd, fleet.CmdCheck{
			Description: x.Description, Cmd: x.Cmd, Period: seconds(x.Period), Timeout: seconds(x.Timeout),
		})
	}
	for _, x := range c.HTTP {
		h := fleet.HTTPCheck{
			Description: x.Description, Scheme: x.Scheme, Port: x.Port, Path: x.Path, Headers: x.Headers,
			InsecureSSL: x.InsecureSSL, Period: seconds(x.Period), Timeout: seconds(x.Timeout),
		}
		if x.Host != nil {
			h.Host = *x.Host
		}
		out.HTTP = append(out.HTTP, h)
	}
	for _, x := range c.TCP {
		t := fleet.TCPCheck{Description: x.Description, Port: x.Port, Period: seconds(x.Period), Timeout: seconds(x.Timeout)}
		if x.Host != nil {
			t.Host = *x.Host
		}
		out.TCP = append(out.TCP, t)
	}
	for _, x := range c.Unit {
		if x.Description == "" {
			x.Description = x.Unit
		}
		out.Unit = append(out.Unit, fleet.UnitCheck{Description: x.Description, Unit: x.Unit, Period: seconds(x.Period), Timeout: seconds(x.Timeout)})
	}
	for _, x := range c.FailedUnits {
		out.FailedUnits = append(out.FailedUnits, fleet.FailedUnitsCheck{
			Description: x.Description, Ignore: x.Ignore, Period: seconds(x.Period), Timeout: seconds(x.Timeout),
		})
	}
	for _, x := range c.Local {
		out.Local = append(out.Local, fleet.LocalCheck{
			Description: x.Description, Cmd: x.Cmd, Dir: dir, Period: seconds(x.Period), Timeout: seconds(x.Timeout),
		})
	}
	return out
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func (n *Network) decode(value json.RawMessage) (fleet.Host, []Target, bool, error) {
	var j hostJSON
	if err := json.Unmarshal(value, &j); err != nil {
		return fleet.Host{}, nil, false, err
	}
	h := fleet.Host{
		Name: j.Name, TargetHost: j.TargetHost, TargetUser: j.TargetUser,
		BuildOnly: j.BuildOnly, SubstituteOnDestination: j.SubstituteOnDestination,
		Tags: j.Tags, HealthChecks: j.HealthChecks.checks(filepath.Dir(n.File)), PreDeployChecks: j.PreDeployChecks.checks(filepath.Dir(n.File)),
		System: j.Platform.System, SystemFrom: j.Platform.From, Release: j.Release,
	}
	if j.TargetPort != nil {
		h.TargetPort = *j.TargetPort
	}
	if j.BuildOn != nil {
		h.BuildOn = *j.BuildOn
	}
	if j.Toplevel != nil {
		h.DrvPath, h.OutPath = j.Toplevel.Drv, j.Toplevel.Out
	}
	for _, name := range slices.Sorted(maps.Keys(j.Secrets)) {
		s := j.Secrets[name]
		source := s.Source
		if !filepath.IsAbs(source) { // relative to the deployment file, not to the module
			source = filepath.Join(filepath.Dir(n.File), source)
		}
		h.Secrets = append(h.Secrets, fleet.Secret{
			Name: name, Source: source, SourceGiven: s.Source, Destination: plainPath(s.Destination),
			User: s.User, Group: s.Group, Permissions: s.Permissions, Action: s.Action,
			MkDirs: s.MkDirs, UploadAt: s.UploadAt,
		})
	}
	n.Settings.Apply(&h)
	return h, j.targets(), j.Selected, j.check()
}

// check looks at the store paths that Nix gave.
func (j hostJSON) check() error {
	var errs []error
	if j.Toplevel != nil {
		errs = append(errs, j.Toplevel.check())
	}
	for _, name := range slices.Sorted(maps.Keys(j.Targets)) {
		errs = append(errs, j.Targets[name].check())
	}
	return errors.Join(errs...)
}

// placeholder is what Nix gives for the path of an output that it only knows when
// it is built.
var placeholder = regexp.MustCompile(`^/[0-9a-z]{52}$`)

func (d drvJSON) check() error {
	err := storepath.CheckDrv(d.Drv)
	if err == nil && !placeholder.MatchString(d.Out) {
		err = storepath.Check(d.Out)
	}
	return err
}

// plainPath is an absolute path without "..", "." and empty parts in the middle: what
// is put together from variables. What would then name a directory is left for the
// check of the secrets to refuse.
func plainPath(p string) string {
	if base := path.Base(p); !path.IsAbs(p) || strings.HasSuffix(p, "/") || base == "." || base == ".." {
		return p
	}
	return path.Clean(p)
}

func (j hostJSON) targets() []Target {
	var out []Target
	for _, name := range slices.Sorted(maps.Keys(j.Targets)) {
		out = append(out, Target{name, j.Targets[name].Drv, j.Targets[name].Out})
	}
	return out
}
