// Package settings reads config.toml, the user's own file: what a person decided once
// for all fleets. It is read as a whole and at once, so that a word that godwit does
// not know is an error whichever command meets it.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/paths"
	"godwit/internal/regular"
)

// Settings are what the file says. An empty value says nothing.
//
// The tags are the only list of what there is: the decoder, the error for an unknown
// name and the reference page all read them. "doc" is Markdown, "default" is what holds
// without the setting.
type Settings struct {
	Builder Builder `toml:"builder" doc:"Who builds: [builders.md](../builders.md)."`
	Deploy  Deploy  `toml:"deploy" doc:"What a deploy may do without asking: [plan.md](../plan.md)."`
	Copy    Copy    `toml:"copy" doc:"How closures travel: [copying.md](../copying.md)."`

	file string
}

// Builder is the table of builders.
type Builder struct {
	Default   string     `toml:"default" default:"auto" doc:"what --builder takes, for hosts that do not choose"`
	Engine    string     `toml:"engine" default:"the first that works" doc:"container engine: docker, podman or nerdctl"`
	Image     string     `toml:"image" default:"the official nixos/nix, pinned" doc:"image of the container builder"`
	ImageFile string     `toml:"image-file" doc:"archive of an image (docker save), loaded when the engine does not know the image; relative to the file of settings"`
	Network   string     `toml:"network" default:"default" doc:"network of the container: default or none; with none nothing can be fetched"`
	SSH       []SSHStore `toml:"ssh" doc:"A further builder, reached over ssh. The table may occur several times."`
}

// SSHStore is one [[builder.ssh]].
type SSHStore struct {
	URI      string   `toml:"uri" doc:"its address, ssh-ng://USER@HOST or ssh://USER@HOST; required"`
	Systems  []string `toml:"systems" doc:"platforms that it builds for; required"`
	Features []string `toml:"features" default:"those that Nix gives every Linux machine" doc:"what derivations may require of it (requiredSystemFeatures)"`
}

// Deploy is the table of deploys.
type Deploy struct {
	Yes        bool     `toml:"yes" default:"false" doc:"answer yes when a deploy asks, as --yes; it accepts no risk"`
	AcceptRisk []string `toml:"accept-risk" doc:"risks that are accepted, as --accept-risk"`
}

// Copy is the table of copies. A nil field was not set.
type Copy struct {
	With     *string `toml:"with" default:"godwit" doc:"godwit or nix, as --copy-with"`
	Compress *string `toml:"compress" default:"auto" doc:"auto, on, off or ssh, as --compress"`
	Direct   *string `toml:"direct" default:"auto" doc:"auto, on or off, as --direct"`
}

// File is where the settings came from: the path of config.toml, also when it is not
// there, or "" on a machine without a home directory.
func (s *Settings) File() string { return s.file }

// Load reads the user's file (paths.Config). Without one, or without a home directory,
// nothing is set.
func Load() (*Settings, error) {
	file, err := paths.Config()
	if err != nil {
		return &Settings{}, nil //nolint:nilerr // no home directory: no file
	}
	return Read(file)
}

// limit is what a file that a person writes by hand never reaches, in bytes.
const limit = 1 << 20

// Read reads one file. A missing one sets nothing. Errors name the file and the line.
func Read(file string) (*Settings, error) {
	s := &Settings{file: file}
	text, err := regular.Read(file, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	if err := Decode(file, strings.TrimPrefix(string(text), "\ufeff"), s); err != nil {
		return nil, err
	}
	if b := &s.Builder; b.ImageFile != "" && !filepath.IsAbs(b.ImageFile) {
		b.ImageFile = filepath.Join(filepath.Dir(file), b.ImageFile)
	}
	return s, nil
}

// Decode reads the text of a file of TOML into a struct whose fields have tags. What the
// struct has no place for is an error that names the nearest name there is. Errors begin
// with the file, and the line where there is one.
func Decode(file, text string, into any) error {
	err := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(into)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		e := unknown.Errors[0]
		row, _ := e.Position()
		return unknownName(file, row, reflect.TypeOf(into).Elem(), e.Key(), strings.Contains(e.Error(), "table"))
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		row, _ := bad.Position()
		msg := strings.TrimPrefix(bad.Error(), "toml: ")
		// The library goes on with a type of Go.
		if what, _, ok := strings.Cut(msg, " into "); ok && strings.HasPrefix(what, "cannot decode TOML ") {
			msg = strings.Join(bad.Key(), ".") + " does not take a value of the type " + strings.TrimPrefix(what, "cannot decode TOML ")
		}
		return fault.New("%s:%d: %s", file, row, msg).Because(err)
	}
	if err != nil {
		return fault.New("%s: %s", file, strings.TrimPrefix(err.Error(), "toml: ")).Because(err)
	}
	return nil
}

