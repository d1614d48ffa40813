package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// sopsVersion is the sops that godwit is held against.
const sopsVersion = "v3.13.3"

// TestSopsProgram lets sops itself, as it is made from its module, write files of every format
// with every sort of rule, and change them; godwit reads what sops reads. What godwit leaves to
// sops it gets from there.
func TestSopsProgram(t *testing.T) {
	if os.Getenv("GODWIT_TEST_SOPS") == "" {
		t.Skip("building sops takes minutes: GODWIT_TEST_SOPS=1 asks for it; internal/sopsfile has files that it wrote")
	}
	bin := programs(t)
	install := exec.Command("go", "install", "github.com/getsops/sops/v3/cmd/sops@"+sopsVersion)
	install.Env = append(os.Environ(), "GOBIN="+bin)
	install.Dir = t.TempDir() // it is no part of this module
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("cannot build sops: %v\n%s", err, out)
	}
	p := newPerson(t, bin)
	p.does("", "age-keygen", "-o", "key")
	p.does("", "age-keygen", "-o", "second")
	p.does("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", filepath.Join(p.dir, "ssh"))
	age := strings.TrimSpace(p.does("", "age-keygen", "-y", "key"))
	second := strings.TrimSpace(p.does("", "age-keygen", "-y", "second"))
	p.file("both", p.read("key")+"\n"+p.read("second")+"\n")
	p.env = append(p.env, "SOPS_AGE_KEY_FILE="+filepath.Join(p.dir, "both"), "SOPS_AGE_SSH_PRIVATE_KEY_FILE="+filepath.Join(p.dir, "ssh"), "EDITOR=false")

	compare := func(what, file, identity string) {
		t.Helper()
		want := p.does("", "sops", "decrypt", file)
		got, err := p.tries("", "godwit", "secrets", "show", "--encrypted", file, "--identity", identity)
		if err != nil {
			t.Errorf("%s: %v\n%s", what, err, want)
			return
		}
		if a, b := meaning(file, got), meaning(file, want); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: got\n%#v\nwant\n%#v", what, a, b)
		}
	}
	rules := []string{"", "mac_only_encrypted: true", "encrypted_regex: '^k[0-4]'", "unencrypted_regex: '^k[0-4]'",
		"unencrypted_suffix: '3'", "encrypted_suffix: '3'", "encrypted_regex: '^k[0-4]'\n    mac_only_encrypted: true",
		"encrypted_comment_regex: secret", "unencrypted_comment_regex: open"}
	rnd := rand.New(rand.NewPCG(1, 2))
	n := 0
	for _, format := range []string{"yaml", "json", "env", "ini", "bin"} {
		for r, rule := range rules {
			if rule != "" && (format == "bin" || strings.Contains(rule, "comment") && format != "yaml") {
				continue
			}
			for to, identity := range map[string]string{age: "key", p.read("ssh.pub"): "ssh", second + "," + age: "key"} {
				n++
				file := fmt.Sprintf("f%d.%s", n, format)
				p.file(file, content(rnd, format))
				what := fmt.Sprintf("%s, rule %d, for %s", file, r, identity)
				p.file(".sops.yaml", "creation_rules:\n  - age: '"+to+"'\n    "+rule+"\n")
				p.does("", "sops", "encrypt", "-i", file)
				compare(what, file, identity)
				if n%3 == 0 { // the life of a file
					if format == "yaml" || format == "json" {
						p.does("", "sops", "set", file, `["k0"]`, `"changed"`)
						compare(what+", changed", file, identity)
					}
					p.does("", "sops", "rotate", "-i", file)
					compare(what+", rotated", file, identity)
				}
			}
		}
	}
	t.Logf("%d files", n)

	// A key that is split over groups is for sops alone, also where all are keys of age.
	p.file(".sops.yaml", fmt.Sprintf("creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n      - age: ['%s']\n      - age: ['%s']\n", age, second))
	p.file("groups.yaml", "a: {b: of both}\n")
	p.does("", "sops", "encrypt", "-i", "groups.yaml")
	compare("groups", "groups.yaml", "key")
	if got := p.does("", "godwit", "secrets", "show", "--encrypted", "groups.yaml", "--key", "a/b"); strings.TrimSpace(got) != "of both" {
		t.Errorf("groups: %q", got)
	}
	p.env = append(p.env, "SOPS_AGE_KEY_FILE="+filepath.Join(p.dir, "key"))
	if got, err := p.tries("", "godwit", "secrets", "show", "--encrypted", "groups.yaml"); err == nil || !strings.Contains(err.Error(), "sops says:") || !strings.Contains(err.Error(), "its key is split over several groups") {
		t.Errorf("groups, with one key: %q %v", got, err)
	}
}

