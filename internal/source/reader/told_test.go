package reader_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/fleet"
	"godwit/internal/nix/nixtest"
	"godwit/internal/source"
	"godwit/internal/source/morph"
	"godwit/internal/source/own"
	"godwit/internal/source/reader"
)

// These tests are about what is made of Nix's answers, which are told by a stand-in: what
// Nix really answers is the other tests' and the dialects'.

const hash = "0123456789abcdfghijklmnpqrsvwxyz"

// told is a host as docs/dialects.md has it. more is further JSON, with a comma before it.
func told(name, tags, more string) json.RawMessage {
	out := "/nix/store/" + hash + "-nixos-system-" + name
	return json.RawMessage(`{"name":"` + name + `","at":{"host":"` + name + `.example"},"platform":{"system":"x86_64-linux","from":"hostPlatform"},"tags":[` + tags + `],"release":"24.05","selected":true,` +
		`"profiles":[{"name":"system","kind":"nixos","drv":"` + out + `.drv","out":"` + out + `"}]` + more + `}`)
}

// three is a fleet of three hosts, and one whose evaluation fails.
func three() nixtest.Fleet {
	return nixtest.Fleet{
		File:    "network.nix",
		Summary: map[string]any{"names": []string{"db", "odd", "web1", "web2"}, "description": "ours", "orderingTags": []string{"first"}, "nixConfig": map[string]string{"cores": "1"}, "notes": []string{"mind the gap"}},
		Hosts: map[string]json.RawMessage{
			"db":   told("db", `"first","all"`, ""),
			"web1": told("web1", `"all"`, `,"at":{"host":"10.0.0.1","user":"ana","port":2222},"secrets":{"key":{"destination":"/run/../run/key","user":"root","group":"root","permissions":"0400","uploadAt":"pre-activation","from":{"file":"./key"}}}`),
			"web2": told("web2", ``, `,"buildOnly":true,"guard":{"magicRollback":false,"confirmTimeout":9}`),
		},
		Fails:    map[string]string{"odd": "The option `services.openshh' does not exist. Definition values:"},
		Siblings: []string{"openssh", "opendkim", "nginx"},
	}
}

func open(t *testing.T, fl nixtest.Fleet, o source.Options) (*reader.Reader, error) {
	t.Helper()
	return reader.Open(t.Context(), nixtest.Tool(t, fl), morph.Dialect, source.Location{File: network(t, "{ }")}, o)
}

func mustOpen(t *testing.T, fl nixtest.Fleet, o source.Options) *reader.Reader {
	t.Helper()
	r, err := open(t, fl, o)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return r
}

func TestToldHosts(t *testing.T) {
	for _, c := range []struct {
		name   string
		s      fleet.Selection
		want   string
		failed string
		counts fleet.Counts
	}{
		{"all, ordered by their tags", fleet.Selection{Every: 1}, "db web1 web2", "odd", fleet.Counts{Total: 4, Named: 4, Chosen: 4}},
		{"by name", fleet.Selection{Every: 1, On: []string{"web*"}}, "web1 web2", "", fleet.Counts{Total: 4, Named: 2, Chosen: 2}},
		{"by a tag that each must have", fleet.Selection{Every: 1, Tagged: []string{"all"}, On: []string{"!odd"}}, "db web1", "", fleet.Counts{Total: 4, Named: 3, Chosen: 2}},
		{"by a tag or a name", fleet.Selection{Every: 1, On: []string{"@first,web2"}}, "db web2", "odd", fleet.Counts{Total: 4, Named: 4, Chosen: 2}},
		{"the first by tags", fleet.Selection{Every: 1, Limit: 1, On: []string{"!odd"}}, "db", "", fleet.Counts{Total: 4, Named: 3, Chosen: 1}},
		{"the second by name", fleet.Selection{Every: 1, Skip: 1, Limit: 1, On: []string{"web*"}, OrderByTags: []string{"none"}}, "web2", "", fleet.Counts{Total: 4, Named: 2, Chosen: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustOpen(t, three(), source.Options{})
			var each []string
			res, err := r.Load(t.Context(), source.Request{Selection: c.s, Outputs: true, OnHost: func(h fleet.Host) { each = append(each, h.Name) }})
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			var names, failed []string
			for _, h := range res.Fleet.Hosts {
				names = append(names, h.Name)
			}
			for _, f := range res.Failed {
				failed = append(failed, f.Host)
			}
			if got := strings.Join(names, " "); got != c.want || strings.Join(failed, " ") != c.failed || res.Counts != c.counts {
				t.Errorf("%s, failed %v, %+v", got, failed, res.Counts)
			}
			for _, name := range names {
				if !slices.Contains(each, name) {
					t.Errorf("nobody heard of %s when it was there: %v", name, each)
				}
			}
		})
	}
}

