package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"godwit/internal/fault"
)

func read(t *testing.T, text string) (*Settings, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(file)
}

// TestEverySetting reads a file that sets all there is: a field that the file does not
// reach would stay empty.
func TestEverySetting(t *testing.T) {
	s, err := read(t, `
[builder]
default = "container"
engine = "podman"
image = "reference"
image-file = "image.tar"
network = "none"
[[builder.ssh]]
uri = "ssh-ng://me@big"
systems = ["aarch64-linux"]
features = ["kvm"]
[[builder.ssh]]
uri = "ssh://small"
[deploy]
yes = true
accept-risk = ["dirty-tree", "ssh-change"]
[copy]
with = "nix"
compress = "off"
direct = ""
`)
	if err != nil {
		t.Fatal(err)
	}
	word := func(s string) *string { return &s }
	want := &Settings{
		file: s.file,
		Builder: Builder{Default: "container", Engine: "podman", Image: "reference", ImageFile: filepath.Join(filepath.Dir(s.file), "image.tar"), Network: "none",
			SSH: []SSHStore{{URI: "ssh-ng://me@big", Systems: []string{"aarch64-linux"}, Features: []string{"kvm"}}, {URI: "ssh://small"}}},
		Deploy: Deploy{Yes: true, AcceptRisk: []string{"dirty-tree", "ssh-change"}},
		Copy:   Copy{With: word("nix"), Compress: word("off"), Direct: word("")},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v", s)
	}
	for v, f := range fields(reflect.ValueOf(*s), "") {
		if v.IsZero() {
			t.Errorf("%s is not in this test", f)
		}
	}
}

// fields are all settings with their values, of lists the first.
func fields(v reflect.Value, prefix string) func(yield func(reflect.Value, string) bool) {
	return func(yield func(reflect.Value, string) bool) {
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("toml")
			if name == "" {
				continue
			}
			f := v.Field(i)
			if f.Kind() == reflect.Slice && f.Len() > 0 && f.Index(0).Kind() == reflect.Struct {
				f = f.Index(0)
			}
			if f.Kind() == reflect.Struct {
				fields(f, prefix+name+".")(yield)
			} else if !yield(f, prefix+name) {
				return
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string][]string{ // message, hints
		"# mine\n[deply]\nyes = true\n":                {":2: unknown table deply", "did you mean deploy?", "known: builder, deploy, copy"},
		"[deply]\n":                                    {":1: unknown table deply", "did you mean deploy?"},
		"[ui]\ncolour = 'never'\n":                     {":1: unknown table ui", "known: builder, deploy, copy"},
		"[builder]\n\nimagee = 'x'\n":                  {":3: unknown setting builder.imagee", "did you mean builder.image?", "known: default, engine, image, image-file, network, ssh"},
		"[deploy]\nforce = true\n":                     {":2: unknown setting deploy.force", "known: yes, accept-risk"},
		"[copy]\nwiht = 'nix'\n":                       {":2: unknown setting copy.wiht", "did you mean copy.with?", "known: with, compress, direct"},
		"[[builder.ssh]]\nuri = 'x'\nsystem = ['a']\n": {":3: unknown setting builder.ssh.system", "did you mean builder.ssh.systems?"},
		"[[builder.shh]]\nuri = 'x'\n":                 {":1: unknown table builder.shh", "did you mean builder.ssh?"},
		"yes = true\n[deploy]\n":                       {":1: unknown setting yes", "did you mean deploy.yes?"},
		"builder = { egnine = 'x' }\n":                 {":1: unknown setting egnine", "did you mean builder.engine?"},
		"[deploy]\nyes.no = true\n":                    {":2: deploy.yes"},
		"[builder\n":                                   {":1: expected ']'"},
		"[deploy]\nyes = 'perhaps'\n":                  {":2: deploy.yes does not take a value of the type string"},
		"[builder]\ndefault = 3\n":                     {":2: builder.default does not take a value of the type integer"},
		"[copy]\ndirect = true\n":                      {":2: copy.direct does not take a value of the type boolean"},
		"[deploy]\nyes = true\nyes = false\n":          {":3: key yes is already defined"},
		"[deploy]\naccept-risk = 'dirty-tree'\n":       {":2: deploy.accept-risk does not take a value of the type string"},
		"builder = 3\n":                                {":1: builder does not take a value of the type integer"},
		"#" + strings.Repeat("x", 1<<20):               {" is longer than 1.0 MiB"},
	} {
		s, err := read(t, text)
		var f *fault.Error
		if !errors.As(err, &f) {
			t.Errorf("%.40q: %+v, %v", text, s, err)
			continue
		}
		if !strings.Contains(f.Msg, "config.toml"+want[0]) {
			t.Errorf("%.40q: want %q in %v", text, want[0], f)
		}
		if strings.Contains(f.Msg, "struct") {
			t.Errorf("%.40q: a type of Go in %v", text, f)
		}
		for _, h := range want[1:] {
			if !strings.Contains(strings.Join(f.Hints, "\n")+"\n", h+"\n") {
				t.Errorf("%.40q: want %q in %q", text, h, f.Hints)
			}
		}
	}
}

func TestFile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	file := filepath.Join(home, ".config", "godwit", "config.toml")
	if s, err := Load(); err != nil || s.File() != file || s.Deploy.Yes {
		t.Errorf("without a file: %+v, %v", s, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	// Editors of Windows begin with a mark, and end lines with two characters.
	if err := os.WriteFile(file, []byte("\ufeff[deploy]\r\nyes = true\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Load(); err != nil || !s.Deploy.Yes {
		t.Errorf("%+v, %v", s, err)
	}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "x"))
	if s, err := Load(); err != nil || s.File() != filepath.Join(home, "x/godwit/config.toml") || s.Deploy.Yes {
		t.Errorf("%+v, %v", s, err)
	}
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	if s, err := Load(); err != nil || s.File() != "" {
		t.Errorf("without a home: %+v, %v", s, err)
	}
	pipe := filepath.Join(home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{pipe, home} {
		if _, err := Read(f); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestReference: the page says something of every setting, and has each table.
func TestReference(t *testing.T) {
	page := Reference()
	for _, part := range []string{"## `[builder]`", "## `[[builder.ssh]]`", "## `[deploy]`", "## `[copy]`", "| `accept-risk` | list of strings |  |", "| `yes` | true or false | false |"} {
		if !strings.Contains(page, part) {
			t.Errorf("%q is not in\n%s", part, page)
		}
	}
	if strings.Contains(page, "|  |\n") {
		t.Errorf("a setting without a word about it:\n%s", page)
	}
}