// meaning is what a text of a format says: comments, quotes and blanks are no matter.
func meaning(file, text string) any {
	switch filepath.Ext(file) {
	case ".yaml", ".json":
		var all []any
		for d := yaml.NewDecoder(strings.NewReader(text)); ; {
			var v any
			if err := d.Decode(&v); err != nil {
				if len(all) == 0 {
					return err.Error() + text
				}
				return all
			}
			all = append(all, v)
		}
	case ".bin":
		return text
	}
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
			k, v, _ := strings.Cut(line, "=")
			out = append(out, strings.TrimSpace(k)+"="+strings.Trim(strings.TrimSpace(v), "`\""))
		}
	}
	return out
}

// content is a plain file of a format.
func content(rnd *rand.Rand, format string) string {
	var b strings.Builder
	words := []string{"hunter2", "ünïcode ☃", "a: b", "#no comment", "x=y", "'quoted'", "C:\\dir", "2020-01-01", "yes", "0123", "null", "~", "1e3", " blanks ", "a,b:c", "ENC[no"}
	word := func() string { return words[rnd.IntN(len(words))] }
	switch format {
	case "bin":
		for range rnd.IntN(5000) {
			b.WriteByte(byte(rnd.IntN(256)))
		}
	case "env":
		b.WriteString("# a comment\n")
		for i := range 9 {
			fmt.Fprintf(&b, "k%d=%s\n", i, strings.TrimSpace(word()))
		}
	case "ini":
		for s := range 3 {
			fmt.Fprintf(&b, "[section%d]\n; a comment\n", s)
			for i := range 5 {
				fmt.Fprintf(&b, "k%d = %s\n", i, []string{"hunter2", "ünïcode ☃", "x=y", "2020-01-01", "0123", "a,b:c", "two words"}[rnd.IntN(7)])
			}
		}
	case "json":
		fmt.Fprintf(&b, `{"k0": %q, "k1": 12, "k2": 1.5, "k3": true, "k4": null, "k5": "", "k6": {"k1": [1, "two", {"k3": %q}, [false]], "with.dot": "x", "with:colon": %q}, "k7": 9007199254740993, "k8": -1.0e-7, "k9": {}}`, "é "+words[rnd.IntN(5)], words[rnd.IntN(5)], words[rnd.IntN(5)])
	case "yaml":
		b.WriteString("# a secret comment\n")
		for i := range 6 {
			comment := ""
			if rnd.IntN(3) == 0 {
				comment = " # " + []string{"secret", "open", "other"}[rnd.IntN(3)]
			}
			if rnd.IntN(3) == 0 {
				fmt.Fprintf(&b, "# %s\n", []string{"secret", "open", "other"}[rnd.IntN(3)])
			}
			fmt.Fprintf(&b, "k%d: '%s'%s\n", i, strings.ReplaceAll(word(), "'", "''"), comment)
		}
		fmt.Fprintf(&b, "k6:\n  # inside\n  k1: [1, 2.5, true, null, 'x']\n  k2:\n    - one # of the list\n    - k3: deep\n      k9: |\n        several\n        lines\n  'with.dot': a\n  'with:colon': b\nk7: %d\nk8: %g\nk9: 2001-12-14t21:59:43.10-05:00\nk10: !!str 17\nk11: ''\n", rnd.Int64(), rnd.NormFloat64())
		if rnd.IntN(3) == 0 {
			b.WriteString("---\nk0: second document\nk1: [a, b]\n")
		}
	}
	return b.String()
}
