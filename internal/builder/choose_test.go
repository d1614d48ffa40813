package builder

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/builder/machines"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/store"
)

// fake is a builder that only has a name.
type fake struct {
	name string
	kind Kind
}

func (f fake) Name() string                                             { return f.name }
func (f fake) Kind() Kind                                               { return f.kind }
func (fake) Ready(context.Context, event.Sink) error                    { return nil }
func (fake) Stores() []store.Endpoint                                   { return nil }
func (fake) Close() error                                               { return nil }
func (fake) Build(context.Context, Request, event.Sink) (*Built, error) { return nil, nil }

func TestChoose(t *testing.T) {
	arm := Need{System: "aarch64-linux", Drvs: []string{"/nix/store/arm.drv"}}
	kernel := Need{System: "aarch64-linux", Features: []string{"big-parallel"}, Drvs: []string{"/nix/store/kernel.drv"}}
	kvm := Need{System: "aarch64-linux", Features: []string{"kvm"}, Drvs: []string{"/nix/store/kvm.drv"}}
	x86 := Need{System: "x86_64-linux", Drvs: []string{"/nix/store/x86.drv"}}
	mac := Need{System: "aarch64-darwin", Drvs: []string{"/nix/store/mac.drv"}}
	fetch := Need{System: "builtin", Drvs: []string{"/nix/store/fetch.drv"}}
	riscv := Need{System: "riscv64-linux", Drvs: []string{"/nix/store/riscv.drv"}}

	macHere := Capability{System: "aarch64-darwin", Features: []string{"big-parallel"}, MaxJobs: -1}
	linux := Capability{System: "x86_64-linux", Extra: []string{"i686-linux"}, Features: []string{"big-parallel", "kvm"}, MaxJobs: -1}
	docker := EngineFacts{Usable: true, Name: "Docker", Arch: "aarch64"}
	none := EngineFacts{Lines: [][2]string{{"Docker", "not installed"}, {"Podman", "not installed"}}}
	lb := machines.Machine{URI: "ssh-ng://linux-builder", Systems: []string{"aarch64-linux"}, Features: []string{"big-parallel"}}
	big := SSHStore{URI: "ssh://me@big", Systems: []string{"aarch64-linux", "x86_64-linux"}, Features: []string{"kvm", "big-parallel"}}

	for _, c := range []struct {
		name     string
		here     Capability
		needs    []Need
		machines []machines.Machine
		dead     error // answer of machines
		stores   []SSHStore
		engine   EngineFacts
		wanted   string
		buildOn  string
		standard string

		kind    Kind
		builder string
		reason  string // part of it
		prepare []string
		err     []string // parts of the rendered error
		code    int
	}{
		{name: "nothing to build", here: macHere, kind: KindLocal, reason: "nothing to build"},
		{name: "here", here: linux, needs: []Need{x86}, kind: KindLocal, reason: "this machine builds x86_64-linux"},
		{name: "builtin builds anywhere", here: macHere, needs: []Need{fetch}, kind: KindLocal},
		{name: "container on a Mac", here: macHere, needs: []Need{arm, fetch, kernel}, engine: docker, kind: KindContainer, builder: "container aarch64-linux",
			reason: "router needs aarch64-linux with big-parallel, which this machine (aarch64-darwin) cannot build: container aarch64-linux in Docker, native speed"},
		{name: "emulated", here: macHere, needs: []Need{x86}, engine: docker, kind: KindContainer, builder: "container x86_64-linux", reason: "emulated (slow)"},
		{name: "what the Mac builds comes first", here: macHere, needs: []Need{mac, arm}, engine: docker, kind: KindContainer, prepare: mac.Drvs},
		{name: "configured builder", here: macHere, needs: []Need{arm, kernel}, machines: []machines.Machine{lb}, engine: docker, kind: KindConfigured, reason: "a builder that Nix is configured with"},
		{name: "configured builder is down", here: macHere, needs: []Need{arm}, machines: []machines.Machine{lb}, dead: errors.New("connection refused"), engine: docker, kind: KindContainer},
		{name: "configured builder lacks a feature", here: macHere, needs: []Need{arm, kvm}, machines: []machines.Machine{lb}, stores: []SSHStore{big}, kind: KindSSH, builder: "ssh://me@big"},
		{name: "named store", here: macHere, needs: []Need{arm, mac}, stores: []SSHStore{big}, machines: []machines.Machine{lb}, kind: KindSSH, prepare: mac.Drvs},
		{name: "two systems, no one builder", here: macHere, needs: []Need{arm, x86}, engine: docker, err: []string{"router: needs aarch64-linux and x86_64-linux, and nothing here can build it", "no single container"}, code: 5},
		{name: "two systems, one here", here: linux, needs: []Need{arm, x86}, engine: EngineFacts{Usable: true, Name: "Podman", Arch: "x86_64"}, kind: KindContainer, prepare: x86.Drvs, reason: "emulated"},
		{name: "nobody", here: linux, needs: []Need{arm}, engine: none, code: 5, err: []string{
			"error: router: needs aarch64-linux, and nothing here can build it\n", "  this machine   x86_64-linux, i686-linux\n", "  Docker         not installed\n",
			"router itself could: --build-on target", "hint: install Docker or Podman\n", "--builder ssh-ng://user@host"}},
		{name: "nobody, builder down", here: macHere, needs: []Need{arm}, machines: []machines.Machine{lb}, dead: errors.New("connection refused"), engine: none, code: 5,
			err: []string{"Nix builders   ssh-ng://linux-builder does not answer: connection refused"}},
		{name: "no system for a container", here: macHere, needs: []Need{riscv}, engine: docker, code: 5, err: []string{"no container builds riscv64-linux"}},
		{name: "a feature is missing here", here: Capability{System: "aarch64-linux", MaxJobs: 4}, needs: []Need{kvm}, engine: docker, code: 5, err: []string{"this machine   aarch64-linux, without kvm"}},
		{name: "max-jobs 0", here: Capability{System: "aarch64-linux", MaxJobs: 0}, needs: []Need{arm}, engine: none, code: 5, err: []string{"max-jobs = 0", "hint: let this machine build for once: --option max-jobs auto"}},
		{name: "max-jobs 0, container", here: Capability{System: "aarch64-linux", MaxJobs: 0}, needs: []Need{arm}, engine: docker, kind: KindContainer,
			reason: "router needs aarch64-linux, and this machine builds nothing itself (max-jobs = 0): container aarch64-linux"},
		{name: "max-jobs 0, and foreign", here: Capability{System: "aarch64-linux", MaxJobs: 0}, needs: []Need{x86}, engine: docker, kind: KindContainer,
			reason: "router needs x86_64-linux, which this machine (aarch64-linux) cannot build: "},
		{name: "max-jobs 0, local", here: Capability{System: "aarch64-linux", MaxJobs: 0}, needs: []Need{arm}, wanted: "local", engine: docker, code: 5,
			err: []string{"router: needs aarch64-linux, and this machine builds nothing itself (max-jobs = 0), and 'local' was chosen", "--option max-jobs auto"}},
		{name: "feature missing, configured builder", here: Capability{System: "aarch64-linux", MaxJobs: 4}, needs: []Need{kernel}, machines: []machines.Machine{lb}, engine: docker, kind: KindConfigured,
			reason: "which this machine (aarch64-linux without big-parallel) cannot build"},

		{name: "command line wins", here: linux, needs: []Need{x86}, wanted: "container", buildOn: "local", engine: docker, kind: KindContainer, builder: "container x86_64-linux", reason: "command line"},
		{name: "host's setting", here: linux, needs: []Need{arm}, buildOn: "target", standard: "local", kind: KindTarget, reason: "the host's own setting", prepare: nil},
		{name: "user's file", here: linux, needs: []Need{x86}, standard: "ssh-ng://x@y", kind: KindSSH, builder: "ssh-ng://x@y", reason: "configuration file"},
		{name: "user@host", here: linux, needs: []Need{x86}, wanted: "x@y", kind: KindSSH, builder: "ssh-ng://x@y"},
		{name: "another host", here: linux, needs: []Need{arm, x86}, wanted: "pi", kind: KindTarget, builder: "target pi", prepare: x86.Drvs},
		{name: "local cannot", here: macHere, needs: []Need{arm}, wanted: "local", code: 5, err: []string{"which this machine (aarch64-darwin) cannot build, and 'local' was chosen"}},
		{name: "auto on the command line", here: linux, needs: []Need{x86}, wanted: "auto", buildOn: "target", kind: KindLocal},
		{name: "unknown builder", here: linux, needs: []Need{x86}, wanted: "dokcer", err: []string{`there is no builder "dokcer"`}},
		{name: "container without engine", here: macHere, needs: []Need{arm}, wanted: "container", engine: none, code: 5, err: []string{"Docker         not installed"}},
		{name: "nix without builders", here: macHere, needs: []Need{arm}, wanted: "nix", engine: docker, code: 5, err: []string{"none configured"}},
		{name: "container when nothing is to be built", here: macHere, wanted: "container", engine: docker, kind: KindContainer, builder: "container aarch64-linux"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fleet.Host{Name: "router", At: fleet.Address{Host: "r"}, Platform: fleet.Platform{Name: "aarch64-linux"}, BuildOn: c.buildOn}
			ch := &chooser{here: c.here, wanted: c.wanted, standard: c.standard, providers: providers(tooling{
				here: c.here, machines: c.machines, stores: c.stores,
				probe:      func(context.Context, machines.Machine) error { return c.dead },
				engine:     func(context.Context) EngineFacts { return c.engine },
				local:      func() Builder { return fake{"local", KindLocal} },
				configured: func(u []string) Builder { return fake{strings.Join(u, ","), KindConfigured} },
				container:  func(s string) Builder { return fake{"container " + s, KindContainer} },
				ssh:        func(u string) (Builder, error) { return fake{u, KindSSH}, nil },
				target:     func(h fleet.Host) (Builder, error) { return fake{"target " + h.Name, KindTarget}, nil },
				hosts:      map[string]fleet.Host{"router": h, "pi": {Name: "pi", Platform: fleet.Platform{Name: "aarch64-linux"}}},
			})}
			a, err := ch.decide(context.Background(), h, c.needs, 0)
			if c.err != nil {
				if err == nil {
					t.Fatalf("no error, but %s: %s", a.Kind, a.Reason)
				}
				text := fault.Render(err)
				for _, part := range c.err {
					if !strings.Contains(text, part) {
						t.Errorf("want %q in:\n%s", part, text)
					}
				}
				var f *fault.Error
				if !errors.As(err, &f) || f.Code != c.code {
					t.Errorf("code of %v: want %d", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.Kind != c.kind || c.builder != "" && a.Builder.Name() != c.builder || !strings.Contains(a.Reason, c.reason) || !slices.Equal(a.Prepare, c.prepare) {
				t.Errorf("got %s %s, prepare %v: %s", a.Kind, a.Builder.Name(), a.Prepare, a.Reason)
			}
		})
	}
}

func TestNeeds(t *testing.T) {
	drvs := map[string]*nix.Derivation{}
	add := func(path, system, features string, in ...string) {
		d := &nix.Derivation{Path: path, System: system, Env: map[string]string{"requiredSystemFeatures": features}}
		for _, i := range in {
			d.InputDrvs = append(d.InputDrvs, nix.InputDrv{Path: i})
		}
		drvs[path] = d
	}
	add("web", "x86_64-linux", "", "shared", "there")
	add("pi", "aarch64-linux", "", "kernel", "shared", "fetch")
	add("kernel", "aarch64-linux", "big-parallel", "shared")
	add("shared", "x86_64-linux", "")
	add("fetch", "builtin", "")
	m := &nix.Missing{Build: []string{"web", "pi", "kernel", "shared", "fetch"}} // "there" is not to be built, nor read
	hosts := []fleet.Host{{Name: "web", Profiles: []fleet.Profile{fleet.System("web", "")}}, {Name: "pi", Profiles: []fleet.Profile{fleet.System("pi", "")}}, {Name: "done", Profiles: []fleet.Profile{fleet.System("done", "")}}}
	needs, err := Needs(hosts, m, func(p string) (*nix.Derivation, error) {
		if d := drvs[p]; d != nil {
			return d, nil
		}
		return nil, errors.New("read " + p)
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range needs {
		got = append(got, n.Host+": "+n.What()+": "+strings.Join(n.Drvs, " "))
	}
	want := []string{"web: x86_64-linux: shared web", "pi: aarch64-linux: pi", "pi: aarch64-linux with big-parallel: kernel", "pi: builtin: fetch", "pi: x86_64-linux: shared"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
