package activate

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
)

// customs are profiles around the system: each has an activation that tells what ran,
// and does as it is told.
const customs = `for p in app web; do for s in old new; do
	mkdir -p $p-$s; cat >$p-$s/go <<'END'
#!/bin/sh
self=$(readlink -f "$PROFILE"); root=${self%/*}; name=${self##*/}
echo "$name" >>"$root/ran"
exit "$(cat "$root/$name-rc" 2>/dev/null || echo 0)"
END
	chmod +x $p-$s/go; done
	ln -s "$PWD/$p-old" profiles/$p-3-link; ln -s $p-3-link profiles/$p
done
`

// TestProfiles deploys three profiles on a host: they go forth together, or back.
func TestProfiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("the scripts are for Linux: flock, readlink -f, stat -c")
		return
	}
	const allNew, allOld = "app-new new new web-new", "app-old old old web-old"
	for i, c := range []struct {
		name, before string
		action       Action
		change       func(*Request)
		outcome      string
		words        string
		ran          string
		end          string // app, current, boot default, web
	}{
		{name: "switch", outcome: "changed", ran: "app-new, test new, web-new, boot new", end: allNew},
		{name: "test", action: Test, outcome: "changed", ran: "test new", end: "app-old new old web-old"},
		{name: "boot", action: Boot, outcome: "changed", ran: "boot new", end: "app-new old new web-new"},
		{name: "dry-activate", action: DryActivate, outcome: "ok", ran: "dry-activate new", end: allOld},
		{name: "the first fails", before: "echo 5 >app-new-rc", outcome: "rolled-back", words: "profile 'app': the activation failed (exit 5); it went back", ran: "app-new, app-old", end: allOld},
		{name: "the second fails", before: "echo 2 >new-rc", outcome: "rolled-back", words: "profile 'system': the activation script of the system failed (exit 2)", ran: "app-new, test new, test old, app-old", end: allOld},
		{name: "the third fails", before: "echo 1 >web-new-rc", outcome: "rolled-back", words: "profile 'web': ", ran: "app-new, test new, web-new, web-old, test old, app-old", end: allOld},
		{name: "the second refuses", before: "echo 99 >new-test-locked", outcome: "rolled-back", words: "another switch-to-configuration", ran: "app-new, app-old", end: allOld},
		{name: "the checks fail", change: func(r *Request) { r.Checks = failing }, outcome: "rolled-back", words: "checks failed", ran: "app-new, test new, web-new, web-old, test old, app-old", end: allOld},
		{name: "the boot loader fails", before: "touch boot-broken", outcome: "rolled-back", words: "boot default", ran: "app-new, test new, web-new, boot new, boot old, web-old, test old, app-old", end: allOld},
		{name: "one cannot go back", before: "echo 1 >web-new-rc; echo 1 >web-old-rc", outcome: "failed", words: "three attempts to go back failed", ran: "app-new, test new, web-new, web-old, test old, app-old, web-old, web-old", end: "app-old old old web-old"},
		{name: "one that kills who takes it back waits for the others", before: `echo 1 >web-new-rc; sed -i 's,^exit.*,kill -s KILL $PPID,' web-old/go`, outcome: "failed", words: "three attempts to go back failed", ran: "app-new, test new, web-new, web-old, test old, app-old, web-old, web-old", end: "app-old old old web-old"},
		{name: "no guard", change: func(r *Request) { r.NoGuard = true }, outcome: "changed", ran: "app-new, switch new, web-new", end: "app-new new old web-new"},
		{name: "only one has changed", change: func(r *Request) {
			r.SkipUnchanged, r.Profiles[0].New = true, strings.Replace(r.Profiles[0].New, "app-new", "app-old", 1)
		}, outcome: "changed", ran: "test new, web-new, boot new", end: "app-old new new web-new"},
		{name: "the first of its name", before: "rm profiles/web profiles/web-3-link; echo 2 >web-new-rc", outcome: "rolled-back", words: "profile 'web' is not there, as before the deploy", ran: "app-new, test new, web-new, test old, app-old", end: "app-old old old none"},
		{name: "somebody sets the first meanwhile", change: func(r *Request) { r.Checks = failing }, before: `mkdir other; sed -i 's,^exit.*,[ "$name" = web-new ] \&\& ln -sfn "$root/other" "$root/profiles/app"; exit 0,' web-new/go`, outcome: "rolled-back", words: "expected", ran: "app-new, test new, web-new, web-old, test old", end: "other old old web-old"},
		{name: "a power cut in a deploy before", before: `ln -s "$PWD/app-new" profiles/app-4-link; ln -sfn app-4-link profiles/app; mkdir state
printf '%s\n' x "$PWD/profiles/system" system-6-link "$PWD/gone" "$PWD/old" 'kind nixos ' x "$PWD/profiles/app" app-3-link "$PWD/app-new" "$PWD/app-old" 'kind custom - app Z28=' >state/pending; echo 2 >new-rc`,
			outcome: "rolled-back", words: "exit 2", ran: "app-old, app-new, test new, test old, app-old", end: allOld},
		{name: "a power cut in a deploy before, whose way back fails", before: `ln -s "$PWD/web-new" profiles/web-4-link; ln -sfn web-4-link profiles/web; mkdir state; echo 9 >web-old-rc
printf '%s\n' x "$PWD/profiles/web" web-3-link "$PWD/web-new" "$PWD/web-old" 'kind custom - web Z28=' >state/pending`,
			outcome: "changed", ran: "web-old, app-new, test new, web-new, boot new", end: allNew},
		{name: "not a user of the host", change: func(r *Request) { r.Profiles[0].Owner = "nosuchuser" }, outcome: "failed", words: "there is no user nosuchuser on the host", end: allOld},
		{name: "nothing to run in it", before: "rm app-new/go", outcome: "failed", words: "has no go", end: allOld},
	} {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLocal(t, shells[i%len(shells)])
			l.do(customs + c.before)
			if c.action == "" {
				c.action = Switch
			}
			res, err := l.deploy(c.action, func(r *Request) {
				custom := func(name string) Change {
					return Change{Name: name, Kind: "custom", New: l.root + "/" + name + "-new", Link: l.root + "/profiles/" + name, Command: []string{"go"}}
				}
				r.Profiles = []Change{custom("app"), {Name: "system", Kind: "nixos", New: r.NewSystem}, custom("web")}
				r.ActivateTimeout = 10 * time.Second
				if c.change != nil {
					c.change(r)
				}
			})
			text := ""
			if err != nil {
				text = fault.Render(err)
			}
			if string(res.Outcome) != c.outcome || !strings.Contains(text, c.words) {
				t.Errorf("outcome %q, want %q\n%s\n%q", res.Outcome, c.outcome, text, res.Log)
			}
			if ran := l.do(`[ ! -e ran ] || paste -sd, ran | sed 's/,/, /g'`); ran != c.ran {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
			is := `is() { [ ! -L "$1" ] && echo none || basename $(readlink -f "$1"); }; `
			if end := l.do(is + `echo $(is profiles/app) $(is current) $(basename $(cat boot)) $(is profiles/web)`); end != c.end {
				t.Errorf("ended as %q, want %q", end, c.end)
			}
			if strings.HasPrefix(c.words, "three attempts") {
				return
			}
			l.idle()
			if left := l.do(`ls gcroots; [ ! -L run/godwit/current ] || echo lock; [ ! -e state/pending ] || echo pending; ls -d hooks state/recover 2>/dev/null || true; find run -name reserve -o -name 'spare-*' -o -name '.*.[0-9]*'; [ "` + c.end + `" != "` + allOld + `" ] || ls profiles | grep -v 'app\(-3-link\)*$\|web\(-3-link\)*$\|system\(-7-link\)*$' || true`); left != "" {
				t.Errorf("left over: %s", left)
			}
			if c.ran == "" || c.action == DryActivate {
				return
			}
			var rec Record
			if err := json.Unmarshal([]byte(l.do("cat state/history.jsonl")), &rec); err != nil || rec.Old != l.root+"/old" || len(rec.Profiles) == 0 {
				t.Errorf("record %+v %v", rec, err)
			}
			webOld := l.root + "/web-old"
			if strings.HasSuffix(c.end, "none") {
				webOld = ""
			}
			if want := (RecordProfile{Name: "web", Kind: "custom", Link: l.root + "/profiles/web", Command: "Z28=", Old: webOld, New: l.root + "/web-new"}); len(rec.Profiles) == 3 && rec.Profiles[2] != want {
				t.Errorf("record %+v", rec.Profiles)
			}
		})
	}
}

func failing(context.Context, Phase) error { return errors.New("no") }
