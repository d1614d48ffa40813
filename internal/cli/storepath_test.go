package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/settings"
)

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
		if (err != nil) != c.bad || err == nil && (word != c.word || len(o.Paths) != c.paths || len(o.To) != c.to) {
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
		want action.Copying // or
		bad  string         // in the error
	}{
		{"", nil, action.Copying{With: "godwit", Compress: "auto", Direct: "auto"}, ""},
		{"with = 'nix'\ncompress = 'on'", nil, action.Copying{With: "nix", Compress: "on", Direct: "auto"}, ""},
		{"compress = 'off'\ndirect = 'off'", nil, action.Copying{With: "godwit", Compress: "off", Direct: "off"}, ""},
		{"compress = 'off'\ndirect = 'off'", []string{"--direct", "--compress=ssh"}, action.Copying{With: "godwit", Compress: "ssh", Direct: "on"}, ""},
		{"direct = 'on'", nil, action.Copying{With: "godwit", Compress: "auto", Direct: "on"}, ""},
		{"direct = 'on'\ncompress = 'auto'", []string{"--copy-with=nix"}, action.Copying{With: "nix", Compress: "ssh", Direct: "off"}, ""},
		{"with = 'nix'", []string{"--copy-with=godwit", "--direct"}, action.Copying{With: "godwit", Compress: "auto", Direct: "on"}, ""},
		{"with = 'nix'", []string{"--direct"}, action.Copying{}, "--direct works only"},
		{"with = 'nix'", []string{"--compress=auto"}, action.Copying{}, "--compress auto works only"},
		{"direct = 'yes'", nil, action.Copying{}, `config.toml: copy.direct = "yes": there is auto, on and off`},
		{"direct = ''", nil, action.Copying{}, `copy.direct = ""`},
		{"direct = 'yes'", []string{"--direct=off"}, action.Copying{With: "godwit", Compress: "auto", Direct: "off"}, ""},
		{"", []string{"--direct=never"}, action.Copying{}, "--direct=never: there is auto, on and off"},
		{"", []string{"--compress=yes"}, action.Copying{}, "--compress=yes: there is auto, on, off and ssh"},
		{"compression = 'on'", nil, action.Copying{}, "unknown setting copy.compression"},
		{"direct = true", nil, action.Copying{}, "config.toml:2: copy.direct does not take a value of the type boolean"},
	} {
		if err := os.WriteFile(filepath.Join(config, "godwit", "config.toml"), []byte("[copy]\n"+c.file+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var o action.Copying
		cmd := &cobra.Command{}
		copyFlags(cmd, &o)
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
	copyFlags(cmd, new(action.Copying))
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
