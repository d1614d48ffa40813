package storepath

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

const hash = "0c5b2vw40dy178xlpddw65q9gf1h2186"

func TestCheck(t *testing.T) {
	for p, good := range map[string]bool{
		"/nix/store/" + hash + "-x":                                  true,
		"/nix/store/" + hash + "-x_1+2=3?.drv":                       true,
		"/tmp/store/" + hash + "-x":                                  true,
		"/nix/store/" + hash + "-" + strings.Repeat("a", 211):        true,
		"/nix/store/" + hash + "-" + strings.Repeat("a", 212):        false,
		"/nix/store/" + hash + "-":                                   false,
		"/nix/store/" + hash:                                         false,
		"/nix/store/" + hash + "-x/bin":                              false,
		"/nix/store/" + hash + "-x/":                                 false,
		"/nix/store/" + strings.Replace(hash, "0", "e", 1) + "-x":    false,
		"/nix/store/" + hash + "-x y":                                false,
		"/nix/store/" + hash + "-x\n":                                false,
		"/nix/store/" + hash + "-$(id)":                              false,
		"/nix/store/../../etc/passwd":                                false,
		"/nix/store/../../nix/store/" + hash + "-x":                  false,
		"/nix/store//" + hash + "-x":                                 false,
		"nix/store/" + hash + "-x":                                   false,
		"/" + hash + "-x":                                            false,
		"/nix//store/" + hash + "-x":                                 false,
		"/nix/../store/" + hash + "-x":                               false,
		"":                                                           false,
		"-rf":                                                        false,
		"/nix/store/" + hash + "-x/../../../etc/" + hash + "-passwd": false,
	} {
		if err := Check(p); (err == nil) != good {
			t.Errorf("%q: %v", p, err)
		}
	}
	if CheckDrv("/nix/store/"+hash+"-x.drv") != nil || CheckDrv("/nix/store/"+hash+"-x") == nil || CheckDrv("/nix/store/../../etc/passwd.drv") == nil {
		t.Error("derivations")
	}
}

func TestParts(t *testing.T) {
	const top = "/nix/store/" + hash + "-linux-6.12.55"
	for p, want := range map[string][3]string{
		top:                            {top, "linux-6.12.55", "0c5b2vw4…-linux-6.12.55"},
		top + "/bzImage":               {top, "linux-6.12.55", "0c5b2vw4…-linux-6.12.55"},
		"/usr/lib/systemd":             {"/usr/lib/systemd", "systemd", "/usr/lib/systemd"},
		"/nix/store/short":             {"/nix/store/short", "short", "/nix/store/short"},
		top + "/../../../etc/shadow":   {top + "/../../../etc/shadow", "shadow", top + "/../../../etc/shadow"},
		"/nix/store/" + hash + "x/etc": {"/nix/store/" + hash + "x/etc", "etc", "/nix/store/" + hash + "x/etc"},
	} {
		if got := [3]string{Top(p), Name(p), Short(p)}; got != want {
			t.Errorf("%s: %q", p, got)
		}
	}
	if _, inside, ok := Cut(top + "/specialisation/x"); !ok || inside != "specialisation/x" {
		t.Error(inside)
	}
}

// As Nix 2.8, 2.26 and 2.34 name a tree of this hash.
func TestOfNAR(t *testing.T) {
	sum, err := base64.StdEncoding.DecodeString("hO4w7HFD3OTkUbRYtYgE4infTGMbTgX3EV/j7AKIlYA=")
	if err != nil {
		t.Fatal(err)
	}
	if got := OfNAR("/nix/store", "source", [32]byte(sum)); got != "/nix/store/4cjr28jdlyalrwk0xp2ips80mg49fzbv-source" {
		t.Error(got)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("/nix/store/" + hash + "-x.drv")
	f.Add("/nix/store/../../etc/passwd")
	f.Fuzz(func(t *testing.T, p string) {
		if Check(p) == nil && (strings.Contains(p, "..") && strings.Contains(p, "/../") || strings.ContainsAny(p, " \n\x00'\"$`;")) {
			t.Errorf("%q was taken", p)
		}
		_, _, _ = Cut(p)
		_, _ = Name(p), Short(p)
	})
}

func TestBase32(t *testing.T) {
	for n := range 40 {
		b := make([]byte, n)
		for k := range b {
			b[k] = byte(37*k + 11*n)
		}
		s := Base32(b)
		if got, ok := FromBase32(s); !ok || !bytes.Equal(got, b) {
			t.Errorf("%x is %s, which is %x", b, s, got)
		}
	}
	for _, s := range []string{"e0", "0!", "zz", "z" + strings.Repeat("0", 51)} {
		if got, ok := FromBase32(s); ok {
			t.Errorf("%s is %x", s, got)
		}
	}
}
