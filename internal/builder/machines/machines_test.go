package machines

import (
	"encoding/base64"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	key := base64.StdEncoding.EncodeToString([]byte("ssh-ed25519 AAAA root@b\n"))
	files := map[string]string{
		"/etc/nix/machines": "# the builders\nssh-ng://builder@linux-builder aarch64-linux,x86_64-linux /etc/nix/builder_ed25519 4 1.5 kvm,big-parallel - " + key + "\n\n@more # further ones\nbad aarch64-linux - many\n",
		"/etc/nix/more":     "pi aarch64-linux - 1 1 - gpu\n",
	}
	read := func(p string) ([]byte, error) {
		if s, ok := files[p]; ok {
			return []byte(s), nil
		}
		return nil, os.ErrNotExist
	}
	got, problems := parse("@/etc/nix/machines ; big ; @/etc/nix/none\nlocal?root=/x - - 2", "aarch64-darwin", read, 0)
	want := []Machine{
		{URI: "ssh-ng://builder@linux-builder", Systems: []string{"aarch64-linux", "x86_64-linux"}, Key: "/etc/nix/builder_ed25519", MaxJobs: 4, SpeedFactor: 1.5, Features: []string{"kvm", "big-parallel"}, HostKey: "ssh-ed25519 AAAA root@b"},
		{URI: "ssh://pi", Systems: []string{"aarch64-linux"}, MaxJobs: 1, SpeedFactor: 1, Mandatory: []string{"gpu"}},
		{URI: "ssh://big", Systems: []string{"aarch64-darwin"}, MaxJobs: 1, SpeedFactor: 1},
		{URI: "local?root=/x", Systems: []string{"aarch64-darwin"}, MaxJobs: 2, SpeedFactor: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if len(problems) != 1 || !strings.Contains(problems[0], "/etc/nix/machines: builder ssh://bad: bad number of jobs") {
		t.Errorf("problems %q", problems)
	}
	files["/etc/nix/more"] = "@/etc/nix/machines"
	if _, problems = parse("@/etc/nix/machines", "x", read, 0); !strings.Contains(strings.Join(problems, "\n"), "included too deeply") {
		t.Errorf("a file that includes itself: %q", problems)
	}

	can := func(m Machine, features ...string) bool { return m.Can("aarch64-linux", features) }
	if !can(want[1], "gpu") || can(want[1]) || can(want[0], "gpu") || !can(want[0]) || can(want[2]) {
		t.Error("features are not matched as Nix does")
	}
}

func TestParseStoreURI(t *testing.T) {
	for in, want := range map[string]StoreURI{
		"ssh-ng://me@host":                         {Scheme: "ssh-ng", User: "me", Host: "host"},
		"ssh://host:2222":                          {Scheme: "ssh", Host: "host", Port: 2222},
		"ssh://me@[::1]:22?ssh-key=/k&max-jobs=3":  {Scheme: "ssh", User: "me", Host: "::1", Port: 22, Key: "/k"},
		"ssh-ng://fe80::1":                         {Scheme: "ssh-ng", Host: "fe80::1"},
		"ssh-ng://h/?remote-store=local%3Froot=/x": {Scheme: "ssh-ng", Host: "h", Remote: "local?root=/x"},
	} {
		want.Text = in
		if got, err := ParseStoreURI(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "host", "http://host", "ssh://", "ssh://-oProxyCommand=x", "ssh://-x@h", "ssh://h:0", "ssh://h:x", "ssh://a b", "ssh://h/x"} {
		if got, err := ParseStoreURI(in); err == nil {
			t.Errorf("%q: no error, but %+v", in, got)
		}
	}
}

// FuzzMachines reads Nix's lists of builders, and the addresses in them.
func FuzzMachines(f *testing.F) {
	f.Add("ssh-ng://me@a x86_64-linux,i686-linux /key 4 2 kvm,big-parallel kvm c3NoLWVkMjU1MTk= ; @/etc/nix/machines\n# x\n-")
	f.Add("@a")
	f.Fuzz(func(t *testing.T, s string) {
		machines, problems := parse(s, "x86_64-linux", func(string) ([]byte, error) { return []byte(s), nil }, 0)
		if most := (mostIncluded + 1) * (len(s) + 1); len(problems) > most || len(machines) > most {
			t.Errorf("%d machines, %d problems of %d bytes", len(machines), len(problems), len(s))
		}
		for _, m := range machines {
			m.Can("x86_64-linux", []string{"kvm"})
			_, _ = ParseStoreURI(m.URI)
		}
		if u, err := ParseStoreURI(s); err == nil && strings.HasPrefix(u.Host, "-") {
			t.Errorf("%q: the host %q is an option of ssh", s, u.Host)
		}
	})
}
