package sopsfile

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"godwit/internal/identity"
)

// opener opens with the keys of testdata.
func opener(t *testing.T) Opener {
	t.Helper()
	o, err := identity.Load([]string{"testdata/age.key", "testdata/ssh.key"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(armored []byte, recipient string) ([]byte, error) { return o.Open("data key", armored, recipient) }
}

// TestReal: files that sops 3.13.3 wrote, and what it says is in them.
func TestReal(t *testing.T) {
	all, err := filepath.Glob("testdata/*.enc.*")
	if err != nil || len(all) < 9 {
		t.Fatalf("%q %v", all, err)
	}
	for _, name := range all {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.Replace(name, ".enc.", ".dec.", 1))
			if err != nil {
				t.Fatal(err)
			}
			format := Format(name)
			f, err := Parse(data, format)
			if err != nil {
				t.Fatal(err)
			}
			if why := f.Meta().NeedsSops(); why != "" || len(f.Meta().Age) != 1 {
				t.Errorf("%q %+v", why, f.Meta())
			}
			if err := f.Decrypt(opener(t)); err != nil {
				t.Fatal(err)
			}
			got, err := f.Plain()
			if err != nil {
				t.Fatal(err)
			}
			if !same(t, format, got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// same compares what two texts of a format say; comments and quotes are no matter.
func same(t *testing.T, format string, a, b []byte) bool {
	t.Helper()
	switch format {
	case "yaml":
		var x, y any
		if err := yaml.Unmarshal(a, &x); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(b, &y); err != nil {
			t.Fatal(err)
		}
		return reflect.DeepEqual(x, y)
	case "json":
		var x, y any
		if err := json.Unmarshal(a, &x); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &y); err != nil {
			t.Fatal(err)
		}
		return reflect.DeepEqual(x, y)
	case "binary":
		return bytes.Equal(a, b)
	}
	lines := func(text []byte) []string {
		var out []string
		for _, l := range strings.Split(string(text), "\n") {
			if l = strings.TrimSpace(l); l != "" && l[0] != '#' && l[0] != ';' {
				k, v, _ := strings.Cut(l, "=")
				out = append(out, strings.TrimSpace(k)+"="+strings.TrimSpace(v))
			}
		}
		return out
	}
	return reflect.DeepEqual(lines(a), lines(b))
}

func TestValue(t *testing.T) {
	data, _ := os.ReadFile("testdata/plain.enc.yaml")
	f, err := Parse(data, "yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Decrypt(opener(t)); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{"db/password": "hunter2 and more", "db/port": "5432", "list/0": "one", "list/1/three/1": "y", "text": "line one\nline two\n"} {
		if got, err := f.Value(at); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", at, got, err)
		}
	}
	if _, err := f.Value("db/none/such"); err == nil {
		t.Error("a key that is not there has a value")
	}
}

// TestChanged: whatever is changed without sops is noticed.
func TestChanged(t *testing.T) {
	data, _ := os.ReadFile("testdata/plain.enc.yaml")
	text := string(data)
	lines := strings.Split(text, "\n")
	find := func(s string) string {
		for _, l := range lines {
			if strings.Contains(l, s) {
				return l
			}
		}
		t.Fatalf("no %s", s)
		return ""
	}
	password, ratio := find("password:"), find("ratio:")
	value := func(line string) string { _, v, _ := strings.Cut(line, ": "); return v }
	for name, changed := range map[string]string{
		"a value in clear":  strings.Replace(text, "plain_unencrypted: in clear", "plain_unencrypted: other", 1),
		"a value that went": strings.Replace(text, ratio+"\n", "", 1),
		"values exchanged":  strings.NewReplacer(value(password), value(ratio), value(ratio), value(password)).Replace(text),
		"a value replaced":  strings.Replace(text, value(password), "mallory", 1),
		"the time":          strings.Replace(text, "lastmodified: \"20", "lastmodified: \"19", 1),
	} {
		if changed == text {
			t.Fatalf("%s: the test changes nothing", name)
		}
		f, err := Parse([]byte(changed), "yaml")
		if err == nil {
			err = f.Decrypt(opener(t))
		}
		if err == nil {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

func TestNotForAge(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\nsops:\n  mac: x\n  pgp:\n    - fp: x\n":                                       "only keys of pgp",
		"a: b\nsops:\n  mac: x\n  shamir_threshold: 2\n  key_groups: [{age: []}, {age: []}]": "several groups",
		"a: b\nsops:\n  mac: x\n":                                                            "no key at all",
	} {
		f, err := Parse([]byte(text), "yaml")
		if err != nil {
			t.Fatal(err)
		}
		if why := f.Meta().NeedsSops(); !strings.Contains(why, want) {
			t.Errorf("%q: %q", text, why)
		}
	}
	for text, want := range map[string]string{"": "empty", "a: b": "not a sops file", "- a": "not a map", "a: [": "not YAML", "a: &x b\nc: *x\nsops: {mac: x}": "aliases", "sops: 3": "metadata"} {
		if _, err := Parse([]byte(text), "yaml"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzSops: whatever a file says, in each format. The key is that of the test's own files, so
// that what is behind it is tried, too, where it still fits.
func FuzzSops(f *testing.F) {
	o, err := identity.Load([]string{"testdata/age.key", "testdata/ssh.key"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	formats := []string{"yaml", "json", "dotenv", "ini", "binary"}
	keys := map[string][]byte{} // opening one takes longer than all else
	all, _ := filepath.Glob("testdata/*.enc.*")
	for _, name := range all {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, byte(slices.Index(formats, Format(name))))
		file, err := Parse(data, Format(name))
		if err != nil {
			f.Fatal(err)
		}
		for _, k := range file.meta.keys {
			plain, err := o.Open(name, []byte(k.enc), k.recipient)
			if err != nil {
				f.Fatal(err)
			}
			keys[k.enc] = plain
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, format byte) {
		file, err := Parse(data, formats[int(format)%len(formats)])
		if err != nil {
			return
		}
		err = file.Decrypt(func(enc []byte, _ string) ([]byte, error) {
			if k, ok := keys[string(enc)]; ok {
				return k, nil
			}
			return make([]byte, 32), nil
		})
		if err == nil && file.meta.mac == "" {
			t.Error("a file without a MAC is believed")
		}
		_, _ = file.Plain()
		_, _ = file.Value("a/b")
		_ = file.Meta().NeedsSops()
	})
}
