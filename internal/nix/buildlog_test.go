package nix

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nixlog"
)

// The logs are recorded by internal/nixlog/testdata/record.sh.
func TestBuildLogOfVersions(t *testing.T) {
	for _, v := range []string{"2.8.0", "2.26.3", "2.34.8"} {
		read := func(name string) *nixlog.BuildLog {
			t.Helper()
			b, err := os.ReadFile(filepath.Join("../nixlog/testdata/nix-"+v, name+".log"))
			if err != nil {
				t.Fatal(err)
			}
			l := nixlog.NewBuildLog(event.Scope{})
			for len(b) > 0 { // in pieces, as a pipe gives it
				n := min(len(b), 1000)
				if _, err := l.Write(b[:n]); err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
			l.Close()
			return l
		}
		one := func(name string) nixlog.Failure {
			t.Helper()
			f := read(name).Failures()
			if len(f) != 1 {
				t.Fatalf("%s %s: failures %+v", v, name, f)
			}
			return f[0]
		}
		if f := one("fail"); DrvName(f.Drv) != "nixlog-bad" || f.Reason != "builder failed with exit code 3" || len(f.Log) != 20 || f.Log[19] != "cc: error: no such file: foo.c" {
			t.Errorf("%s fail: %+v", v, f)
		}
		if f := one("foreign"); f.Required != "riscv64-linux" || f.Have != "x86_64-linux" || f.Reason != "it needs a builder for riscv64-linux; this one is x86_64-linux" {
			t.Errorf("%s foreign: %+v", v, f)
		}
		if f := one("mismatch"); DrvName(f.Drv) != "nixlog-mismatch" || f.Reason != "hash mismatch in fixed-output derivation nixlog-mismatch" || !strings.Contains(strings.Join(f.Log, "\n"), "got:") {
			t.Errorf("%s mismatch: %+v", v, f)
		}
		if l := read("timeout"); len(l.Failures()) == 0 && !strings.Contains(l.Last(nil), "timed out after 2 seconds") {
			t.Errorf("%s timeout: %+v %q", v, l.Failures(), l.Errors())
		}
		if l := read("ok"); len(l.Failures()) != 0 || len(l.Errors()) != 0 {
			t.Errorf("%s ok: %+v %q", v, l.Failures(), l.Errors())
		}
		// Roots that share what failed, below another one.
		graph := map[string]*Derivation{
			"/s/web1.drv": {InputDrvs: []InputDrv{{Path: "/s/mid.drv"}}},
			"/s/mid.drv":  {InputDrvs: []InputDrv{{Path: one("fail").Drv}}},
			"/s/odd.drv":  {},
		}
		errs := ExplainFailures(read("fail"), []string{"/s/web1.drv", "/s/odd.drv"}, func(p string) (*Derivation, error) {
			if d := graph[p]; d != nil {
				return d, nil
			}
			return nil, errors.New("not there")
		}, errors.New("exit status 100"), nil)
		text := fault.Render(errs["/s/web1.drv"])
		if !strings.Contains(text, "building nixlog-bad failed: builder failed with exit code 3") || !strings.Contains(text, "| step 24") {
			t.Errorf("%s: %s", v, text)
		}
		if errs["/s/odd.drv"] == nil {
			t.Errorf("%s: no reason for what Nix does not name", v)
		}
	}
}
