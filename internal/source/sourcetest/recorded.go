package sourcetest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/nix"
	"godwit/internal/nix/nixtest"
	"godwit/internal/source"
	"godwit/internal/source/reader"
)

// What Nix answered for a case is in testdata/recorded, so that the rest of it is tried
// where there is no Nix (-short): an answer goes through the reader, and must give the
// hosts that the case says. With Nix each recording is held against what Nix gives now.

var recordFlag = flag.Bool("record", false, "write what Nix answers for the cases of dialects into testdata/recorded")

// recording is what Nix said of a configuration and its hosts.
type recording struct {
	Summary map[string]any
	Hosts   map[string]json.RawMessage
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

func (c Case) recordingFile() string {
	return filepath.Join("testdata", "recorded", strings.Trim(notInNames.ReplaceAllString(strings.ToLower(c.Name), "-"), "-")+".json")
}

// recordable tells whether the answers to a case are those to the plain question.
func (c Case) recordable() bool {
	r := c.Request
	return c.Error == "" && len(c.Failed) == 0 && c.System == "" && r.Targets == "" && r.Only == nil && r.OnlyOf == nil && r.Platforms == nil
}

// recorded is the recording of a case, with dir for DIR; nil: there is none.
func (c Case) recorded(t *testing.T, dir string) *recording {
	t.Helper()
	b, err := os.ReadFile(c.recordingFile())
	if err != nil {
		return nil
	}
	var r recording
	if err := json.Unmarshal([]byte(strings.NewReplacer("NIXPKGS", Nixpkgs(t), "DIR", dir).Replace(string(b))), &r); err != nil {
		t.Fatalf("%s: %v", c.recordingFile(), err)
	}
	return &r
}

// record asks Nix and writes down what it says.
func (c Case) record(ctx context.Context, t *testing.T, tl *nix.Tool, d *source.Dialect, at source.Location, dir string) {
	t.Helper()
	at.Dialect = d.Name
	var args []string
	if at.Flake != "" {
		var err error
		if at, err = reader.Enter(ctx, tl, at, source.Options{}); err != nil {
			t.Fatal(fault.Render(err))
		}
		args = at.Locked.Args
	}
	if d.Args != nil {
		args = append(slices.Clone(args), d.Args(at, source.Options{})...)
	}
	out, err := tl.Eval(ctx, nix.Evaluation{Args: args, Expr: fmt.Sprintf(`(let
		c = (%s { systems = { }; fallback = "x86_64-linux"; targets = null; });
	in { inherit (c) summary; hosts = builtins.listToAttrs (map (name: { inherit name; value = c.host { system = true; wanted = [ ]; only = null; } name; }) c.summary.names); })`,
		d.Expr(at, source.Options{}))})
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	var r recording
	if err = json.Unmarshal(out, &r); err == nil {
		out, err = json.MarshalIndent(r, "", "  ")
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(c.recordingFile()), 0o755)
	}
	if err == nil {
		text := strings.NewReplacer(dir, "DIR", Nixpkgs(t), "NIXPKGS").Replace(string(out))
		err = os.WriteFile(c.recordingFile(), []byte(text+"\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// replay loads a recording as if Nix said it now. The PATH of the test is another one
// afterwards.
func (c Case) replay(ctx context.Context, t *testing.T, r *recording, d *source.Dialect, at source.Location, dir string) (*source.Result, source.About) {
	t.Helper()
	tl := nixtest.Tool(t, nixtest.Fleet{File: filepath.Base(at.File), Flake: at.Flake != "", Summary: r.Summary, Hosts: r.Hosts})
	if at.Flake != "" {
		at.Locked = &flakeref.Locked{URL: at.Flake, Dir: dir, Path: dir, Expr: "flake"}
	}
	res, about, err := openAndLoad(ctx, tl, d, at, source.Options{Fallback: "x86_64-linux"}, c.Request)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return res, about
}

// holds compares a recording with what Nix gave.
func (c Case) holds(ctx context.Context, t *testing.T, r *recording, d *source.Dialect, at source.Location, dir string, real *source.Result) {
	t.Helper()
	res, _ := c.replay(ctx, t, r, d, at, dir)
	if got, want := Names(res.Fleet.Hosts), Names(real.Fleet.Hosts); !slices.Equal(got, want) {
		t.Errorf("the recording gives the hosts %v, Nix %v: go test %s -run Contract -record", got, want, d.Name)
		return
	}
	for i, h := range res.Fleet.Hosts {
		if got, want := Describe(h, dir), Describe(real.Fleet.Hosts[i], dir); !slices.Equal(got, want) {
			t.Errorf("%s is recorded as\n\t%s\nbut Nix gives\n\t%s\ngo test -run Contract -record writes it anew", h.Name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
}
