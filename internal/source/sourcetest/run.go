package sourcetest

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/reader"
)

// Case is a configuration and what is to come out of it: one fact about a dialect.
type Case struct {
	// Name is a subtest's, in the words of the fact.
	Name string
	// Files are those of a repository, by their path in it. "DIR" in a text stands for
	// the directory of the repository, "NIXPKGS" for that of the small NixOS.
	Files map[string]string
	// File is the deployment file among them; "" for a flake: then Attr is the output.
	File, Attr string
	// Git makes the repository a git work tree with everything in Files added.
	Git bool
	// System is what Nix is to believe of this machine; "": the truth.
	System string
	// Request is what is asked for; without a Selection, all hosts. Outputs is always
	// asked for.
	Request source.Request

	// Hosts are expected in this order, and no others.
	Hosts []Host
	// Failed are the hosts that are expected to fail, with a part of the error.
	Failed map[string]string
	// Error is a part of the error of opening or loading.
	Error string
	// About, when set, looks at what the configuration says of itself.
	About func(t *testing.T, a source.About)
	// Check, when set, looks at the result.
	Check func(t *testing.T, res *source.Result)
}

// Host is what a case says of one host. Is are lines of Describe that must be there,
// Not are those that must not.
type Host struct {
	Name    string
	Is, Not []string
}

// Describe writes a host in lines, one a fact, for Host.Is: "at root@web:22", "or at web.example.org", "ssh -o X=y", "forward agent",
// "platform x86_64-linux from fallback", "tag a", "build only", "build on target",
// "substitute", "release 24.05", "profile system",
// "secret key: FILE to /run/key 0400 root:root pre-activation", "check cmd: DESCRIPTION",
// "pre-check cmd: DESCRIPTION". Paths below dir begin with DIR.
func Describe(h fleet.Host, dir string) []string {
	var out []string
	add := func(format string, a ...any) {
		out = append(out, strings.ReplaceAll(fmt.Sprintf(format, a...), dir, "DIR"))
	}
	at := h.At.Host
	if h.At.User != "" {
		at = h.At.User + "@" + at
	}
	if h.At.Port != 0 {
		at += fmt.Sprintf(":%d", h.At.Port)
	}
	add("at %s", at)
	for _, also := range h.At.Also {
		add("or at %s", also)
	}
	if len(h.At.Options) > 0 {
		add("ssh %s", strings.Join(h.At.Options, " "))
	}
	if h.At.ForwardAgent {
		add("forward agent")
	}
	add("platform %s from %s", h.Platform.Name, h.Platform.From)
	for _, t := range h.Tags {
		add("tag %s", t)
	}
	if h.BuildOnly {
		add("build only")
	}
	if h.BuildOn != "" {
		add("build on %s", h.BuildOn)
	}
	if h.SubstituteOnDestination {
		add("substitute")
	}
	if h.Main().Version != "" {
		add("release %s", h.Main().Version)
	}
	for _, p := range h.Profiles {
		if p.Drv != "" {
			add("profile %s", p.Name)
		}
	}
	for _, s := range h.Secrets {
		add("secret %s: %s to %s %s %s:%s %s", s.Name, s.From.File, s.Destination, s.Permissions, s.User, s.Group, s.UploadAt)
	}
	checks := func(word string, c fleet.Checks) {
		for _, x := range c.Cmd {
			add("%s cmd: %s", word, x.Description)
		}
		for _, x := range c.HTTP {
			add("%s http: %s", word, x.Description)
		}
		for _, x := range c.TCP {
			add("%s tcp: %s", word, x.Description)
		}
		for _, x := range c.Unit {
			add("%s unit: %s", word, x.Description)
		}
		for _, x := range c.FailedUnits {
			add("%s failed units: %s", word, x.Description)
		}
		for _, x := range c.Local {
			add("%s local: %s", word, x.Description)
		}
	}
	checks("check", h.HealthChecks)
	checks("pre-check", h.PreDeployChecks)
	return out
}

// Run tries a dialect on each case with a real Nix. Beside what a case says, each
// configuration that opens must keep the contract: metadata alone says what metadata
// with outputs says; a second run that begins ahead gives what the first gave; a host
// that is chosen by its name is the same as in the whole fleet; derivations exist.
func Run(t *testing.T, d *source.Dialect, cases []Case) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { c.run(t, d) })
	}
}

func (c Case) run(t *testing.T, d *source.Dialect) {
	dir := t.TempDir()
	recorded := c.recorded(t, dir)
	var tl *nix.Tool
	if !testing.Short() || recorded == nil {
		tl = Tool(t, c.System)
	}
	files := map[string]string{}
	for name, text := range c.Files {
		files[name] = strings.NewReplacer("NIXPKGS", Nixpkgs(t), "DIR", dir).Replace(text)
	}
	WriteIn(t, dir, files)
	if c.Git {
		Git(t, dir)
	}
	at := source.Location{Flake: dir, Attr: c.Attr}
	if c.File != "" {
		at = source.Location{File: filepath.Join(dir, c.File)}
	}
	if c.Request.Selection.Every == 0 {
		c.Request.Selection.Every = 1
	}
	c.Request.Outputs = true
	ctx := context.Background()
	if tl == nil {
		c.is(t, dir)(c.replay(ctx, t, recorded, d, at, dir))
		return
	}
	res, about, err := openAndLoad(ctx, tl, d, at, source.Options{}, c.Request)
	if err != nil || c.Error != "" {
		if text := fault.Render(err); err == nil || c.Error == "" || !strings.Contains(text, c.Error) {
			t.Errorf("got the error %s\nwant one with %s", text, c.Error)
		}
		return
	}
	c.is(t, dir)(res, about)
	c.contract(t, tl, d, at, res)
	switch {
	case *recordFlag && c.recordable():
		c.record(ctx, t, tl, d, at, dir)
	case recorded != nil:
		c.holds(ctx, t, recorded, d, at, dir, res)
	}
}

