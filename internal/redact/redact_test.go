package redact

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	t.Cleanup(Forget)
	if got := String("nothing is known"); got != "nothing is known" {
		t.Error(got)
	}
	Know([]byte("correct horse battery\n"))
	Know([]byte("abc"))
	Know([]byte("Secret\n"))
	Know([]byte("-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END KEY-----\n"))
	Know([]byte("DB_PASS=\"s3cr3t-of-db\"\n"))
	Know([]byte("it's \"quoted\""))
	for in, want := range map[string]string{
		"say correct horse battery twice: correct horse battery": "say [secret] twice: [secret]",
		"Y29ycmVjdCBob3JzZSBiYXR0ZXJ5":                           Mark,
		"636f727265637420686f72736520626174746572790a":           Mark,
		"pass=correct+horse+battery&x=1":                         "pass=[secret]&x=1",
		"a Secret that is a word of ours":                        "a Secret that is a word of ours",
		"abc is too short to hide":                               "abc is too short to hide",
		"x MC4CAQAwBQYDK2VwBCIEIA y":                             "x [secret] y",
		"-----BEGIN KEY-----":                                    "-----BEGIN KEY-----",
		"login with s3cr3t-of-db":                                "login with [secret]",
		`{"v":"it's \"quoted\""}`:                                `{"v":"[secret]"}`,
		`echo 'it'\''s "quoted"'`:                                `echo '[secret]'`,
	} {
		if got := String(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if got := string(Bytes([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("correct horse", "a ", " b")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		defer Forget()
		Know([]byte(secret))
		s := strings.TrimSpace(secret)
		if len(s) < Least || common[strings.ToLower(s)] || strings.Contains(Mark, s) || strings.HasPrefix(s, "-----") || strings.HasPrefix(s, "#") {
			return
		}
		got := String(before + "\n" + s + "\n" + after)
		if before == "" && after == "" && strings.Contains(got, s) {
			t.Errorf("%q in %q", s, got)
		}
	})
}
