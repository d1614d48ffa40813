package activate

import (
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestBeside runs what goes with a system that is booted once: laid before the reboot, tried
// in the boot of the new system, and kept, or taken back in that of the old one.
func TestBeside(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("the scripts are for Linux: flock, readlink -f, stat -c")
		return
	}
	const back = "app-3-link web-3-link"
	for i, c := range []struct {
		name, before string
		words        string // of what laying it says; what follows is not run then
		do           string // verbs, and what the host does
		ran          string
		links        string
	}{
		{name: "kept", do: "v try; v keep; v end 'done 0'", ran: "app-new, web-new", links: "app-4-link web-4-link"},
		{name: "taken back", do: "v try; v back; v end rolled-back", ran: "app-new, web-new, web-old, app-old", links: back},
		{name: "kept, and the old system boots", do: "v try; v keep; v back; v back; v end rolled-back", ran: "app-new, web-new, web-old, app-old", links: back},
		{name: "never tried", do: "v back; v end rolled-back", links: back},
		{name: "the second fails", before: "echo 7 >web-new-rc", do: "v try && exit 1; [ $(cat state/beside/failed) = web ]; v back; v end rolled-back", ran: "app-new, web-new, web-old, app-old", links: back},
		{name: "one cannot go back", before: "echo 7 >web-old-rc", do: "v try; v back && exit 1; [ -s state/pending ]; rm web-old-rc; v back; v end rolled-back", ran: "app-new, web-new, web-old, app-old, web-old", links: back},
		{name: "one is as it should be", before: `ln -sfn "$PWD/app-new" profiles/app-4-link; ln -sfn app-4-link profiles/app`, do: "v try; v keep; v end 'done 0'", ran: "web-new", links: "app-4-link web-4-link"},
		{name: "what it is of is gone", before: "rm -r web-new", words: "web-new has no go"},
		{name: "it is none", before: "rm web-new/go", words: "profile web: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLocal(t, shells[i%len(shells)])
			l.do(customs + c.before)
			custom := func(name string) Change {
				return Change{Name: name, Kind: "custom", New: l.root + "/" + name + "-new", Link: l.root + "/profiles/" + name, Command: []string{"go"}}
			}
			lay, err := Beside(Request{Host: "web1", Action: Switch, at: l.at, Profiles: []Change{custom("app"), {Name: "system", Kind: "nixos", New: l.root + "/new"}, custom("web")}}, "20260101T000000-abcdef")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(l.shell, "-s")
			cmd.Stdin = strings.NewReader(lay)
			out, err := cmd.CombinedOutput()
			if c.words != "" {
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != 65 || !strings.Contains(string(out), c.words) {
					t.Errorf("%v: %q, want %q", err, out, c.words)
				}
				if left := l.do("ls state gcroots"); left != "gcroots:\n\nstate:" {
					t.Errorf("left over: %q", left)
				}
				return
			}
			if err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			verbs := "v() { verb=$1; shift; " + l.shell + " state/beside/run.sh beside-$verb \"$@\"; }; "
			said := l.do(verbs + "v profiles; v record")
			if c.name != "one is as it should be" && !strings.HasPrefix(said, "of app custom "+l.root+"/app-old "+l.root+"/app-new\nof web custom ") ||
				!strings.Contains(said, `{"name":"system","kind":"nixos",`) || strings.Count(said, `"old":`) != strings.Count(said, "of ")+1 {
				t.Errorf("it says %q", said)
			}
			if roots := l.do("ls gcroots | wc -l"); roots == "0" {
				t.Error("nothing is kept from the garbage collector")
			}
			l.do(verbs + c.do)
			if ran := l.do(`[ ! -e ran ] || paste -sd, ran | sed 's/,/, /g'`); ran != c.ran {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
			if links := l.do("echo $(readlink profiles/app) $(readlink profiles/web)"); links != c.links {
				t.Errorf("links %q, want %q", links, c.links)
			}
			if left := l.do("ls -d state/beside hooks state/recover gcroots/* 2>/dev/null || true"); left != "" {
				t.Errorf("left over: %q", left)
			}
		})
	}
	if _, err := Beside(Request{Host: "web1", Action: Switch, Profiles: []Change{{Name: "app", Kind: "custom", New: "/nix/store/x", Link: "/l"}}}, "x"); err == nil || !strings.Contains(err.Error(), "a system that boots") {
		t.Error(err)
	}
}
