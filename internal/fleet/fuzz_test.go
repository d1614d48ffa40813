package fleet

import "testing"

// FuzzSettings reads network.godwit, and the small languages of flags and settings.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"rolling":{"canary":"web*","batch":["1","10%"],"maxFailures":"5%"},"healthChecks":{"tcp":[{"port":22,"on":["a"]}]}}`))
	f.Add([]byte("1,10%,100%"))
	f.Add([]byte("{web,db}[0-9]*"))
	f.Add([]byte("root@[2001:db8::1]:22"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSettings(b, "/dir"); err == nil {
			s.Apply(&Host{Name: "web", Tags: []string{"a"}})
		}
		if _, err := ParseBatches(string(b)); err == nil && len(b) == 0 {
			return
		}
		_, _ = ParseBudget(string(b))
		_, _ = ParseDestination(string(b))
		if g, err := CompileGlob(string(b)); err == nil {
			g.Match("web1.example.org")
		}
	})
}

// FuzzExpr reads --on.
func FuzzExpr(f *testing.F) {
	for _, s := range []string{"web*", "@web,!@canary", "(a,b)&!{c,d[,]}", `a\,b & @x`, "!!(a", "a+(b)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseExpr([]string{s}, nil)
		if err != nil {
			return
		}
		for _, name := range []string{"web", "a"} {
			for _, tags := range [][]string{nil, {"x"}, {"web", "canary"}} {
				if e.Match(name, tags) && !e.May(name) {
					t.Errorf("%q matches %s %v, and may not", s, name, tags)
				}
			}
		}
		rest, wanted, simple := Selection{On: []string{s}}.Named([]string{"web", "a"}, []string{"a"})
		if match := rest.rest.Match("a", wanted); simple && e.May("a") && !match {
			t.Errorf("%q wants %q, which does not match", s, wanted)
		}
	})
}
