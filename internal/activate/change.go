package activate

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/hostscript"
	"godwit/internal/profile"
	"godwit/internal/profile/kinds"
	"godwit/internal/profile/nixos"
)

// Change is a profile of the host, and what is to become of it.
type Change struct {
	// Name is unique on the host: "system", "ana".
	Name string
	// Kind is the name of one of package kinds.
	Kind string
	// Owner is the user whose profile it is; "": root.
	Owner string
	// Link is where its generations are; "": where those of its kind are.
	Link string
	// New is a store path that the host has.
	New string
	// Run is what is made to run when that is not New itself: a path below it, such as
	// .../specialisation/NAME. Kept is always New.
	Run string
	// Command is how a profile of the kind custom is made to run: words, of which the
	// first is below the path.
	Command []string
}

var (
	systemPath  = regexp.MustCompile(`^/[A-Za-z0-9/+._?=:@,-]+$`)
	profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]*$`)
	ownerName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]*\$?$`)
)

// settle fills in what is left open of the profiles, and says what is wrong with them.
// Without a new system it is about what the host has.
func (r *Request) settle() error {
	if len(r.Profiles) == 0 {
		r.Profiles = []Change{{Name: "system", Kind: nixos.Kind.Name, New: r.NewSystem, Run: r.Activation}}
	}
	r.Profiles = slices.Clone(r.Profiles)
	r.main = -1
	names := map[string]bool{}
	for i := range r.Profiles {
		c := &r.Profiles[i]
		k, ok := kinds.Of(c.Kind)
		if !ok {
			return fmt.Errorf("profile '%s' is of a kind that this godwit does not know: '%s'", c.Name, c.Kind)
		}
		if !profileName.MatchString(c.Name) || names[c.Name] || c.Owner != "" && !ownerName.MatchString(c.Owner) {
			return fmt.Errorf("not the name of a profile, or not of its user: %q, %q", c.Name, c.Owner)
		}
		names[c.Name] = true
		if c.Link == "" {
			c.Link = k.Link(c.Owner, c.Name)
			if k.Name == nixos.Kind.Name {
				c.Link = r.at.Profile // tests move it
			}
		}
		if c.Run == "" || r.Action == Boot {
			c.Run = c.New
		}
		for _, p := range []string{c.New, c.Run, cmp.Or(c.Link, "/only/the/host/knows")} {
			if r.Action == "" && c.New == "" { // about what the host has
				continue
			}
			if !systemPath.MatchString(p) || path.Clean(p) != p {
				return fmt.Errorf("not the path of a system: %q", p)
			}
		}
		if r.main < 0 && k.Boots {
			r.main = i
		}
	}
	r.main = max(r.main, 0)
	r.NewSystem, r.Activation = r.Profiles[r.main].New, r.Profiles[r.main].Run
	return nil
}

// leaveOut takes the profiles away whose kind does not have the action.
func (r *Request) leaveOut() error {
	var left []Change
	for _, c := range r.Profiles {
		if k, _ := kinds.Of(c.Kind); k.Has(r.Action) {
			left = append(left, c)
		} else {
			r.leftOut = append(r.leftOut, c.Name)
		}
	}
	if len(left) == 0 {
		return fmt.Errorf("none of the host's profiles can be activated by %s: %s", r.Action, strings.Join(r.leftOut, ", "))
	}
	r.Profiles = left
	return r.settle()
}

// kind is that of the main profile.
func (r *Request) kind() profile.Kind {
	k, _ := kinds.Of(r.Profiles[r.main].Kind)
	return k
}

// oneUsers tells whether all the profiles are of one user who is not root.
func (r *Request) oneUsers() bool {
	for _, c := range r.Profiles {
		if c.Owner == "" || c.Owner != r.Profiles[0].Owner {
			return false
		}
	}
	return len(r.Profiles) > 0
}

// kindOf is that of the profile of a name, or else of the main one.
func (r *Request) kindOf(name string) profile.Kind {
	for _, c := range r.Profiles {
		if c.Name == name {
			k, _ := kinds.Of(c.Kind)
			return k
		}
	}
	return r.kind()
}

// kinds are those of the profiles.
func (r *Request) kinds() []profile.Kind {
	var all []profile.Kind
	for _, c := range r.Profiles {
		k, _ := kinds.Of(c.Kind)
		all = append(all, k)
	}
	return all
}

// profileVariables is how the scripts get the profiles (scripts/lay.sh).
func (r *Request) profileVariables() hostscript.Variables {
	v := hostscript.Variables{"MAIN": strconv.Itoa(r.main + 1), "MANY": ""}
	if len(r.Profiles) > 1 {
		v["MANY"] = "1"
	}
	var numbers []string
	for i, c := range r.Profiles {
		n := strconv.Itoa(i + 1)
		numbers = append(numbers, n)
		for name, value := range map[string]string{"KIND": c.Kind, "NAME": c.Name, "NEW": c.Run, "TOPLEVEL": c.New, "LINK": c.Link, "OWNER": c.Owner,
			"COMMAND": base64.StdEncoding.EncodeToString([]byte(strings.Join(c.Command, "\n")))} {
			v[name+"_"+n] = value
		}
	}
	v["PROFILES"] = strings.Join(numbers, " ")
	slices.Reverse(numbers)
	v["BACKWARDS"] = strings.Join(numbers, " ")
	return v
}
