package sealed

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/identity"
	"godwit/internal/ui/text/texttest"
)

func TestAge(t *testing.T) {
	web, _, err := identity.NewSSH("web")
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := identity.NewSSH("other")
	age, _, _ := identity.NewAge(false)
	file := func(to ...string) string {
		data, err := identity.Encrypt([]byte("x"), to, nil)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(t.TempDir(), "x.age")
		if err := os.WriteFile(at, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return at
	}
	junk := filepath.Join(t.TempDir(), "junk")
	_ = os.WriteFile(junk, []byte("plain text"), 0o644)
	for name, c := range map[string]struct {
		s    fleet.Sealed
		keys []string
		want string
	}{
		"for it":                  {fleet.Sealed{File: file(other, web), Only: true}, []string{web + " root@web"}, ""},
		"for others":              {fleet.Sealed{File: file(other, age), Only: true}, []string{web}, "encrypted for 2 other keys"},
		"it may have other keys":  {fleet.Sealed{File: file(other, age)}, []string{web}, ""},
		"its keys are not known":  {fleet.Sealed{File: file(other), Only: true}, nil, ""},
		"a certificate authority": {fleet.Sealed{File: file(other), Only: true}, []string{"@cert-authority " + web}, ""},
		"there is no file":        {fleet.Sealed{File: "/no/such", Only: true}, []string{web}, "no such file"},
		"it is no file of age":    {fleet.Sealed{File: junk}, nil, "not an age file"},
	} {
		c.s.Tool, c.s.Name = "agenix", "x"
		if got := problem(c.s, c.keys); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestSops: files that sops wrote for a key of age and for an ssh key.
func TestSops(t *testing.T) {
	pub, err := os.ReadFile("../sopsfile/testdata/ssh.key.pub")
	if err != nil {
		t.Fatal(err)
	}
	s := fleet.Sealed{Tool: "sops-nix", Name: "x", Format: "yaml", Key: "db/password", Only: true, File: "../sopsfile/testdata/ssh.enc.yaml"}
	if got := problem(s, []string{string(pub)}); got != "" {
		t.Error(got)
	}
	other, _, _ := identity.NewSSH("x")
	if got := problem(s, []string{other}); !strings.Contains(got, "encrypted for 1 other keys") {
		t.Error(got)
	}
	s.Key = "db/nothing"
	if got := problem(s, nil); !strings.Contains(got, "it has no key 'db/nothing'") {
		t.Error(got)
	}
	s.File, s.Key = "../sopsfile/testdata/plain.enc.json", "token"
	s.Format = "json"
	if got := problem(s, []string{other}); !strings.Contains(got, "other keys") {
		t.Error(got)
	}
}

func TestPreflight(t *testing.T) {
	web, _, _ := identity.NewSSH("web")
	hosts := []fleet.Host{
		{Name: "ok"},
		{Name: "bad", Profiles: []fleet.Profile{{Name: "system", Sealed: []fleet.Sealed{{Tool: "agenix", Name: "a", File: "/no/a"}, {Tool: "agenix", Name: "b", File: "/no/b"}}}}},
	}
	asked := 0
	err := Preflight(context.Background(), hosts, func(context.Context, fleet.Host) []string { asked++; return []string{web} })
	if err == nil || asked != 1 {
		t.Fatal(err, asked)
	}
	want := "error: bad: it cannot open 2 secrets of its configuration; nothing was copied\n  secret 'a': /no/a cannot be read: no such file or directory\n  secret 'b': /no/b cannot be read: no such file or directory\n" +
		"hint: add the host's key to secrets.nix, then: agenix --rekey\nhint: --accept-risk=closed-secret deploys anyway\n"
	if got := fault.Render(err); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("age-encryption.org/v1\n-> ssh-ed25519 x y\nabc\n--- mac\nbody"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, w := range func() [][]string { s, _ := header(data); return s }() {
			if len(w) == 0 {
				t.Error("a stanza without a word")
			}
		}
	})
}

// FuzzProblem: whatever lies where a secret should, of agenix or sops-nix, is judged, and what
// is said of it does no harm to a terminal.
func FuzzProblem(f *testing.F) {
	web, _, err := identity.NewSSH("web")
	if err != nil {
		f.Fatal(err)
	}
	data, err := identity.Encrypt([]byte("x"), []string{web}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, "", byte(0))
	for i, name := range []string{"plain.enc.yaml", "plain.enc.json", "plain.enc.env", "plain.enc.ini", "plain.enc.bin"} {
		data, err := os.ReadFile("../sopsfile/testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "db/password", byte(i))
	}
	f.Add([]byte("a: \x1b[2J\nsops: {mac: x, age: [{recipient: \x1b, enc: x}]}"), "\x1b", byte(0))
	at := filepath.Join(f.TempDir(), "secret")
	formats := []string{"yaml", "json", "dotenv", "ini", "binary"}
	f.Fuzz(func(t *testing.T, data []byte, key string, format byte) {
		if err := os.WriteFile(at, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tool := range []string{"agenix", "sops-nix"} {
			s := fleet.Sealed{Tool: tool, Name: "a", File: at, Format: formats[int(format)%len(formats)], Key: key, Only: true}
			if err := check("web", []fleet.Sealed{s}, []string{web}); err != nil {
				if err := texttest.Harmless(fault.Render(err)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
