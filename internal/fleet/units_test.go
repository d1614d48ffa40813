package fleet

import "testing"

func TestUnitPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, unit string
		want          bool
	}{
		{"odd", "odd.service", true},
		{"odd", "odd.timer", false},
		{"odd", "oddly.service", false},
		{"odd.timer", "odd.timer", true},
		{"odd.timer", "odd.timer.service", false},
		{"o?d", "odd.service", true},
		{"a@*", "a@1.service", true},
		{"*", "x.mount", true},
		{"b.1", "b.1.service", true},
		{"[!a-c]d", "xd.service", true},
		{"[!a-c]d", "bd.service", false},
		{`dev-x\x2dy.device`, `dev-x\x2dy.device`, true},
		{`dev-x\x2dy.device`, `dev-x-x2dy.device`, false},
	} {
		p := UnitPatterns{"other", c.pattern}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
		if p.Match(c.unit) != c.want {
			t.Errorf("%s and %s: %v", c.pattern, c.unit, !c.want)
		}
	}
	for _, bad := range []string{"", "a b", "[a", "a;b", "a{b,c}", "$(id)", "a'b", "ä"} {
		if (UnitPatterns{bad}).Check() == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	both := Checks{FailedUnits: []FailedUnitsCheck{{Ignore: []string{"a"}}, {}, {Ignore: []string{"b", "a"}}}}
	if got := both.Ignored(); len(got) != 2 || !got.Match("b.service") {
		t.Errorf("%q", got)
	}
}
