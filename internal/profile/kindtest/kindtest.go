// Package kindtest is the suite that every kind of profile passes: its functions under
// real shells, in a folder that stands for a host.
package kindtest

import (
	"cmp"
	_ "embed" // stubs.sh
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/hostscript"
	"godwit/internal/nar"
	"godwit/internal/profile"
)

// Fixture is how the suite makes profiles of a kind.
type Fixture struct {
	// Make is sh that makes a profile in the folder $1, whose activation calls
	// "$ROOT/bin/activated $1" (as often as it runs), ends with its status, and says
	// what runs from then on. $ROOT is the host.
	Make string
	// Runs is sh after which the profile in $ROOT/$1 runs. The link $LINK names
	// $ROOT/old already, as generation 7, where there is one.
	Runs string
	// Command is Change.Command of package activate.
	Command []string
	// First tells that a profile may be the first of its name on a host.
	First bool
	// NoActivation tells that nothing is run.
	NoActivation bool
	// Risky is sh that makes the new profile, in the folder $1, one that the kind must find
	// the risk Risk in, beside the old one in $ROOT/old. Every kind that looks closer has it.
	Risky, Risk string
}

// stubs stand for what the functions find on a host: nix-env and getent, and a systemd
// that knows of nothing.
//
//go:embed stubs.sh
var stubs string

type suite struct {
	t           *testing.T
	k           profile.Kind
	f           Fixture
	root, shell string
	mode        string // "": guard
}

// Run is the suite.
func Run(t *testing.T, k profile.Kind, f Fixture) {
	shells := []string{"dash", "bash"}
	if testing.Short() {
		shells = shells[:1]
	}
	for _, shell := range shells {
		for i, c := range cases {
			if testing.Short() && i%2 != 0 {
				continue
			}
			if k.Boots && strings.Contains(c.name, "beside") { // it is what the others are beside
				continue
			}
			if c.first && !f.First || c.runs && f.NoActivation {
				continue
			}
			t.Run(shell+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				s := &suite{t: t, k: k, f: f, root: t.TempDir()}
				var err error
				if s.shell, err = exec.LookPath(shell); err != nil {
					t.Fatal(err)
				}
				s.setUp(c.first)
				c.do(s)
			})
		}
	}
}

