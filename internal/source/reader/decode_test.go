package reader

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source"
)

// at is a reader of a file that was opened, of a dialect that spells settings its own way.
func at(t *testing.T, godwit string) *Reader {
	t.Helper()
	r := &Reader{
		about:   source.About{At: source.Location{File: "/n/fleet.nix"}},
		dialect: &source.Dialect{Name: "x", Setting: func(s string) string { return "set." + s }},
	}
	if err := r.describe([]byte(`{"names":["web","db"],"description":"d","orderingTags":["a"],"nixConfig":{"k":"v"},"notes":["n"],"godwit":` + godwit + `}`)); err != nil {
		t.Fatal(err)
	}
	return r
}

// Everything that a dialect may say of a host.
func TestDecode(t *testing.T) {
	const store = "/nix/store/00000000000000000000000000000000-"
	r := at(t, `{"healthChecks":{"tcp":[{"on":"web","port":80}]}}`)
	h, targets, selected, err := r.decode(json.RawMessage(`{
	  "name":"web","at":{"host":"root@192.0.2.7","user":null,"port":null,"options":["-o","X=y"],"become":["doas"],"local":true},
	  "platform":{"system":"x86_64-linux","from":"hostPlatform"},"tags":["a"],"buildOnly":true,"buildOn":"target","substituteOnDestination":true,
	  "selected":true,"release":"24.05",
	  "secrets":{
	    "file":{"destination":"/run/a/../file","user":"u","group":"g","permissions":"0440","action":["x"],"mkDirs":true,"uploadAt":"pre-activation","from":{"file":"../key"}},
	    "text":{"destination":"/run/text","from":{"text":""}},
	    "words":{"destination":"/run/words","from":{"command":["pass","show"]}}},
	  "healthChecks":{"cmd":[{"description":"c","cmd":["true"],"period":2,"timeout":5}],"http":[{"description":"h","host":null,"scheme":"https","port":443,"path":"/x"},{"host":"o","port":1}],
	    "tcp":[{"host":"p","port":2}],"unit":[{"unit":"u"}],"failedUnits":[{"ignore":["x"]}],"local":[{"cmd":["l"]}]},
	  "preDeployChecks":{"unit":[{"unit":"v","description":"w"}]},
	  "profiles":[{"name":"system","kind":"nixos","drv":"` + store + `s.drv","out":"` + store + `s"},
	              {"name":"ana","kind":"home","user":"ana","link":"/l","version":"1","activate":["a"],"drv":"` + store + `h.drv","out":"/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"}],
	  "guard":{"autoRollback":false,"magicRollback":true,"confirmTimeout":30},
	  "targets":{"iso":{"drv":"` + store + `i.drv","out":"` + store + `i"}}}`))
	if err != nil || !selected {
		t.Fatal(selected, err)
	}
	if want := (fleet.Address{Host: "root@192.0.2.7", Options: []string{"-o", "X=y"}, Become: []string{"doas"}, Local: true}); !reflect.DeepEqual(h.At, want) {
		t.Errorf("%+v", h.At)
	}
	if h.Platform != (fleet.Platform{Name: "x86_64-linux", From: "hostPlatform"}) || !h.BuildOnly || h.BuildOn != "target" || !h.SubstituteOnDestination {
		t.Errorf("%+v", h)
	}
	if g := h.Guard; !g.NoAutoRollback || g.NoMagicRollback || g.ConfirmTimeout != 30*time.Second || g.ActivationTimeout != 0 {
		t.Errorf("%+v", g)
	}
	if s := h.Secrets; len(s) != 3 || s[0].From.File != "/key" || s[0].FileGiven != "../key" || s[0].Destination != "/run/file" || s[0].User != "u" ||
		s[2].From.Command[1] != "show" || s[1].From.File != "" {
		t.Errorf("%+v", s)
	}
	c := h.HealthChecks
	if len(c.HTTP) != 2 || c.HTTP[0].Host != "" || c.HTTP[1].Host != "o" || c.Cmd[0].Timeout != 5*time.Second || c.Unit[0].Description != "u" ||
		c.Local[0].Dir != "/n" || len(c.TCP) != 2 || c.TCP[1].Port != 80 || len(c.FailedUnits) != 1 || h.PreDeployChecks.Unit[0].Description != "w" {
		t.Errorf("%+v", c)
	}
	p := h.Profiles
	if len(p) != 2 || p[0].Version != "24.05" || p[1].Version != "1" || p[1].Kind != fleet.Home || p[1].Link != "/l" || !reflect.DeepEqual(h.Drvs(), []string{store + "s.drv", store + "h.drv"}) {
		t.Errorf("%+v", p)
	}
	if len(targets) != 1 || targets[0] != (source.Target{Name: "iso", DrvPath: store + "i.drv", OutPath: store + "i"}) {
		t.Errorf("%+v", targets)
	}
	for text, says := range map[string]string{
		`[]`: "cannot unmarshal",
		`{"secrets":{"s":{"destination":"/x","from":{}}}}`:                       "nothing says what the secret s holds",
		`{"profiles":[{"drv":"/etc/passwd","out":"/nix/store/x"}]}`:              "/etc/passwd",
		`{"targets":{"t":{"drv":"` + store + `i.drv","out":"/nix/store/../x"}}}`: "/nix/store/../x",
	} {
		if _, _, _, err := r.decode(json.RawMessage(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What a configuration says of itself, and how it is refused.
func TestDescribe(t *testing.T) {
	r := at(t, `{"batch":"1,rest"}`)
	if a := r.About(); a.Description != "d" || a.Settings.Batch != "1,rest" || len(a.Names) != 2 || a.NixConfig["k"] != "v" || len(r.notes) != 1 {
		t.Errorf("%+v", a)
	}
	for text, says := range map[string]string{
		`no JSON`:                             "cannot read what `/n/fleet.nix' says of itself",
		`{"names":[],"godwit":{"bach":"1"}}`:  "set.godwit in `/n/fleet.nix': there is no bach",
		`{"other":{"kind":"hive","args":[]}}`: "`/n/fleet.nix' is a hive, and nothing of x",
	} {
		err := r.describe([]byte(text))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
		var other *source.OtherKind
		if errors.As(err, &other) != strings.Contains(text, "other") {
			t.Errorf("%s: %v", text, other)
		}
	}
}

// A host's target is taken apart, in the words of the dialect.
func TestFit(t *testing.T) {
	r := at(t, "{}")
	h := fleet.Host{Name: "web", At: fleet.Address{Host: "ana@web:2222"}}
	if err := r.fit(&h); err != nil || h.At.Host != "web" || h.At.User != "ana" || h.At.Port != 2222 {
		t.Errorf("%+v, %v", h.At, err)
	}
	h = fleet.Host{Name: "web", At: fleet.Address{Host: "web:ssh"}}
	err := r.fit(&h)
	if err == nil || !strings.HasPrefix(err.Error(), `web: set.targetHost = "web:ssh" is neither a name`) || !strings.Contains(fault.Render(err), "set.targetUser and set.targetPort the rest") {
		t.Error(err)
	}
	r.dialect.Fit = func(fleet.Host) error { return errors.New("never") }
	if err := r.fit(&h); err == nil || err.Error() != "never" {
		t.Error(err)
	}
}

// The expressions that Nix gets.
func TestExpressions(t *testing.T) {
	r := at(t, "{}")
	r.dialect.Expr = source.FileExpr("F")
	r.opts.Fallback = "x86_64-linux"
	got := r.call(source.Request{Platforms: map[string]string{"web": "aarch64-linux"}, Targets: "{ }"})
	for _, part := range []string{`file = "/n/fleet.nix"`, `systems = (builtins.fromJSON "{\"web\":\"aarch64-linux\"}")`, `fallback = "x86_64-linux"`, "targets = { };"} {
		if !strings.Contains(got, part) {
			t.Errorf("%s lacks %s", got, part)
		}
	}
	if got := r.call(source.Request{}); !strings.Contains(got, "systems = { }; fallback = \"x86_64-linux\"; targets = null;") {
		t.Error(got)
	}
	system := r.system(map[string]string{"web": "aarch64-linux"})
	if system("web") != "aarch64-linux" || system("db") != "x86_64-linux" {
		t.Error("systems of hosts")
	}
	for name, want := range map[string]string{"": "HOST.config.networking.hostName", "web": "web.config.networking.hostName", "h.example": `'"h.example"'.config.networking.hostName`} {
		var names []string
		if name != "" {
			names = []string{name}
		}
		if got := example(names); got != want {
			t.Error(got)
		}
	}
	if firstWord(`"a.b".c`) != "a.b" || firstWord("a.b") != "a" || firstWord("a") != "a" {
		t.Error("first words")
	}
}

// What a request asks for first: names where they decide, metadata where tags do.
func TestFirst(t *testing.T) {
	r := at(t, "{}")
	for _, c := range []struct {
		sel   fleet.Selection
		want  string
		twice bool
		err   string
	}{
		{sel: fleet.Selection{Every: 1}, want: "web db"},
		{sel: fleet.Selection{Every: 1, On: []string{"d*"}}, want: "db"},
		{sel: fleet.Selection{Every: 1, Tagged: []string{"t"}}, want: "web db"},
		{sel: fleet.Selection{Every: 1, Limit: 1}, want: "web db", twice: true}, // the ordering tags decide
		{sel: fleet.Selection{Every: 1, On: []string{"dc"}}, err: "there is no host `dc' (did you mean db?)"},
	} {
		f, err := r.first(source.Request{Selection: c.sel, Outputs: true})
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%+v: %v", c.sel, err)
			}
			continue
		}
		if err != nil || strings.Join(f.names, " ") != c.want || f.twice != c.twice {
			t.Errorf("%+v: %v %t, %v", c.sel, f.names, f.twice, err)
		}
	}
}
