package vault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/identity"
	"godwit/internal/redact"
)

// TestRevealFile: files of sops and of age that other tools made.
func TestRevealFile(t *testing.T) {
	t.Cleanup(redact.Forget)
	d := &Desk{Keys: func() (*identity.Operator, error) {
		return identity.Load([]string{"../sopsfile/testdata/age.key"}, nil)
	}}
	o, err := d.operator()
	if err != nil {
		t.Fatal(err)
	}
	data, err := identity.Encrypt([]byte("of age"), o.Recipients(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, text string) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	ageFile := put("x.age", string(data))
	t.Setenv("PATH", dir)
	pgp := put("pgp.yaml", "a: b\nsops:\n  mac: x\n  pgp:\n    - fp: x\n")
	for _, c := range []struct{ file, key, want, fail string }{
		{ageFile, "", "of age", ""},
		{ageFile, "x", "", "it has no keys"},
		{"../sopsfile/testdata/plain.enc.yaml", "db/password", "hunter2 and more", ""},
		{"../sopsfile/testdata/plain.enc.ini", "db/user", "admin", ""},
		{"../sopsfile/testdata/plain.enc.yaml", "none", "", "it has no key 'none'"},
		{"../sopsfile/testdata/ssh.enc.yaml", "", "", "cannot be opened"},
		{pgp, "", "", "it has no age key, only keys of pgp"},
		{put("plain.yaml", "a: b"), "", "", "it is not a sops file"},
	} {
		got, err := d.RevealFile(t.Context(), c.file, c.key)
		if string(got) != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s %s: %q, %v", c.file, c.key, got, err)
		}
	}
	if got := redact.String("it is hunter2 and more"); got != "it is [secret]" {
		t.Error(got)
	}
	// What sops prints is taken as it is.
	if err := os.WriteFile(filepath.Join(dir, "sops"), []byte("#!/bin/sh\nprintf '%s,' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := d.RevealFile(t.Context(), pgp, "a/b"); err != nil || string(got) != `decrypt,--extract,["a"]["b"],--,`+pgp+"," {
		t.Errorf("%q %v", got, err)
	}
}
