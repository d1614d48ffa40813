package vault

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"godwit/internal/fleet"
	"godwit/internal/identity"
	"godwit/internal/secrets/bundle"
)

// TestWith: what a configuration declares is added to what the repository has, and wins.
func TestWith(t *testing.T) {
	dir := t.TempDir()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var plain, armored bytes.Buffer
	w, _ := age.Encrypt(&plain, key.Recipient())
	_, _ = w.Write([]byte("x"))
	_ = w.Close()
	a := armor.NewWriter(&armored)
	_, _ = a.Write(plain.Bytes())
	_ = a.Close()
	file := func(name, text string) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	declared := func(name, file string) fleet.Declared {
		return fleet.Declared{Name: name, File: file, Path: "/run/godwit/secrets/" + name, Owner: "root", Group: "root", Mode: "0400", Phase: "services"}
	}
	if b, err := With(nil, "web", nil); b != nil || err != nil {
		t.Error(b, err)
	}

	// A machine that no repository knows.
	b, err := With(nil, "web", []fleet.Declared{declared("b", file("b.age", plain.String())), declared("a", file("a.age", armored.String()))})
	if err != nil {
		t.Fatal(err)
	}
	want := &bundle.Bundle{Machine: "web", KeyFile: identity.SSHHostKeyFile, Entries: []bundle.Entry{
		{Name: "a", Mode: 0o400, Phase: bundle.Services, Age: plain.Bytes()}, {Name: "b", Mode: 0o400, Phase: bundle.Services, Age: plain.Bytes()}}}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}

	// One of the repository, of which the configuration says more; another stays as it is.
	own := &bundle.Bundle{Machine: "web", KeyFile: "/own", Recipient: "age1", Entries: []bundle.Entry{
		{Name: "db", Mode: 0o400, Phase: bundle.Services, Restart: []string{"db.service"}, Age: []byte("1")}, {Name: "z", Phase: bundle.Users, Age: []byte("2")}}}
	d := declared("db", "")
	d.Owner, d.Mode, d.Path, d.Restart = "ana", "0440", "/etc/db", []string{"app.service"}
	b, err = With(own, "web", []fleet.Declared{d})
	if err != nil {
		t.Fatal(err)
	}
	want = &bundle.Bundle{Machine: "web", KeyFile: "/own", Recipient: "age1", Entries: []bundle.Entry{
		{Name: "db", Destination: "/etc/db", User: "ana", Mode: 0o440, Phase: bundle.Services, Restart: []string{"app.service", "db.service"}, Age: []byte("1")}, own.Entries[1]}}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
	if own.Entries[0].User != "" || len(own.Entries) != 2 || len(own.Entries[0].Restart) != 1 {
		t.Errorf("what was given changed: %+v", own)
	}

	for words, wrong := range map[string]fleet.Declared{
		"godwit.secrets.new has no file, and the repository has no secret 'new' for this machine": declared("new", ""),
		"cannot read " + dir + "/none": declared("new", dir+"/none"),
		"is not a file of age":         declared("new", file("text", "hello")),
		"the mode 'x' is not an octal number": func() fleet.Declared {
			d := declared("db", "")
			d.Mode = "x"
			return d
		}(),
		"have the same destination": func() fleet.Declared {
			d := declared("new", file("c.age", plain.String()))
			d.Path = "/run/godwit/secrets/z"
			return d
		}(),
	} {
		if _, err := With(own, "web", []fleet.Declared{wrong}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %s", err, words)
		}
	}
}

// TestWithPushed: what a configuration would push is encrypted for the machine, anew each
// time; what has an action of another sort is still pushed.
func TestWithPushed(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h := fleet.Host{Name: "web", Secrets: []fleet.Secret{
		{Name: "b", From: fleet.Content{Text: "bee"}, Destination: "/run/keys/b", User: "ana", Group: "root", Permissions: "0440", Action: []string{"sudo", "systemctl", "restart", "nginx"}},
		{Name: "late", From: fleet.Content{Text: "x"}, Destination: "/run/keys/late", UploadAt: fleet.PostActivation},
		{Name: "odd", From: fleet.Content{Text: "x"}, Destination: "/run/keys/odd", Action: []string{"touch", "/x"}},
	}}
	own := &bundle.Bundle{Machine: "web", KeyFile: "/k", Recipient: key.Recipient().String(), Entries: []bundle.Entry{{Name: "c", Phase: bundle.Services}}}
	if b, err := WithPushed(context.Background(), own, h); err != nil || b != own {
		t.Errorf("nobody asked for it: %+v %v", b, err)
	}
	fleet.Settings{RestSecrets: true}.Apply(&h)
	if h.Secrets[1].Rest || h.Secrets[2].Rest {
		t.Errorf("%+v", h.Secrets)
	}
	b, err := WithPushed(context.Background(), own, h)
	if err != nil || len(b.Entries) != 2 || len(own.Entries) != 1 {
		t.Fatalf("%+v %v", b, err)
	}
	e := b.Entries[0]
	r, err := age.Decrypt(bytes.NewReader(e.Age), key)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := io.ReadAll(r)
	e.Age = nil
	if want := (bundle.Entry{Name: "b", Destination: "/run/keys/b", User: "ana", Mode: 0o440, Phase: bundle.Services, Restart: []string{"nginx.service"}, Fresh: true, Replace: true}); string(plain) != "bee" || !reflect.DeepEqual(e, want) {
		t.Errorf("%q %+v", plain, e)
	}
	for words, b := range map[string]*bundle.Bundle{
		"the repository has no identity of it": nil,
		"is both in deployment.secrets":        {Recipient: own.Recipient, Entries: []bundle.Entry{{Name: "b", Phase: bundle.Services}}},
	} {
		if _, err := WithPushed(context.Background(), b, h); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %s", err, words)
		}
	}
}
