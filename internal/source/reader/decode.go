package reader

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/storepath"
)

// summaryJSON is what a dialect's Nix says of a configuration.
type summaryJSON struct {
	Names        []string
	Description  string
	OrderingTags []string
	NixConfig    map[string]string
	Godwit       json.RawMessage
	BuildShell   bool
	Notes        []string
	ApplyAll     *bool
	Other        *struct {
		Kind string
		Args []string
	}
}

func decodeSummary(b []byte) (s summaryJSON, err error) {
	err = json.Unmarshal(b, &s)
	return s, err
}

// hostJSON is what it says of a host.
type hostJSON struct {
	Name string
	At   struct {
		Host, User         string
		Port               int
		Also               []string
		Options, Become    []string
		Local, AskPassword bool
		ForwardAgent       bool
	}
	Platform                struct{ System, From string }
	Tags                    []string
	BuildOnly               bool
	BuildOn                 string
	SubstituteOnDestination bool
	Selected                bool
	Secrets                 map[string]secretJSON
	HealthChecks            checksJSON
	PreDeployChecks         checksJSON
	Release                 string
	ReplaceUnknown          *bool
	Profiles                []profileJSON
	RestSecrets             bool
	Guard                   guardJSON
	Targets                 map[string]drvJSON
}

// guardJSON has times in seconds.
type guardJSON struct {
	AutoRollback, MagicRollback       *bool
	ConfirmTimeout, ActivationTimeout *int
}

func (g guardJSON) guard() fleet.Guard {
	off := func(b *bool) bool { return b != nil && !*b }
	time := func(n *int) time.Duration {
		if n == nil {
			return 0
		}
		return seconds(*n)
	}
	return fleet.Guard{
		NoAutoRollback: off(g.AutoRollback), NoMagicRollback: off(g.MagicRollback),
		ConfirmTimeout: time(g.ConfirmTimeout), ActivationTimeout: time(g.ActivationTimeout),
	}
}

type secretJSON struct {
	Destination, User, Group, Permissions, UploadAt string
	Action                                          []string
	MkDirs, LateOwner                               bool
	From                                            struct {
		File    *string
		Text    *string
		Command []string
	}
}

type profileJSON struct {
	Name, Kind, User, Link, Version string
	Activate                        []string
	Sealed                          []fleet.Sealed
	Declared                        []fleet.Declared
	drvJSON
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

// decode reads what Nix said of a host; selected tells whether its tags are those that
// were wanted.
func (r *Reader) decode(value json.RawMessage) (h fleet.Host, targets []source.Target, selected bool, err error) {
	var j hostJSON
	if err := json.Unmarshal(value, &j); err != nil {
		return fleet.Host{}, nil, false, err
	}
	dir := r.about.At.Dir()
	h = fleet.Host{
		Name: j.Name,
		At: fleet.Address{
			Host: j.At.Host, User: j.At.User, Port: j.At.Port, Also: j.At.Also, ForwardAgent: j.At.ForwardAgent, Options: j.At.Options, Become: j.At.Become, Local: j.At.Local, AskPassword: j.At.AskPassword,
		},
		BuildOnly: j.BuildOnly, SubstituteOnDestination: j.SubstituteOnDestination, BuildOn: j.BuildOn,
		Tags: j.Tags, HealthChecks: j.HealthChecks.checks(dir), PreDeployChecks: j.PreDeployChecks.checks(dir),
		Platform: fleet.Platform{Name: j.Platform.System, From: j.Platform.From},
		Profiles: j.profiles(), Guard: j.Guard.guard(), KnownOnly: j.ReplaceUnknown != nil && !*j.ReplaceUnknown,
	}
	if len(h.At.Also) == 0 {
		h.At.Also = nil
	}
	if len(h.At.Options) == 0 {
		h.At.Options = nil
	}
	for _, name := range slices.Sorted(maps.Keys(j.Secrets)) {
		s := j.Secrets[name]
		secret := fleet.Secret{
			Name: name, Destination: plainPath(s.Destination), User: s.User, Group: s.Group, LateOwner: s.LateOwner,
			Permissions: s.Permissions, Action: s.Action, MkDirs: s.MkDirs, UploadAt: s.UploadAt,
		}
		for _, setting := range []string{"destination", "owner.user", "owner.group", "permissions", "action", "mkDirs", "uploadAt"} {
			// As the dialect spells it, where that is not the usual.
			spelt := fmt.Sprintf(r.dialect.Word("secrets.%q."+setting), name)
			if usual := (fleet.Secret{Name: name}).Option(setting); spelt != usual && r.dialect.Setting != nil {
				if secret.Options == nil {
					secret.Options = map[string]string{}
				}
				secret.Options[setting] = spelt
			}
		}
		switch from := s.From; {
		case from.Text != nil:
			secret.From.Text = *from.Text
		case len(from.Command) > 0:
			secret.From.Command = from.Command
		case from.File != nil:
			secret.FileGiven, secret.From.File = *from.File, *from.File
			if !filepath.IsAbs(secret.From.File) { // relative to the deployment file, not to the module
				secret.From.File = filepath.Join(dir, secret.From.File)
			}
		default:
			return h, nil, false, fmt.Errorf("nothing says what the secret %s contains", name)
		}
		h.Secrets = append(h.Secrets, secret)
	}
	settings := r.about.Settings
	settings.RestSecrets = settings.RestSecrets || j.RestSecrets
	settings.Apply(&h)
	return h, j.targets(), j.Selected, j.check()
}

// profiles are those of the host. Without an evaluation of the whole host a dialect
// need not list them; what is known of its operating system is a profile all the same.
func (j hostJSON) profiles() []fleet.Profile {
	var out []fleet.Profile
	for _, p := range j.Profiles {
		out = append(out, fleet.Profile{
			Name: p.Name, Kind: fleet.Kind(p.Kind), User: p.User, Link: p.Link, Drv: p.Drv, Path: p.Out,
			Version: p.Version, Activate: p.Activate, Sealed: slices.Clip(append([]fleet.Sealed(nil), p.Sealed...)),
			Declared: slices.Clip(append([]fleet.Declared(nil), p.Declared...)),
		})
		if last := &out[len(out)-1]; last.Version == "" && last.Kind == fleet.NixOS {
			last.Version = j.Release
		}
	}
	if len(out) == 0 && j.Release != "" {
		system := fleet.System("", "")
		system.Version = j.Release
		out = append(out, system)
	}
	return out
}

// check looks at the store paths that Nix gave.
func (j hostJSON) check() error {
	var errs []error
	for _, p := range j.Profiles {
		switch {
		case p.Drv != "":
			errs = append(errs, p.check())
		case p.Out != "": // nothing to build: a path that is there already
			errs = append(errs, storepath.Check(p.Out))
		}
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

func (j hostJSON) targets() []source.Target {
	var out []source.Target
	for _, name := range slices.Sorted(maps.Keys(j.Targets)) {
		out = append(out, source.Target{Name: name, DrvPath: j.Targets[name].Drv, OutPath: j.Targets[name].Out})
	}
	return out
}
