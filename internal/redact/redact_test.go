package redact

import (
	"encoding/json"
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

// TestJSON: values lose their secrets, also those that JSON writes in another way; the text
// stays one of its schema.
func TestJSON(t *testing.T) {
	t.Cleanup(Forget)
	Know([]byte("packages"))
	Know([]byte("say \"friend\" & enter"))
	in := `{"packages": {"x" : "the packages of it"}, "n": [1, "a \u0073ay \"friend\" \u0026 enter b", "\\", ""], "y":"z"}` + "\n"
	want := `{"packages": {"x" : "the ` + Mark + ` of it"}, "n": [1, "a ` + Mark + ` b", "\\", ""], "y":"z"}` + "\n"
	if got := string(JSON([]byte(in))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(JSON([]byte(`no JSON: "packages": x`))); got != `no JSON: "`+Mark+`": x` {
		t.Error(got)
	}
}

// FuzzJSON: whatever the text is, it stays JSON, without the secret in a value.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":["secret-one",{"secret-one":null}],"\u0073ecret-one":"\u0073ecret-one"}`)
	f.Add(`"\\"`)
	f.Fuzz(func(t *testing.T, s string) {
		defer Forget()
		Know([]byte("secret-one"))
		var before, after any
		if json.Unmarshal([]byte(s), &before) != nil {
			return
		}
		out := JSON([]byte(s))
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		var look func(v any)
		look = func(v any) {
			switch v := v.(type) {
			case string:
				if strings.Contains(v, "secret-one") {
					t.Errorf("a value of %q has it", out)
				}
			case []any:
				for _, x := range v {
					look(x)
				}
			case map[string]any:
				for _, x := range v {
					look(x)
				}
			}
		}
		look(after)
	})
}