// is looks at a result.
func (c Case) is(t *testing.T, dir string) func(*source.Result, source.About) {
	t.Helper()
	return func(res *source.Result, about source.About) {
		t.Helper()
		if c.About != nil {
			c.About(t, about)
		}
		c.compare(t, res, dir)
		if c.Check != nil {
			c.Check(t, res)
		}
	}
}

func openAndLoad(ctx context.Context, tl *nix.Tool, d *source.Dialect, at source.Location, o source.Options, r source.Request) (*source.Result, source.About, error) {
	s, err := reader.Open(ctx, tl, d, at, o)
	if err != nil {
		return nil, source.About{}, err
	}
	res, err := s.Load(ctx, r)
	return res, s.About(), err
}

// compare looks at the hosts, and at those that fail.
func (c Case) compare(t *testing.T, res *source.Result, dir string) {
	t.Helper()
	var want []string
	for _, h := range c.Hosts {
		want = append(want, h.Name)
	}
	if got := Names(res.Fleet.Hosts); !slices.Equal(got, want) {
		t.Errorf("got the hosts %v, want %v", got, want)
	}
	for _, h := range res.Fleet.Hosts {
		lines := Describe(h, dir)
		i := slices.IndexFunc(c.Hosts, func(x Host) bool { return x.Name == h.Name })
		if i < 0 {
			continue
		}
		for _, line := range c.Hosts[i].Is {
			if !slices.Contains(lines, line) {
				t.Errorf("%s is not %q:\n\t%s", h.Name, line, strings.Join(lines, "\n\t"))
			}
		}
		for _, line := range c.Hosts[i].Not {
			if slices.Contains(lines, line) {
				t.Errorf("%s is %q", h.Name, line)
			}
		}
	}
	failed := maps.Clone(c.Failed)
	for _, f := range res.Failed {
		text := strings.ReplaceAll(fault.Render(f.Err), dir, "DIR")
		if part, ok := failed[f.Host]; !ok || !strings.Contains(text, part) {
			t.Errorf("%s failed with\n%swant %q", f.Host, text, part)
		}
		delete(failed, f.Host)
	}
	if len(failed) > 0 {
		t.Errorf("these did not fail: %v", failed)
	}
}

// contract is what holds for every configuration of every dialect.
func (c Case) contract(t *testing.T, tl *nix.Tool, d *source.Dialect, at source.Location, res *source.Result) {
	t.Helper()
	ctx := context.Background()
	bare := c.Request
	bare.Outputs = false
	r, _, err := openAndLoad(ctx, tl, d, at, source.Options{}, bare)
	if err != nil {
		t.Fatalf("metadata alone: %s", fault.Render(err))
	}
	without := func(h fleet.Host) fleet.Host {
		h.Profiles = []fleet.Profile{{Version: h.Main().Version}} // a dialect need not list profiles without outputs
		return h
	}
	for _, h := range res.Fleet.Hosts {
		i := slices.IndexFunc(r.Fleet.Hosts, func(x fleet.Host) bool { return x.Name == h.Name })
		if i < 0 || !reflect.DeepEqual(without(r.Fleet.Hosts[i]), without(h)) && h.Platform.From != "pkgs" {
			t.Errorf("metadata alone says\n%+v\nof %s, with outputs it is\n%+v", r.Fleet.Hosts, h.Name, h)
		}
		if h.Main().Drv != "" {
			if _, err := nix.ReadDerivation(h.Main().Drv); err != nil {
				t.Errorf("%s: %v", h.Name, err)
			}
		}
		if h.Platform.Name == "" || h.Platform.From == "" {
			t.Errorf("%s has no platform", h.Name)
		}
	}
	memory := t.TempDir()
	for range 2 {
		again, _, err := openAndLoad(ctx, tl, d, at, source.Options{Ahead: &c.Request, Memory: memory}, c.Request)
		if err != nil {
			t.Fatalf("with memory: %s", fault.Render(err))
		}
		if !reflect.DeepEqual(again.Fleet, res.Fleet) || !slices.Equal(failedNames(again), failedNames(res)) || again.Counts != res.Counts {
			t.Errorf("with memory it is\n%+v\nnot\n%+v", again.Fleet, res.Fleet)
		}
	}
	if len(res.Fleet.Hosts) > 1 {
		h := res.Fleet.Hosts[len(res.Fleet.Hosts)-1]
		one := c.Request
		one.Selection = fleet.Selection{On: []string{globQuoter.Replace(h.Name)}, Every: 1}
		alone, _, err := openAndLoad(ctx, tl, d, at, source.Options{}, one)
		if err != nil || !reflect.DeepEqual(alone.Fleet.Hosts, []fleet.Host{h}) {
			t.Errorf("%s alone is %+v, not %+v (%v)", h.Name, alone, h, err)
		}
	}
}

// globQuoter makes a name a pattern that matches nothing else.
var globQuoter = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`)

func failedNames(r *source.Result) []string {
	var out []string
	for _, f := range r.Failed {
		out = append(out, f.Host)
	}
	return out
}

// Git makes a directory a git work tree with everything in it added.
func Git(t testing.TB, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-qm", "files"}} {
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %s", args, out)
		}
	}
}
