package store

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/test/lab"
)

// Hosts with Nix of three ages, in containers: test/lab.

func inContainer(h *lab.Host) Endpoint {
	return Command(h.Name, func(write bool) []string {
		return append([]string{"docker", "exec", "-i", h.ContainerID}, Serve(write)...)
	})
}

func overSSH(h *lab.Host, user string, elevate ...string) Endpoint {
	return Command(h.Name, func(write bool) []string {
		argv := append([]string{"ssh", "-T"}, h.SSHArgs(user)...)
		return append(append(argv, elevate...), Serve(write)...)
	})
}

func labCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Docker")
	}
	if err := lab.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// bounded ends what hangs. Not to be called before the hosts are there: their
// images may have to be made first.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func verifyStore(t *testing.T, h *lab.Host) {
	t.Helper()
	r := h.Exec(context.Background(), "nix-store --verify --check-contents 2>&1")
	if !r.OK() || strings.Contains(r.String(), "is missing") || strings.Contains(r.String(), "was modified") {
		t.Errorf("%s: %s", h.Name, r)
	}
}

func TestLabVersions(t *testing.T) {
	labCheck(t)
	src := newFake(t)
	top := src.closure(60, 300, 3, 1<<20)
	hosts := map[string]*lab.Host{}
	for _, s := range lab.Suites {
		hosts[s] = lab.New(t, lab.Spec{Suite: s})
	}
	ctx := bounded(t)
	// Into all three at once, then from each of them into the others' way: the
	// paths are deleted there first.
	var dests []Dest
	for _, s := range lab.Suites {
		dests = append(dests, Dest{Endpoint: inContainer(hosts[s]), Host: s, Roots: []string{top}})
	}
	for _, r := range Copy(ctx, src.endpoint("fake"), dests, Options{}, nil) {
		if r.Err != nil || r.Paths != 64 {
			t.Fatalf("%+v", r)
		}
	}
	for k, s := range lab.Suites {
		to := lab.Suites[(k+1)%len(lab.Suites)]
		if r := hosts[to].Exec(ctx, "nix-store --gc >/dev/null 2>&1; nix-store --check-validity "+top+" 2>/dev/null && echo still there"); strings.Contains(r.Stdout, "still") {
			t.Fatal(r)
		}
		d := Dest{Endpoint: overSSH(hosts[to], lab.Deploy, "sudo", "-n"), Host: to, Roots: []string{top}}
		// What is copied is held; once nothing holds it any more, it is copied again.
		roots := 0
		d.GCRoot = func(ctx context.Context) error {
			roots++
			r := hosts[to].Exec(ctx, `nix-store --gc 2>&1 | tail -1; nix-store --check-validity "`+top+`" 2>&1 || ! pgrep -f "^nix-store --serve --write"`)
			if !r.OK() {
				return fmt.Errorf("was collected while we held it: %s", r)
			}
			if roots == 1 {
				r = hosts[to].Exec(ctx, `pkill -f "^nix-store --serve --write"; while pgrep -f "^nix-store --serve --write" >/dev/null; do sleep 0.1; done; nix-store --gc 2>&1 | tail -1; ! nix-store --check-validity "`+top+`" 2>/dev/null`)
			}
			if !r.OK() {
				return fmt.Errorf("was not collected: %s", r)
			}
			return nil
		}
		r := Copy(ctx, inContainer(hosts[s]), []Dest{d}, Options{}, nil)[0]
		if r.Err != nil || r.Paths != 64 || roots < 2 {
			t.Errorf("%s to %s, roots made %d times: %+v", s, to, roots, r)
		}
		if r := hosts[to].Exec(ctx, "nix-store --check-validity "+top); !r.OK() {
			t.Errorf("%s: %s", to, r)
		}
		verifyStore(t, hosts[to])
		t.Logf("%s to %s: %s", s, to, r.Duration)
	}
	// A user who is not trusted is told what to do.
	h := hosts["trixie"]
	h.Exec(ctx, "nix-store --gc")
	r := Copy(ctx, src.endpoint("fake"), []Dest{{Endpoint: overSSH(h, lab.Nobody), Host: "nobody", Roots: []string{top}}}, Options{}, nil)[0]
	if r.Err == nil {
		t.Fatal("an untrusted user could push")
	}
	text := fault.Render(r.Err)
	t.Log(text)
	if !strings.Contains(text, "hint: ") {
		t.Error("no hint")
	}
	// One that must type a password for sudo.
	r = Copy(ctx, src.endpoint("fake"), []Dest{{Endpoint: overSSH(h, lab.PasswordUser, "sudo", "-n"), Host: "pw", Roots: []string{top}}}, Options{}, nil)[0]
	wantError(t, r, "a password is required", "hint: sudo there wants a password")
	// Frozen: silence is bounded.
	if err := h.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	t0 := time.Now()
	r = Copy(ctx, src.endpoint("fake"), []Dest{{Endpoint: overSSH(h, lab.Root), Host: "frozen", Roots: []string{top}}}, Options{Idle: 2 * time.Second}, nil)[0]
	if d := time.Since(t0); d > 10*time.Second {
		t.Errorf("took %s", d)
	}
	wantError(t, r, "frozen: ", "no answer for 2s")
	if err := h.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestLabDiskFull(t *testing.T) {
	labCheck(t)
	for _, s := range []string{"bookworm", "trixie", "forky"} {
		t.Run(s, func(t *testing.T) {
			h := lab.New(t, lab.Spec{Suite: s, NixSize: "32m"})
			ctx := bounded(t)
			src := newFake(t)
			top := src.closure(60, 300, 8, 8<<20)
			d := Dest{Endpoint: overSSH(h, lab.Root), Host: "small", Roots: []string{top}}
			d.Room = func(ctx context.Context) (Room, error) {
				var kib int64
				_, err := fmt.Sscan(h.Exec(ctx, "df -Pk /nix/store | awk 'NR==2{print $4}'").Stdout, &kib)
				return Room{kib << 10, -1}, err
			}
			other := newFake(t)
			dests := []Dest{d, dest("other", other, top)}
			rs := Copy(ctx, src.endpoint("fake"), dests, Options{}, nil)
			wantError(t, rs[0], "small: needs 64.0 MiB for 69 paths, and its store has ")
			if rs[1].Err != nil {
				t.Error(rs[1].Err)
			}
			dests[0].Room = nil
			r := Copy(ctx, src.endpoint("fake"), dests[:1], Options{}, nil)[0]
			wantError(t, r, "no space left there", "have arrived", "nix-collect-garbage")
			if !errors.Is(r.Err, ErrDiskFull) {
				t.Error("is not ErrDiskFull")
			}
			t.Log(fault.Render(r.Err))
			verifyStore(t, h)
		})
	}
}

func TestLabHostKilled(t *testing.T) {
	labCheck(t)
	h := lab.New(t, lab.Spec{Suite: "trixie"})
	ctx := bounded(t)
	src, other := newFake(t), newFake(t)
	top := src.closure(60, 300, 40, 4<<20)
	kill := sync.OnceFunc(func() {
		_ = exec.Command("docker", "exec", h.ContainerID, "sh", "-c", "for p in /proc/[0-9]*; do grep -qz -- --serve $p/cmdline && kill -9 ${p#/proc/}; done").Run()
	})
	slow := overSSH(h, lab.Root)
	limited := Endpoint{Name: slow.Name, Dial: func(ctx context.Context, write bool) (*Stream, error) {
		st, err := slow.Dial(ctx, write)
		if err == nil {
			st.Stdin = &pacedWriter{WriteCloser: st.Stdin, left: 20 << 20, then: kill}
		}
		return st, err
	}}
	rs := Copy(ctx, src.endpoint("fake"), []Dest{{Endpoint: limited, Host: "killed", Roots: []string{top}}, dest("other", other, top)}, Options{}, nil)
	wantError(t, rs[0], "killed: ", "while copying /nix/store/")
	t.Log(fault.Render(rs[0].Err))
	if rs[1].Err != nil {
		t.Error(rs[1].Err)
	}
	verifyStore(t, h)
	r := Copy(ctx, src.endpoint("fake"), []Dest{{Endpoint: slow, Host: "again", Roots: []string{top}}}, Options{}, nil)[0]
	if r.Err != nil || r.Paths+r.Skipped != 101 {
		t.Errorf("%+v", r)
	}
	verifyStore(t, h)
}

func TestDirect(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Nix")
	}
	ctx := testCtx(t)
	fake := newFake(t)
	top := fake.closure(60, 300, 3, 1<<20)
	src, srcDir := tempStore(t)
	dst, dstDir := tempStore(t)
	if r := Copy(ctx, fake.endpoint("fake"), []Dest{{Endpoint: src, Roots: []string{top}}}, Options{}, nil)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	runs := 0
	d := Dest{Endpoint: dst, Host: "h", Roots: []string{top}, Direct: &Direct{
		Import: []string{"env", "NIX_REMOTE=local?root=" + dstDir, "nix-store", "--import"},
		Run: func(ctx context.Context, script, stdin string) error {
			runs++
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
			cmd.Env = append(cmd.Environ(), "NIX_REMOTE=local?root="+srcDir)
			cmd.Stdin = strings.NewReader(stdin)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	}}
	r := Copy(ctx, src, []Dest{d}, Options{}, nil)[0]
	if r.Err != nil || r.Paths != 64 || r.Bytes < 3<<20 || runs != 1 {
		t.Errorf("%+v", r)
	}
	// What cannot be done directly goes through us, with a warning.
	other, _ := tempStore(t)
	d.Endpoint = other
	d.Direct.Import = []string{"false"}
	var warned string
	r = Copy(ctx, src, []Dest{d}, Options{}, event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Warning {
			warned = e.Text
		}
	}))[0]
	if r.Err != nil || r.Paths != 64 || !strings.Contains(warned, "import") {
		t.Errorf("%+v %q", r, warned)
	}
}
