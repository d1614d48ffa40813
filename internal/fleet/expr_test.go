package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The fleet of the tests: name and tags.
var exprFleet = &Fleet{Hosts: []Host{
	{Name: "gamma-1", Tags: []string{"router", "eu"}},
	{Name: "gamma-2", Tags: []string{"eu"}},
	{Name: "web1", Tags: []string{"web", "eu", "infra-web"}},
	{Name: "web2", Tags: []string{"web", "canary"}},
	{Name: "db", Tags: []string{"infra-db"}},
	{Name: "h1.example.org"},
	{Name: "@odd,name"},
}}

func TestExpr(t *testing.T) {
	for _, c := range []struct{ on, want string }{
		// colmena's (reference/colmena.md section 4 and case I)
		{"web1", "web1"},
		{"web*", "web1 web2"},
		{"@web", "web1 web2"},
		{"@infra-*", "web1 db"},
		{"@router,gamma-*", "gamma-1 gamma-2"},
		{" @router , db ", "gamma-1 db"},
		{"@router,web1", "gamma-1 web1"},
		{"h*", "h1.example.org"}, // * goes over dots
		{"web[!1]", "web2"},
		{"web?,@router", "gamma-1 web1 web2"},
		// what is added
		{"@web&@eu", "web1"},
		{"@web & gamma*, db", "db"},
		{"@web,!@canary", "web1"},
		{"!@canary,@web", "web1"},
		{"!@web", "gamma-1 gamma-2 db h1.example.org @odd,name"},
		{"!@web,!db,!@eu", "h1.example.org @odd,name"},
		{"@web&!@eu", "web2"},
		{"(@web,@router)&@eu", "gamma-1 web1"},
		{"!(web*,@eu)", "db h1.example.org @odd,name"},
		{"!!db", "db"},
		{"@eu,!(@web,gamma-2)", "gamma-1"},
		{"(@eu,!@web)&!gamma-2", "gamma-1"},
		{"{web1,db}", "web1 db"},
		{`\@odd\,name`, "@odd,name"},
		{"@odd,name", "@odd,name"}, // a host is called so
		{"web1&nothing*,db", "!no host matches --on 'nothing*'"},
		{"*", "gamma-1 gamma-2 web1 web2 db h1.example.org @odd,name"},
		// refusals
		{"", "!--on '' is not a pattern: a name or a tag is missing in it"},
		{" ", "!--on ' ' is not a pattern: a name or a tag is missing in it"},
		{",", "!--on ',' is not a pattern: a name"},
		{"a,,b", "!--on 'a,,b' is not a pattern: a name"},
		{"a,b,c,", "!--on 'a,b,c,' is not a pattern: a name"},
		{"@", "!--on '@' is not a pattern: a name"},
		{"a&", "!--on 'a&' is not a pattern: a name"},
		{"!", "!--on '!' is not a pattern: a name"},
		{"(a", "!--on '(a' is not a pattern: a '(' is not closed"},
		{"[", "!--on '[' is not a pattern: a '[' is not closed"},
		{strings.Repeat("(", 1000), "!--on '(("},
		{"wbe1", "!there is no host 'wbe1' (did you mean web1?)"},
		{"db,!wbe1", "!there is no host 'wbe1' (did you mean web1?)"},
		{"x*,db", "!no host matches --on 'x*'"},
		{"db,!x*", "db"},
		{"@wbe", "!no host has the tag 'wbe' (did you mean @web?)"},
		{"@x*", "!no host has a tag that matches 'x*'"},
		{"@x,db", "db"},
		{"@canary&@eu", "!no host matches --on '@canary&@eu'"},
	} {
		hosts, _, err := Select(exprFleet, Selection{Every: 1, On: []string{c.on}})
		got := strings.Join(hostNames(hosts), " ")
		if err != nil {
			got = "!" + err.Error()
			var e *SelectionError
			if !errors.As(err, &e) || len(e.Hints) == 0 {
				t.Errorf("%s: %v has no hint", c.on, err)
			}
		}
		if refused := strings.HasPrefix(c.want, "!"); got != c.want && !(refused && strings.HasPrefix(got, c.want)) {
			t.Errorf("%q: got %s, want %s", c.on, got, c.want)
		}
	}
	// Words add up to one list.
	hosts, c, err := Select(exprFleet, Selection{Every: 1, On: []string{"@web", "!@canary", "db"}})
	if got := strings.Join(hostNames(hosts), " "); got != "web1 db" || c.Chosen != 2 || c.Named != 7 {
		t.Error(got, c, err)
	}
}

func hostNames(hosts []Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

// TestExprByName: what names decide is decided without tags, and where tags are all
// that is left they are known beforehand.
func TestExprByName(t *testing.T) {
	all := hostNames(exprFleet.Hosts)
	for _, c := range []struct {
		on, names, wanted string
		simple, tags      bool
	}{
		{"web*", "web1 web2", "", true, false},
		{"@web", strings.Join(all, " "), "web", true, true},
		{"@web&@eu", strings.Join(all, " "), "web eu", true, true},
		{"web*&@eu", "web1 web2", "eu", true, true},
		{"@web,!db", "gamma-1 gamma-2 web1 web2 h1.example.org @odd,name", "web", true, true},
		{"@web,@db", strings.Join(all, " "), "", false, true},
		{"@web,db", strings.Join(all, " "), "", false, true},
		{"@w*", strings.Join(all, " "), "", false, true},
		{"web*,!@eu", "web1 web2", "", false, true},
		{"web1,!(@eu&db)", "web1", "", true, true},
	} {
		s := Selection{Every: 1, On: []string{c.on}}
		names, err := s.Names(all)
		if err != nil || strings.Join(names, " ") != c.names {
			t.Errorf("%s: %v %v", c.on, names, err)
		}
		rest, wanted, simple := s.Named(all, names)
		if strings.Join(wanted, " ") != c.wanted || simple != c.simple || s.NeedsTags(nil) != c.tags {
			t.Errorf("%s: wanted %q, simple %t, needs tags %t", c.on, wanted, simple, s.NeedsTags(nil))
		}
		// What remains selects of those hosts what the whole selects of all.
		part := &Fleet{Hosts: slices.DeleteFunc(slices.Clone(exprFleet.Hosts), func(h Host) bool { return !slices.Contains(names, h.Name) })}
		got, _, err1 := Select(part, rest)
		want, _, err2 := Select(exprFleet, s)
		if fmt.Sprint(hostNames(got), err1 != nil) != fmt.Sprint(hostNames(want), err2 != nil) {
			t.Errorf("%s: the rest selects %v %v, the whole %v %v", c.on, hostNames(got), err1, hostNames(want), err2)
		}
	}
}