var cases = []struct {
	name  string
	first bool // there was no such profile before
	runs  bool // needs an activation
	do    func(*suite)
}{
	{name: "what runs", do: func(s *suite) {
		s.ends("now", "echo $(basename $(K_now))", "old")
		s.ends("fits", "K_fits; echo $?", "0")
		if !s.f.NoActivation {
			s.ends("fits not", `NEW=$ROOT/none TOPLEVEL=$ROOT/none; K_fits >/dev/null; echo $?`, "1")
		}
	}},
	{name: "looks", do: (*suite).looks},
	{name: "try and keep", do: func(s *suite) {
		s.verb("try test", 0)
		s.is("new", "")
		s.verb("keep", 0)
		s.is("new", "new")
	}},
	{name: "try twice, keep twice", do: func(s *suite) {
		s.verb("try test", 0)
		s.verb("try test", 0)
		s.verb("keep", 0)
		s.verb("keep", 0)
		s.is("new", "new")
	}},
	{name: "unkeep", do: func(s *suite) {
		s.verb("try test", 0)
		s.verb("keep", 0)
		s.verb("unkeep 1", 0)
		s.link7()
		s.verb("back", 0)
		s.is("old", "old")
	}},
	{name: "back", do: func(s *suite) {
		s.verb("try test", 0)
		s.verb("back", 0)
		s.is("old", "old")
		s.verb("back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "killed in between, and back", runs: true, do: func(s *suite) {
		s.do("echo kill >$ROOT/new-does")
		s.verb("try test", 137)
		s.verb("back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "killed on the way back", runs: true, do: func(s *suite) {
		s.verb("try test", 0)
		s.do("echo kill >$ROOT/old-does")
		s.verb("back", 137)
		s.do("rm $ROOT/old-does")
		s.verb("back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "fails, and back", runs: true, do: func(s *suite) {
		s.do("echo fail >$ROOT/new-does")
		s.verb("try test", 1)
		s.ends("begun", "cat $P/begun", "1")
		s.verb("back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "the way back fails", runs: true, do: func(s *suite) {
		s.verb("try test", 0)
		s.do("echo fail >$ROOT/old-does")
		s.verb("back", 1)
		s.do("rm $ROOT/old-does")
		s.verb("back", 0)
		s.is("old", "old")
	}},
	{name: "somebody else's", do: func(s *suite) {
		s.verb("try test", 0)
		s.make("third")
		s.do("set -- third; " + s.f.Runs)
		s.verb("back", 9)
		s.ends("what runs", "basename $(K_now)", "third")
	}},
	{name: "a reboot, and back", runs: true, do: func(s *suite) {
		s.verb("try test", 0)
		s.reboots()
		s.is("old", "old")
		s.link7()
	}},
	{name: "a reboot while it goes back", runs: true, do: func(s *suite) {
		s.verb("try test", 0)
		s.do("echo kill >$ROOT/old-does")
		s.verb("back", 137)
		s.do("rm $ROOT/old-does")
		s.reboots()
		s.is("old", "old")
		s.link7()
	}},
	{name: "the first, and a reboot", first: true, do: func(s *suite) {
		s.verb("try test", 0)
		s.reboots()
		s.ends("now", "K_now; true", "")
		s.ends("link", "ls -A ${LINK%/*}", "")
	}},
	{name: "beside a system that is booted once", do: func(s *suite) {
		s.mode = "once"
		s.does("beside_try", 0)
		s.is("new", "")
		s.does("beside_keep", 0)
		s.does("beside_keep", 0)
		s.is("new", "new")
		s.ends("no unit of its own", "ls -d $ROOT/hooks $ROOT/state/recover 2>/dev/null; true", "")
	}},
	{name: "beside such a system, and the old one boots", do: func(s *suite) {
		s.mode = "once"
		s.does("beside_try", 0)
		s.boots()
		s.does("beside_back", 0)
		s.does("beside_back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "beside such a system, kept, and the old one boots", do: func(s *suite) {
		s.mode = "once"
		s.does("beside_try", 0)
		s.does("beside_keep", 0)
		s.boots()
		s.does("beside_back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "beside such a system, killed, and the old one boots", runs: true, do: func(s *suite) {
		s.mode = "once"
		s.do("echo kill >$ROOT/new-does")
		s.does("beside_try", 137)
		s.boots()
		s.does("beside_back", 0)
		s.is("old", "old")
		s.link7()
	}},
	{name: "beside such a system, it fails, and the old one boots", runs: true, do: func(s *suite) {
		s.mode = "once"
		s.do("echo fail >$ROOT/new-does")
		s.does("beside_try", 1)
		s.ends("failed", "cat $D/failed", "it")
		s.boots()
		s.does("beside_back", 0)
		s.is("old", "old")
	}},
	{name: "beside such a system, never tried", do: func(s *suite) {
		s.mode = "once"
		s.boots()
		s.does("beside_back", 0)
		s.ends("what runs", "basename $(K_now)", "old")
		s.link7()
	}},
	{name: "the first beside such a system, and the old one boots", first: true, do: func(s *suite) {
		s.mode = "once"
		s.does("beside_try", 0)
		s.does("beside_keep", 0)
		if !s.k.Lasts {
			s.do("rm -rf runs")
		}
		s.does("beside_back", 0)
		s.ends("now", "K_now; true", "")
		s.ends("link", "ls -A ${LINK%/*}", "")
	}},
	{name: "the first", first: true, do: func(s *suite) {
		s.ends("now", "K_now; true", "")
		s.verb("try test", 0)
		s.is("new", "")
		s.verb("back", 0)
		s.ends("now", "K_now; true", "")
		s.ends("link", "ls -A ${LINK%/*}", "")
	}},
	{name: "the first is kept", first: true, do: func(s *suite) {
		s.verb("try test", 0)
		s.verb("keep", 0)
		s.is("new", "new")
	}},
}

// looks reads all that the kind looks at, and judges it.
func (s *suite) looks() {
	k := s.k
	s.t.Helper()
	if k.Read == nil {
		if k.Look.Change != "" || k.Look.Report != "" || s.f.Risk != "" {
			s.t.Errorf("nobody reads what the kind %s tells", k.Name)
		}
		s.told("look", k.Look.Guard)
		return
	}
	if k.Look.Change == "" || k.Look.Report == "" || s.f.Risk == "" {
		s.t.Fatalf("the kind %s reads what it does not tell, or no test makes a risk of it", k.Name)
	}
	s.told("look", k.Look.Guard)
	k.Read(s.told("report", k.Look.Report)).Report()
	all := []profile.Question{{Action: profile.Switch}, {Action: profile.Test}, {Action: profile.Boot}, {Action: profile.DryActivate}, {Action: profile.Boot, Reboot: true}}
	for _, q := range all {
		if j := k.Read(s.told("change", k.Look.Change)).Judge(q); len(j.Risks) > 0 || j.NeedReboot {
			s.t.Errorf("%s of much the same: %+v", q.Action, j)
		}
	}
	s.do("set -- $ROOT/new; " + s.f.Risky)
	lines := s.told("change", k.Look.Change)
	j := k.Read(lines).Judge(all[0])
	if !slices.ContainsFunc(j.Risks, func(r profile.Risk) bool { return r.Name == s.f.Risk && r.Text != "" }) {
		s.t.Errorf("no risk %s in %+v, of %q", s.f.Risk, j, lines)
	}
	// Whatever a host answers, in whatever order, a plan can say it.
	made := slices.Clone(lines)
	slices.Reverse(made)
	for _, l := range lines {
		made = append(made, profile.Line{Name: l.Name}, profile.Line{Name: l.Name, Value: "x"}, profile.Line{Name: l.Name, Value: l.Value + " \x1b[2J"}, profile.Line{Name: l.Value, Value: l.Name})
	}
	for _, answer := range [][]profile.Line{nil, lines, made} {
		seen := k.Read(answer)
		seen.Fetch("/nix/store/x", func(string) (nar.Tree, bool) { return nil, false })
		seen.Fetch("/nix/store/x", func(string) (nar.Tree, bool) { return nar.Tree{}, true })
		seen.Report()
		for _, q := range all {
			j := seen.Judge(q)
			for _, r := range j.Risks {
				if !slices.Contains(profile.Judged, r.Name) {
					s.t.Errorf("a risk by the name %q, which nobody can accept", r.Name)
				}
			}
			for _, p := range j.Parts {
				if !slices.Contains(profile.Parts, p.Name) {
					s.t.Errorf("a part by the name %q", p.Name)
				}
			}
			if q.Action == profile.Boot && !q.Reboot && !j.Units.Empty() {
				s.t.Errorf("%+v are touched before the next boot", j.Units)
			}
		}
	}
}

// told runs a look, which leaves everything as it was, and gives what it tells.
func (s *suite) told(name, script string) []profile.Line {
	s.t.Helper()
	const listing = `find . -printf '%p %y %s %l %T@\n' | sort`
	before := s.do(listing)
	out := s.do(s.script(`tell() { [ -z "$2" ] || printf '%s %s\n' "$1" "$2"; }
CHECK='' DRY=1 UNITS=1
` + script + "\nK_" + name + " 2>&1; echo end"))
	if after := s.do(listing); after != before {
		s.t.Errorf("%s changes the host:\n%s\nwas\n%s", name, after, before)
	}
	var lines []profile.Line
	whole := false
	for name, value := range hostscript.Answer(out, &whole) {
		if !tellable.MatchString(name) {
			s.t.Errorf("it tells %q %q", name, value)
		}
		lines = append(lines, profile.Line{Name: name, Value: value})
	}
	if !whole {
		s.t.Errorf("%s does not end: %s", name, out)
	}
	return lines
}

var tellable = regexp.MustCompile(`^[a-z][a-z-]*$`)

func (s *suite) setUp(first bool) {
	s.do(`mkdir -p bin run/1 state home links; : >run/log`)
	for _, name := range []string{"nix-env", "getent", "systemctl", "loginctl", "activated"} {
		if err := os.WriteFile(filepath.Join(s.root, "bin", name), []byte("#!"+s.shell+"\n"+stubs), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	s.make("new")
	if !first {
		s.make("old")
		s.do("ln -s $ROOT/old links/it-7-link; ln -s it-7-link links/it; set -- old; " + s.f.Runs)
	}
	if err := os.WriteFile(filepath.Join(s.root, "run/run.sh"), []byte(strings.Replace(s.script("recover"), "D=$ROOT/run ", "D=$ROOT/state/recover ", 1)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.do("echo ID=x >run/env; echo {} >run/meta.json")
	old := s.do(s.script("K_now || true"))
	s.do(`printf "OLD='%s'\n" '` + old + `' >>run/1/env`)
}

func (s *suite) make(name string) {
	s.t.Helper()
	s.do("set -- $ROOT/" + name + "; mkdir -p $1; " + s.f.Make)
}

// script is commands among the functions.
func (s *suite) script(commands string) string {
	lasts := ""
	if s.k.Lasts {
		lasts = s.k.Name
	}
	return fmt.Sprintf("ROOT=%s SH=%s KIND=%s\n", s.root, s.shell, s.k.Name) + `export ROOT
PATH=$ROOT/bin:$PATH HOME=$ROOT/home D=$ROOT/run STATE=$ROOT/state CURRENT=$ROOT/current SWITCH_LOCK=$ROOT/lock ID=x
export PATH HOME
HOOKS=$ROOT/hooks RUN=$ROOT/runs SCOPE='' LASTS=` + lasts + ` NOTE_KIND=nixos STARTED=0
PROFILES=1 BACKWARDS=1 MAIN=1 MANY='' ACTION=switch MODE='` + cmp.Or(s.mode, "guard") + `' APPLY_ACTION=test ACTIVATE=20 ROLLBACK_MAX=20 COMMIT_MAX=20 attempts=''
[ -s $D/1/env ] || printf "%s\n" KIND=$KIND NAME=it NEW=$ROOT/new TOPLEVEL=$ROOT/new OLD= LINK=$ROOT/links/it OWNER=$(id -un) COMMAND=` +
		base64.StdEncoding.EncodeToString([]byte(strings.Join(s.f.Command, "\n"))) + " >$D/1/env\n" +
		strings.TrimSuffix(activate.KindScript(s.k), "\n") + "\nprofile 1\n" + strings.ReplaceAll(commands, "K_", s.k.Name+"_")
}

func (s *suite) run(script string) (string, int) {
	s.t.Helper()
	cmd := exec.Command(s.shell, "-c", script)
	cmd.Dir, cmd.Env = s.root, append(os.Environ(), "ROOT="+s.root, "RUN="+s.root+"/runs", "LINK="+s.root+"/links/it", "PATH="+s.root+"/bin:"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run()
	status := cmd.ProcessState.ExitCode()
	if status < 0 { // by a signal, as a shell counts them
		status = 137
	}
	return strings.TrimSpace(out.String()), status
}

func (s *suite) do(script string) string {
	s.t.Helper()
	out, status := s.run(script)
	if status != 0 {
		s.t.Fatalf("%s\nends with %d: %s", script[max(0, len(script)-300):], status, out)
	}
	return out
}

// verb runs a function of the kind, with its words in the log as on a host.
func (s *suite) verb(words string, want int) {
	s.t.Helper()
	_, status := s.run(s.script("rc=\nK_" + words + " >>$D/log 2>&1"))
	if status != want && !(want == 1 && status != 0) {
		s.t.Errorf("%s ends with %d, want %d\n%s", words, status, want, s.do("tail -n 20 run/log"))
	}
}

// does runs a verb of what goes with a system that is booted once.
func (s *suite) does(verb string, want int) {
	s.t.Helper()
	if _, status := s.run(s.script(verb + " >>$D/log 2>&1")); status != want && !(want == 1 && status != 0) {
		s.t.Errorf("%s ends with %d, want %d\n%s", verb, status, want, s.do("tail -n 20 run/log"))
	}
}

// boots: the old system booted, with what a boot begins.
func (s *suite) boots() {
	s.t.Helper()
	if !s.k.Lasts {
		s.do("set -- old; " + s.f.Runs + "; echo old >>$ROOT/ran")
	}
}

func (s *suite) ends(what, script, want string) {
	s.t.Helper()
	if got := s.do(s.script(script)); got != want {
		s.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// is says what must run, what was activated last, and what the link must name; "" is not
// looked at.
func (s *suite) is(runs, link string) {
	s.t.Helper()
	s.ends("what runs", "basename $(K_now)", runs)
	if !s.f.NoActivation {
		s.ends("what was activated", "tail -n 1 $ROOT/ran", runs)
	}
	if link != "" {
		s.ends("the link", "basename $(readlink -f $LINK)", link)
	}
}

// reboots: nothing in /run outlives it. What is booted is old, and the host itself takes back
// what a reboot leaves as it was.
func (s *suite) reboots() {
	s.t.Helper()
	if !s.k.Lasts {
		s.do("[ ! -e state/recover ]; set -- old; " + s.f.Runs + "; echo old >>$ROOT/ran")
		return
	}
	s.do("rm -rf run; ls hooks/*.target.wants/godwit-recover.service >/dev/null")
	out, status := s.run("exec " + s.shell + " $ROOT/state/recover/run.sh recover")
	if status != 0 {
		s.t.Errorf("recover ends with %d: %s", status, out)
	}
	s.do("mkdir -p run/1")
	s.ends("left", "ls -d state/pending state/recover hooks 2>/dev/null; true", "")
	s.ends("recorded", `grep -c '"result":"rolled-back 0"' state/history.jsonl`, "1")
}

// link7: the generation from before, and none of ours.
func (s *suite) link7() {
	s.t.Helper()
	s.ends("generations", "readlink $LINK; ls ${LINK%/*}", "it-7-link\nit\nit-7-link")
}