func TestToldFields(t *testing.T) {
	var notes []string
	r := mustOpen(t, three(), source.Options{Sink: event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Note {
			notes = append(notes, e.Text)
		}
	})})
	if a := r.About(); a.Description != "ours" || a.NixConfig["cores"] != "1" || len(a.Names) != 4 || a.At.Dialect != "morph" || !slices.Contains(notes, "mind the gap") {
		t.Errorf("%+v, %v", a, notes)
	}
	res, err := r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: []string{"web*"}}, Outputs: true})
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	web := res.Fleet.Hosts[0]
	if web.At.Host != "10.0.0.1" || web.At.User != "ana" || web.At.Port != 2222 || web.Main().Version != "24.05" || web.Platform.From != "hostPlatform" {
		t.Errorf("%+v", web)
	}
	if s := web.Secrets; len(s) != 1 || s[0].Destination != "/run/key" || s[0].From.File != filepath.Join(r.About().At.Dir(), "key") || s[0].FileGiven != "./key" {
		t.Errorf("%+v", s)
	}
	if g := res.Fleet.Hosts[1].Guard; !g.NoMagicRollback || g.NoAutoRollback || g.ConfirmTimeout.Seconds() != 9 || !res.Fleet.Hosts[1].BuildOnly {
		t.Errorf("%+v", g)
	}
}

// One host that fails says what was most likely meant; the others do not care.
func TestToldError(t *testing.T) {
	r := mustOpen(t, three(), source.Options{})
	res, err := r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1}, Outputs: true})
	if err != nil || len(res.Failed) != 1 {
		t.Fatal(err, res)
	}
	if text := fault.Render(res.Failed[0].Err); !strings.Contains(text, "did you mean services.openssh?") {
		t.Error(text)
	}
	// An option of another tool is not looked for.
	fl := three()
	fl.Siblings, fl.Fails["odd"] = nil, "The option `deployment.keys' does not exist. Definition values:"
	r = mustOpen(t, fl, source.Options{})
	if res, err = r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: []string{"odd"}}, Outputs: true}); err != nil || len(res.Failed) != 1 || len(res.Fleet.Hosts) != 0 {
		t.Fatal(err, res)
	}
}

// A host that cannot be what it says is refused, alone.
func TestToldNonsense(t *testing.T) {
	for name, c := range map[string]struct{ more, want string }{
		"a path out of the store":  {`,"profiles":[{"name":"system","kind":"nixos","drv":"/etc/x.drv","out":"/etc/x"}]`, "web1: cannot read its metadata"},
		"a secret without content": {`,"secrets":{"k":{"destination":"/k"}}`, "nothing says what the secret k contains"},
		"no JSON of a host":        {`,"tags":{"a":1}`, "cannot read its metadata"},
		"two ports":                {`,"at":{"host":"a:22","port":23}`, "name two ports"},
	} {
		t.Run(name, func(t *testing.T) {
			fl := three()
			fl.Hosts["web1"] = told("web1", "", c.more)
			r := mustOpen(t, fl, source.Options{})
			res, err := r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: []string{"web*"}}, Outputs: true})
			if err == nil && len(res.Failed) == 1 {
				err = res.Failed[0].Err
			}
			if err == nil || !strings.Contains(fault.Render(err), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	r := mustOpen(t, three(), source.Options{})
	_, err := r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: []string{"wbe1"}}, Outputs: true})
	if err == nil || !strings.Contains(fault.Render(err), "web1") {
		t.Error(err)
	}
	res, err := mustOpen(t, three(), source.Options{}).Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: []string{"web1"}}, Outputs: true, OnlyOf: map[string][]string{"web1": {"ana"}}})
	if err != nil || len(res.Failed) != 1 || !strings.Contains(res.Failed[0].Err.Error(), "it has no profile 'ana'") {
		t.Errorf("%+v, %v", res, err)
	}
}