// unknownName is the error for a name that there is none of, in the table where it stands.
func unknownName(file string, row int, whole reflect.Type, key []string, isTable bool) error {
	in, name := whole, key[len(key)-1]
	var table []string
	for i, k := range key {
		next, ok := entry(in, k)
		if !ok || next.Kind() != reflect.Struct {
			name = key[i]
			break
		}
		in, table = next, append(table, k)
	}
	known := names(in)
	what := "setting"
	if isTable {
		what = "table"
	}
	f := fault.New("%s:%d: unknown %s %s", file, row, what, strings.Join(key, "."))
	// Inside of braces the library leaves out the name of the table, and a setting may
	// have been put above the table that it belongs to: both are found by name.
	near := fleet.Nearest(name, known)
	if near != "" {
		near = strings.Join(append(table, near), ".")
	} else if len(table) == 0 {
		near = elsewhere(whole, "", name)
	}
	if near != "" {
		f.Hint("did you mean %s?", near)
	}
	return f.Hint("known: %s", fault.Raw(strings.Join(known, ", ")))
}

// elsewhere is the full name of a setting of any table that is called name, or almost so.
func elsewhere(in reflect.Type, prefix, name string) string {
	for _, n := range names(in) {
		if t, _ := entry(in, n); t.Kind() == reflect.Struct {
			if found := elsewhere(t, prefix+n+".", name); found != "" {
				return found
			}
		} else if n == name || fleet.Nearest(name, []string{n}) != "" {
			return prefix + n
		}
	}
	return ""
}

// tag is the name that a field has in a file; "" for one that has none there.
func tag(f reflect.StructField) string {
	n, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
	return strings.TrimPrefix(n, "-")
}

// names are those of a table, in the order of the declaration.
func names(table reflect.Type) (all []string) {
	for f := range table.Fields() {
		if n := tag(f); n != "" {
			all = append(all, n)
		}
	}
	return all
}

// entry is the type of what a table has under a name, of a list of tables that of one.
func entry(table reflect.Type, name string) (reflect.Type, bool) {
	for f := range table.Fields() {
		if n := tag(f); n == "" || !strings.EqualFold(n, name) {
			continue
		}
		t := f.Type
		if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
			t = t.Elem()
		}
		return t, true
	}
	return nil, false
}

// Reference is the reference page of all settings, in Markdown, without a title.
func Reference() string {
	var b strings.Builder
	var table func(t reflect.Type, prefix string)
	table = func(t reflect.Type, prefix string) {
		rows := false
		for f := range t.Fields() {
			name := f.Tag.Get("toml")
			if in, ok := entry(t, name); !ok || in.Kind() == reflect.Struct {
				continue
			}
			if !rows {
				b.WriteString("| setting | type | without it | what |\n|---|---|---|---|\n")
				rows = true
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind(f.Type), f.Tag.Get("default"), f.Tag.Get("doc"))
		}
		if rows {
			b.WriteString("\n")
		}
		for f := range t.Fields() {
			name := f.Tag.Get("toml")
			if in, ok := entry(t, name); ok && in.Kind() == reflect.Struct {
				head := "[" + prefix + name + "]"
				if f.Type.Kind() == reflect.Slice {
					head = "[" + head + "]"
				}
				fmt.Fprintf(&b, "## `%s`\n\n%s\n\n", head, f.Tag.Get("doc"))
				table(in, prefix+name+".")
			}
		}
	}
	table(reflect.TypeFor[Settings](), "")
	return b.String()
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "list of " + kind(t.Elem()) + "s"
	case reflect.Bool:
		return "true or false"
	}
	return t.Kind().String()
}
