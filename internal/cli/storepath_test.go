package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"godwit/internal/settings"
)

func TestParseTo(t *testing.T) {
	for in, want := range map[string][4]any{
		"web":                      {"web", "web", "", 0},
		"root@web":                 {"web", "web", "root", 0},
		"me@web.example.org:2222":  {"web.example.org:2222", "web.example.org", "me", 2222},
		"::1":                      {"::1", "::1", "", 0},
		"root@2001:db8::1":         {"2001:db8::1", "2001:db8::1", "root", 0},
		"[::1]":                    {"::1", "::1", "", 0},
		"root@[2001:db8::1]:22":    {"[2001:db8::1]:22", "2001:db8::1", "root", 22},
		"dom@in@web":               {"web", "web", "dom@in", 0},
		"fe80::1%eth0":             {"fe80::1%eth0", "fe80::1%eth0", "", 0},
		"192.0.2.1":                {"192.0.2.1", "192.0.2.1", "", 0},
		"deploy@[fe80::1%en0]:222": {"[fe80::1%en0]:222", "fe80::1%en0", "deploy", 222},
	} {
		h, err := parseTo(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := [4]any{h.Name, h.At.Host, h.At.User, h.At.Port}; got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"", "@", "root@", "-oProxyCommand=x", "root@-x", "web:0", "web:99999", "web:http", "a b", "web?x=y", "web/x", "ssh://web", "a\nb"} {
		if h, err := parseTo(in); err == nil {
			t.Errorf("%q was taken as %+v", in, h)
		}
	}
}

func TestReadyWords(t *testing.T) {
	for _, c := range []struct {
		args      []string
		action    bool
		paths, to int
		word      string
		bad       bool
	}{
		{[]string{"--store-path", "a", "/b", "--to", "x", "y"}, false, 2, 2, "", false},
		{[]string{"--to", "x", "y", "--store-path", "a", "switch"}, true, 1, 2, "switch", false},
		{[]string{"--to", "x", "--store-path", "a"}, true, 1, 1, "", true},
		{[]string{"--to", "x", "--store-path", "a", "./b", "switch"}, true, 2, 1, "", true},
		{[]string{"--to", "x"}, false, 0, 1, "", true},
		{[]string{"--store-path", "a"}, false, 1, 0, "", true},
	} {
		var o readyFlags
		cmd := &cobra.Command{}
		o.flags(cmd)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		word, err := o.settle(cmd, cmd.Flags().Args(), c.action)
		if (err != nil) != c.bad || err == nil && (word != c.word || len(o.paths) != c.paths || len(o.to) != c.to) {
			t.Errorf("%q: %+v %q %v", c.args, o, word, err)
		}
	}
}

// TestCopySettings: a flag counts more than the file, and the file more than what
// is built in.
func TestCopySettings(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	if err := os.Mkdir(filepath.Join(config, "godwit"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		args []string
		want copyFlags // or
		bad  string    // in the error
	}{
		{"", nil, copyFlags{with: "godwit", compress: "auto", direct: "auto"}, ""},
		{"with = 'nix'\ncompress = 'on'", nil, copyFlags{with: "nix", compress: "on", direct: "auto"}, ""},
		{"compress = 'off'\ndirect = 'off'", nil, copyFlags{with: "godwit", compress: "off", direct: "off"}, ""},
		{"compress = 'off'\ndirect = 'off'", []string{"--direct", "--compress=ssh"}, copyFlags{with: "godwit", compress: "ssh", direct: "on"}, ""},
		{"direct = 'on'", nil, copyFlags{with: "godwit", compress: "auto", direct: "on"}, ""},
		{"direct = 'on'\ncompress = 'auto'", []string{"--copy-with=nix"}, copyFlags{with: "nix", compress: "ssh", direct: "off"}, ""},
		{"with = 'nix'", []string{"--copy-with=godwit", "--direct"}, copyFlags{with: "godwit", compress: "auto", direct: "on"}, ""},
		{"with = 'nix'", []string{"--direct"}, copyFlags{}, "--direct belongs to"},
		{"with = 'nix'", []string{"--compress=auto"}, copyFlags{}, "--compress auto belongs to"},
		{"direct = 'yes'", nil, copyFlags{}, `config.toml: copy.direct = "yes": there is auto, on and off`},
		{"direct = ''", nil, copyFlags{}, `copy.direct = ""`},
		{"direct = 'yes'", []string{"--direct=off"}, copyFlags{with: "godwit", compress: "auto", direct: "off"}, ""},
		{"", []string{"--direct=never"}, copyFlags{}, "--direct=never: there is auto, on and off"},
		{"", []string{"--compress=yes"}, copyFlags{}, "--compress=yes: there is auto, on, off and ssh"},
		{"compression = 'on'", nil, copyFlags{}, "unknown setting copy.compression"},
		{"direct = true", nil, copyFlags{}, "config.toml:2: copy.direct does not take a value of the type boolean"},
	} {
		if err := os.WriteFile(filepath.Join(config, "godwit", "config.toml"), []byte("[copy]\n"+c.file+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var o copyFlags
		cmd := &cobra.Command{}
		o.flags(cmd)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		err := new(app).settleCopy(cmd, &o)
		switch {
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%q %q: %+v, error %v", c.file, c.args, o, err)
		case c.bad == "" && (err != nil || o != c.want):
			t.Errorf("%q %q: %+v, want %+v, error %v", c.file, c.args, o, c.want, err)
		}
	}
}

// TestCopyDefaults: the page of settings says what the flags say.
func TestCopyDefaults(t *testing.T) {
	cmd := &cobra.Command{}
	new(copyFlags).flags(cmd)
	for f := range reflect.TypeFor[settings.Copy]().Fields() {
		flag := cmd.Flags().Lookup(f.Tag.Get("toml"))
		if flag == nil {
			flag = cmd.Flags().Lookup("copy-" + f.Tag.Get("toml"))
		}
		if flag == nil || flag.DefValue != f.Tag.Get("default") {
			t.Errorf("%s: %q in the settings, and the flag %+v", f.Name, f.Tag.Get("default"), flag)
		}
	}
}

func TestResolve(t *testing.T) {
	const path = "/nix/store/0c5bfdqsnrmlpxpqpvfhqkwbqmzwxw2v-x"
	link := filepath.Join(t.TempDir(), "result")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{path: path, path + "/": path, link: "", path + "/bin/sh": "", "": "", "/nix/store": ""} {
		if got, err := resolve(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}