// What a configuration says of itself.
func TestToldSummary(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s map[string]any)
		want   string
	}{
		"something else":     {func(s map[string]any) { s["other"] = map[string]any{"kind": "hive", "args": []string{}} }, "hive"},
		"an unknown setting": {func(s map[string]any) { s["godwit"] = map[string]any{"bacth": "1"} }, "bacth"},
		"a setting of no host": {func(s map[string]any) {
			s["godwit"] = map[string]any{"healthChecks": map[string]any{"tcp": []any{map[string]any{"on": "nobody", "port": 1}}}}
		}, "nobody"},
		"names that are none": {func(s map[string]any) { s["names"] = "web" }, "cannot read what"},
	} {
		fl := three()
		c.change(fl.Summary)
		if _, err := open(t, fl, source.Options{}); err == nil || !strings.Contains(fault.Render(err), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// From the second run on the hosts are begun with before the names are known, and a
// fleet that changed meanwhile is none the worse for it.
func TestToldAhead(t *testing.T) {
	o := source.Options{Memory: t.TempDir(), Ahead: &source.Request{Selection: fleet.Selection{Every: 1, On: []string{"!odd"}}, Outputs: true}}
	file := network(t, "{ }")
	for i, gone := range []string{"", "", "web2", "web2"} {
		fl := three()
		if gone != "" {
			fl.Summary["names"] = []string{"db", "odd", "web1"}
		}
		r, err := reader.Open(t.Context(), nixtest.Tool(t, fl), morph.Dialect, source.Location{File: file}, o)
		if err != nil {
			t.Fatal(i, fault.Render(err))
		}
		if began := reader.Began(r) != nil; began != (i == 1 || i == 3) {
			t.Errorf("run %d began ahead: %v", i, began)
		}
		res, err := r.Load(t.Context(), *o.Ahead)
		if err != nil {
			t.Fatal(i, fault.Render(err))
		}
		if n := len(res.Fleet.Hosts); n != 3 && gone == "" || n != 2 && gone != "" {
			t.Errorf("run %d gives %d hosts", i, n)
		}
	}
	if names := reader.Remembered(o.Memory, source.Location{File: file, Dialect: "morph"}); !slices.Equal(names, []string{"db", "odd", "web1"}) {
		t.Errorf("remembered %v", names)
	}
}

// What a flake gave is taken again as long as its content is the same: Nix, which knows no
// host the second time, is not asked about any.
func TestToldAgain(t *testing.T) {
	cache := t.TempDir()
	app := json.RawMessage(`{"name":"web","selected":true,"profiles":[{"name":"app","kind":"custom","out":"/nix/store/` + hash + `-app"}]}`)
	withText := json.RawMessage(`{"name":"db","selected":true,"secrets":{"k":{"destination":"/k","from":{"text":"hush"}}}}`)
	run := func(key string, names []string, hosts map[string]json.RawMessage) (said []string, res *source.Result) {
		t.Helper()
		at := source.Location{Flake: "/ours", Attr: "godwit", Locked: &flakeref.Locked{URL: "/ours", Expr: "flake", Key: key}}
		tool := nixtest.Tool(t, nixtest.Fleet{Flake: true, Summary: map[string]any{"names": []string{"web", "db"}}, Hosts: hosts})
		r, err := reader.Open(t.Context(), tool, own.Dialect, at, source.Options{Cache: cache, ExplainCache: true, Sink: event.SinkFunc(func(e event.Event) {
			if e.Kind == event.Note {
				said = append(said, e.Text)
			}
		})})
		if err == nil {
			res, err = r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: names}, Outputs: true})
		}
		if err != nil {
			t.Fatal(fault.Render(err))
		}
		if got := len(res.Fleet.Hosts); got != len(names) || r.Header(nil, fleet.Counts{}) != "" {
			t.Errorf("%d hosts, of %v: %+v", got, names, res.Failed)
		}
		return said, res
	}
	both := map[string]json.RawMessage{"web": app, "db": withText}
	if said, _ := run("k1", []string{"web", "db"}, both); !slices.Equal(said, []string{"results are kept"}) {
		t.Errorf("first: %q", said)
	}
	if said, res := run("k1", []string{"web"}, nil); len(said) != 2 || !strings.HasPrefix(said[0], "1 host as evaluated before: the flake has not changed") || res.Fleet.Hosts[0].Profiles[0].Name != "app" {
		t.Errorf("again: %q, %+v", said, res.Fleet.Hosts)
	}
	// What holds a secret is asked for anew, and what of it was kept is nowhere.
	if said, _ := run("k1", []string{"web", "db"}, map[string]json.RawMessage{"db": withText}); len(said) != 2 {
		t.Errorf("with a secret: %q", said)
	}
	_ = filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if b, _ := os.ReadFile(path); strings.Contains(string(b), "hush") {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	if said, _ := run("k2", []string{"web"}, both); !slices.Equal(said, []string{"results are kept"}) {
		t.Errorf("another content: %q", said)
	}
	if said, _ := run("", []string{"web"}, both); !slices.Equal(said, []string{"results are not kept: the flake is not evaluated purely"}) {
		t.Errorf("impure: %q", said)
	}
}

