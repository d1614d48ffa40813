package fleet

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// UnitPatterns are names and shell patterns of systemd units, as a failedUnits
// check has them in ignore: `*`, `?`, `[ab]` and `[!ab]`. A name without a suffix
// is that of a service, as systemctl has it. A backslash is one, since escaped
// names of units hold them ("dev-disk-by\x2duuid.device").
//
// Parts of a switch that no unit stands for are among them, by the name that the
// guard gives them: "user activation for alice", "reload of nginx.service".
type UnitPatterns []string

// ignorable are the characters of a pattern; systemd's names have no others. A part
// of a switch that no unit stands for goes by the name that a refused deploy gives it.
var ignorable = regexp.MustCompile(`^((user activation for|(stop|start|restart|reload|job) of) )?[A-Za-z0-9:_.@\\*?!\[\]-]+$`)

// suffixed tells a name that says which kind of unit it is.
var suffixed = regexp.MustCompile(`\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$`)

// Check says what is wrong with the patterns.
func (p UnitPatterns) Check() error {
	for _, s := range p {
		_, err := path.Match(matchable(s), "")
		if !ignorable.MatchString(s) || err != nil {
			return fmt.Errorf("%q is neither the name of a unit nor a pattern of names", s)
		}
	}
	return nil
}

// Match tells whether one of the patterns is about a unit, given by its whole name.
func (p UnitPatterns) Match(unit string) bool {
	return slices.ContainsFunc(p.Whole(), func(s string) bool {
		ok, _ := path.Match(matchable(s), unit)
		return ok
	})
}

// Whole are the patterns with those that mean a service written out, so that
// they can be compared with whole names of units.
func (p UnitPatterns) Whole() []string {
	var out []string
	for _, s := range p {
		out = append(out, s)
		if !suffixed.MatchString(s) && !strings.HasSuffix(s, "*") && !strings.HasPrefix(s, "user activation for ") {
			out = append(out, s+".service")
		}
	}
	return out
}

// matchable is a pattern as path.Match takes it.
func matchable(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "[!", "[^")
}

// Ignored are the units whose failure does not matter to these checks: what all
// failedUnits checks ignore together, so that a host may add to what the fleet
// says of all of its hosts, and what was accepted for this run.
func (c Checks) Ignored() UnitPatterns {
	out := slices.Clone(c.Accepted)
	for _, f := range c.FailedUnits {
		for _, s := range f.Ignore {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
