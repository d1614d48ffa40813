package nix

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Written by Nix 2.34.8, the first two; 2.8.0's are the same.
var sampleDerivations = []string{
	`Derive([("out","/nix/store/hdgbrzsl3l0298vl83nvpsb79bzq4hy5-f","","")],[],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","f"),("out","/nix/store/hdgbrzsl3l0298vl83nvpsb79bzq4hy5-f"),("requiredSystemFeatures","kvmx foo"),("system","x86_64-linux")])`,
	`Derive([("out","/nix/store/7nmixm3276sz6li44gxpr400bkbkcn7s-f","","")],[],[],"x86_64-linux","/bin/sh",[],[("__json","{\"builder\":\"/bin/sh\",\"name\":\"f\",\"preferLocalBuild\":true,\"requiredSystemFeatures\":[\"kvmx\",\"foo\"],\"system\":\"x86_64-linux\",\"x\":{\"y\":[1,\"a\\\"b\"]}}"),("out","/nix/store/7nmixm3276sz6li44gxpr400bkbkcn7s-f")])`,
	`Derive([("dev","/nix/store/d","",""),("out","/nix/store/o","","")],[("/nix/store/a.drv",["out"]),("/nix/store/b.drv",["dev","out"])],["/nix/store/src"],"aarch64-linux","/nix/store/bash",["-e","line\n\t\"quoted\" \\ \r"],[("allowSubstitutes",""),("preferLocalBuild","1")])`,
	`Derive([("out","/nix/store/x","r:sha256","0123")],[],[],"builtin","builtin:fetchurl",[],[])`,
	`Derive([("out","","r:sha256","")],[],[],"x86_64-linux","/bin/sh",[],[("requiredSystemFeatures","big-parallel")])`,
	`DrvWithVersion("xp-dyn-drv",[("out","","text:sha256","")],[("/nix/store/a.drv",(["out"],[("out",["dev"]),("x",([],[("y",["z"])]))])),("/nix/store/b.drv",["out"])],[],"x86_64-linux","/bin/sh",[],[])`,
}

func TestParseDerivation(t *testing.T) {
	var ds []*Derivation
	for _, s := range sampleDerivations {
		d, err := ParseDerivation([]byte(s))
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		ds = append(ds, d)
	}
	for i, want := range []struct {
		features []string
		builtin  bool
		out      string
	}{
		{features: []string{"foo", "kvmx"}, out: "/nix/store/hdgbrzsl3l0298vl83nvpsb79bzq4hy5-f"},
		{features: []string{"foo", "kvmx"}, out: "/nix/store/7nmixm3276sz6li44gxpr400bkbkcn7s-f"},
		{out: "/nix/store/o"},
		{builtin: true, out: "/nix/store/x"},
		{features: []string{"big-parallel", "ca-derivations"}},
		{features: []string{"ca-derivations"}},
	} {
		d := ds[i]
		if f := d.RequiredSystemFeatures(); !slices.Equal(f, want.features) {
			t.Errorf("%d: features %q, want %q", i, f, want.features)
		}
		if d.Builtin() != want.builtin || d.OutPath() != want.out {
			t.Errorf("%d: %+v", i, d)
		}
	}
	if got := ds[2]; !reflect.DeepEqual(got.InputDrvs, []InputDrv{{"/nix/store/a.drv", []string{"out"}}, {"/nix/store/b.drv", []string{"dev", "out"}}}) ||
		!slices.Equal(got.InputSrcs, []string{"/nix/store/src"}) || got.System != "aarch64-linux" || got.Args[1] != "line\n\t\"quoted\" \\ \r" {
		t.Errorf("%+v", got)
	}
	if got := ds[5].InputDrvs; len(got) != 2 || !slices.Equal(got[0].Outputs, []string{"out"}) {
		t.Errorf("dynamic: %+v", got)
	}
}

func TestParseDerivationBroken(t *testing.T) {
	whole := sampleDerivations[2]
	for i := range whole {
		if _, err := ParseDerivation([]byte(whole[:i])); err == nil {
			t.Errorf("no error for %q", whole[:i])
		}
	}
	for _, s := range []string{whole + "x", strings.Replace(whole, "Derive(", "Derive[", 1), strings.Replace(sampleDerivations[5], "xp-dyn-drv", "xp-other", 1),
		strings.Replace(sampleDerivations[1], `{\"builder`, `{builder`, 1),
		`DrvWithVersion("xp-dyn-drv",[],[("a",` + strings.Repeat(`([],[("x",`, 1000)} {
		if _, err := ParseDerivation([]byte(s)); err == nil {
			t.Errorf("no error for %q", s)
		}
	}
}

func TestDrvName(t *testing.T) {
	for in, want := range map[string]string{
		"/nix/store/1rsn0yq78x5rk78w761jvy1baqdrpy1z-nixos-system-web-24.05.drv": "nixos-system-web-24.05",
		"/nix/store/1rsn0yq78x5rk78w761jvy1baqdrpy1z-a":                          "a",
		"x.drv": "x", "": ".",
	} {
		if got := DrvName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzParseDerivation(f *testing.F) {
	for _, s := range sampleDerivations {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDerivation(b)
		if (d == nil) == (err == nil) {
			t.Fatal("one of result and error, please")
		}
		if d != nil {
			d.RequiredSystemFeatures()
			d.OutPath()
		}
	})
}

func BenchmarkParseDerivation(b *testing.B) {
	data := []byte(sampleDerivations[2])
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := ParseDerivation(data); err != nil {
			b.Fatal(err)
		}
	}
}
