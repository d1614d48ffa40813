package fleet

import (
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, yes, no string
	}{
		{"*", "a  a.b a/b", ""},
		{"web*", "web web1 web-x.example.org", "wep aweb"},
		{"web?", "web1 webé", "web web12"},
		{"web[12]", "web1 web2", "web3 web web12"},
		{"web[!12]", "web3", "web1 web"},
		{"web[a-c0-9]", "weba web5", "webd"},
		{"web[!a-c]", "webd", "weba"},
		{"{web,db}*", "web1 db db.x", "cache"},
		{"{a,b{1,2*}}", "a b1 b2x", "b b3"},
		{"a.b", "a.b", "aXb"},
		{"a+(b)$^|", "a+(b)$^|", "aab"},
		{`a\*`, "a*", "ab"},
		{"[a-]", "a -", "b"},
		{"[[]", "[", "]"},
		{"a,b", "a,b", "a b"},
		{"h]}", "h]}", "h"},
	} {
		g, err := CompileGlob(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, name := range strings.Fields(c.yes) {
			if !g.Match(name) {
				t.Errorf("%s does not match %q", c.pattern, name)
			}
		}
		for _, name := range strings.Fields(c.no) {
			if g.Match(name) {
				t.Errorf("%s matches %q", c.pattern, name)
			}
		}
	}
	for _, bad := range []string{"[", "[]", "[!]", "a[b", "{a,b", `a\`, "[z-a]"} {
		if _, err := CompileGlob(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// oracle is morph's pipeline, word for word: names, tags, buckets, skip, every, limit.
func oracle(hosts []Host, match func(string) bool, tags, order []string, skip, every, limit int) []string {
	var byName, byTag, sorted []Host
	for _, h := range hosts {
		if match(h.Name) {
			byName = append(byName, h)
		}
	}
	for _, h := range byName {
		n := 0
		for _, t := range tags {
			if slices.Contains(h.Tags, t) {
				n++
			}
		}
		if n == len(tags) {
			byTag = append(byTag, h)
		}
	}
	used := map[string]bool{}
	for _, o := range order {
		for _, h := range byTag {
			if !used[h.Name] && slices.Contains(h.Tags, o) {
				used[h.Name] = true
				sorted = append(sorted, h)
			}
		}
	}
	for _, h := range byTag {
		if !used[h.Name] {
			sorted = append(sorted, h)
		}
	}
	out := []string{}
	if skip > len(sorted) {
		skip = len(sorted)
	}
	for i, h := range sorted[skip:] {
		if i%every == 0 && (limit <= 0 || len(out) < limit) {
			out = append(out, h.Name)
		}
	}
	return out
}

func TestSelectAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	words := []string{"a", "b", "c", "d"}
	pick := func() []string {
		var out []string
		for _, w := range words {
			if r.Intn(3) == 0 {
				out = append(out, w)
			}
		}
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	for range 5000 {
		f := &Fleet{OrderingTags: pick()}
		for i := range r.Intn(12) + 1 {
			f.Hosts = append(f.Hosts, Host{Name: fmt.Sprintf("h%02d", i), Tags: pick()})
		}
		s := Selection{Tagged: pick(), Skip: r.Intn(4), Every: 1 + r.Intn(3), Limit: r.Intn(5) - 1}
		match := func(string) bool { return true }
		if r.Intn(2) == 0 {
			s.On = []string{"h*[02468]"}
			match = func(n string) bool { return (n[2]-'0')%2 == 0 }
		}
		order := f.OrderingTags
		if r.Intn(3) == 0 {
			s.OrderByTags = pick()
			if len(s.OrderByTags) > 0 {
				order = s.OrderByTags
			}
		}
		want := oracle(f.Hosts, match, s.Tagged, order, s.Skip, s.Every, s.Limit)
		hosts, c, err := Select(f, s)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, h := range hosts {
			got = append(got, h.Name)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\n%+v\ngot  %v\nwant %v", f, s, got, want)
		}
		if c.Total != len(f.Hosts) || c.Chosen != len(want) || c.Named < c.Chosen {
			t.Fatalf("counts %+v", c)
		}
		// Where tags do not matter, names alone select the same.
		if !s.NeedsTags(f.OrderingTags) && len(order) == 0 {
			var names []string
			for _, h := range f.Hosts {
				names = append(names, h.Name)
			}
			names, err := s.Names(names)
			if err != nil {
				t.Fatal(err)
			}
			if got := Limits(s, names); !slices.Equal(got, want) {
				t.Fatalf("by name: got %v, want %v", got, want)
			}
		}
	}
}

func TestSelectRefuses(t *testing.T) {
	f := &Fleet{Hosts: []Host{{Name: "web01"}, {Name: "web02"}, {Name: "db"}}}
	for _, c := range []struct {
		s    Selection
		want string
	}{
		{Selection{Every: 0}, "--every 0 selects no host"},
		{Selection{Every: -1}, "--every -1"},
		{Selection{Every: 1, Skip: -1}, "--skip=-1"},
		{Selection{Every: 1, On: []string{"["}}, "--on '[' is not a pattern"},
		{Selection{Every: 1, On: []string{"wbe01"}}, "there is no host 'wbe01' (did you mean web01?)"},
		{Selection{Every: 1, On: []string{"unrelated"}}, "there is no host 'unrelated'"},
		{Selection{Every: 1, On: []string{"db", "x*"}}, "no host matches --on 'x*'"},
	} {
		_, _, err := Select(f, c.s)
		var e *SelectionError
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.s, err, c.want)
		}
	}
	hosts, c, err := Select(f, Selection{Every: 1, On: []string{"db", "web01"}})
	if err != nil || len(hosts) != 2 || hosts[0].Name != "web01" || c.Named != 2 {
		t.Error(hosts, c, err)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"openssh", "nginx", "postgresql", "web01", "db"}
	for word, want := range map[string]string{
		"openshh": "openssh", "ngnix": "nginx", "postgres": "postgresql", "WEB01": "web01", "something": "", "bd": "db", "db": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("Nearest(%s) = %q, want %q", word, got, want)
		}
	}
}

func TestLiteral(t *testing.T) {
	for _, name := range []string{"web", "a*b", "a?b[c]", `a\b`, "{x}"} {
		sel := Selection{On: []string{Literal(name)}, Every: 1}
		if got, err := sel.Names([]string{"web", "aXb", name}); err != nil || len(got) == 0 || got[len(got)-1] != name || len(got) > 1 && name != "web" {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}