// The derivations of a result are kept from collection while they are needed.
func TestToldRoots(t *testing.T) {
	r := mustOpen(t, three(), source.Options{ExplainCache: true})
	res, err := r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1, On: []string{"web*"}}, Outputs: true, RootDir: t.TempDir()})
	if err != nil || res.WaitRoots == nil {
		t.Fatal(err, res)
	}
	if err := res.WaitRoots(); err != nil {
		t.Error(fault.Render(err))
	}
	if h := r.Header(res.Fleet.Hosts, res.Counts); !strings.Contains(h, "web1") || !strings.Contains(h, "web2") {
		t.Errorf("morph's first lines are %q", h)
	}
	if res, err = r.Load(t.Context(), source.Request{Selection: fleet.Selection{Every: 1}}); err != nil || res.WaitRoots != nil {
		t.Error("roots of what has no derivations", err)
	}
}

// Questions that need no evaluation to be refused.
func TestEvalRefused(t *testing.T) {
	r := mustOpen(t, three(), source.Options{})
	for attr, want := range map[string]string{
		"": "name an attribute", "wbe1.config.x": "there is no host 'wbe1' (did you mean web1?)", "web1": "a whole node cannot be printed", `"web1"`: "a whole node cannot be printed",
		`"we.b".config`: "there is no host 'we.b'",
	} {
		if _, err := r.Eval(t.Context(), attr, false); err == nil || !strings.Contains(fault.Render(err), want) {
			t.Errorf("%s: %v, want %s", attr, err, want)
		}
	}
	if tool, err := r.InShell(t.Context(), nil); tool != nil || err != nil {
		t.Errorf("a shell of a configuration that has none: %v, %v", tool, err)
	}
}

// What is no deployment file is refused before Nix is asked.
func TestNoDeploymentFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"network.nix", "fleet.nix"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"fleat.nix": "fleet.nix?", "other": "network.nix", "": "is a directory; name the deployment file in it", "pipe": "write it to a file first", "network.nix/x": "cannot read",
	} {
		_, err := reader.Open(t.Context(), nil, morph.Dialect, source.Location{File: filepath.Join(dir, name)}, source.Options{})
		if err == nil || !strings.Contains(fault.Render(err), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
