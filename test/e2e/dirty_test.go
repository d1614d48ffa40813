package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"godwit/internal/ui/text/texttest"
	"godwit/test/hostile"
)

// dirt is hostile.Dirt as far as a Nix file and a commit can hold it.
var dirt = strings.ToValidUTF8(strings.ReplaceAll(hostile.Dirt, "\x00", ""), "")

// drawn are the sequences that the live view may write.
var drawn = func() []string {
	s := []string{"\x1b[?2026h", "\x1b[?2026l", "\x1b[?25l", "\x1b[?25h", "\x1b[?7l", "\x1b[?7h", "\x1b[K", "\x1b[J", "\x1b[1B", "\r"}
	for n := range 60 {
		s = append(s, fmt.Sprintf("\x1b[%dA", n))
	}
	for _, c := range []int{0, 1, 2, 31, 32, 33, 36} {
		s = append(s, fmt.Sprintf("\x1b[%dm", c))
	}
	return s
}()

// undrawn are sequences that are allowed in themselves, but not from others.
var undrawn = regexp.MustCompile(`\x1b\[31mred|\rover|\x1b\[1Aup`)

// clean checks what a run wrote: on a terminal, to a pipe, as JSON.
func clean(t *testing.T, what, out string, live bool) {
	t.Helper()
	var but []string
	if live {
		but = drawn
	}
	if err := texttest.Harmless(out, but...); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if m := undrawn.FindString(out); m != "" {
		t.Errorf("%s: foreign %q came through", what, m)
	}
	for _, l := range strings.Split(out, "\n") {
		if len(l) > 40<<10 && !strings.HasPrefix(l, "{") {
			t.Errorf("%s: a line of %d bytes: %.200q", what, len(l), l)
		}
	}
	if strings.Contains(out, "an internal fault") || strings.Contains(out, "goroutine ") {
		t.Errorf("%s: a panic:\n%s", what, out)
	}
}

// The verbs that read what others wrote: those that talk to hosts, with hostile hosts, and
// those that are about a repository, with hosts in it that do not evaluate or build.
var (
	hostVerbs = [][]string{
		{"status", "-v", "NET", "--on", "w*"}, {"exec", "--on", "w*", "NET", "printf 'a\\033[2Jb\\n'; ls /"},
		{"deploy", "NET", "switch", "--on", "w*", "--timeout", "2", "--yes"},
	}
	moreHostVerbs = [][]string{
		{"check-health", "NET", "--on", "w*", "--timeout", "2"}, {"upload-secrets", "NET", "--on", "w*", "--timeout", "2"},
		{"push", "NET", "--on", "w*"}, {"plan", "NET", "--on", "w*"}, {"diff", "NET", "--on", "w*"}, {"gc", "NET", "--on", "w*"}, {"rollback", "NET", "--on", "w*"},
		{"confirm", "NET", "--on", "w*"}, {"history", "NET", "-v", "--last", "0"}, {"history"},
	}
	repositoryVerbs = [][]string{
		{"hosts", "NET"}, {"list-secrets", "NET"}, {"eval", "NET", "web.config.deployment.tags"}, {"eval", "NET", "thrower.config.x"}, {"plan", "NET"}, {"status", "NET"}, {"deploy", "NET", "switch", "--yes"},
		{"build", "NET"}, {"build", "NET", "--show-trace", "-v", "--on", "thrower"}, {"build", "NET", "--on", "fails", "-v"},
		{"build", "NET", "--on", "nobody" + dirt}, {"no-such-verb" + dirt}, {"build", "--no-such" + dirt}, {"build", "NET", "--option", "x" + dirt, "y"}, {"builder", "status"},
	}
)

// TestDirtyWords has a hostile host, a hostile repository and a hostile build write
// what a terminal would obey, with every verb, on a terminal and off it.
func TestDirtyWords(t *testing.T) {
	needLab(t)
	t.Parallel()
	kinds := map[string]hostile.Host{
		"banner":     hostile.Named("refuses with a dirty banner").Alone,
		"no account": hostile.Named("ends at once with dirty words").Alone,
		"alone":      hostile.Named("dirty words in a command").Alone,
	}
	for name, host := range kinds {
		t.Run(name, func(t *testing.T) {
			turn(t)
			verbs := hostVerbs
			if name == "alone" {
				verbs = slices.Concat(hostVerbs, moreHostVerbs)
				dirty(t, hostile.Start(t, host), repositoryVerbs, brokenHosts, all)
			}
			dirty(t, hostile.Start(t, host), verbs, "", all)
		})
	}
}

// TestDirtyWordsBehind is a host that works, but for some of the lines that it says. Each
// verb meets every share of lines in one of the three ways to write, another one each day.
func TestDirtyWordsBehind(t *testing.T) {
	h := host(t, "spare")
	today := int(time.Now().Unix()/86400) % len(ways)
	t.Logf("part %d of the ways to write", today)
	behind := func(ctx context.Context, user, line string) *exec.Cmd {
		return exec.CommandContext(ctx, "ssh", append(h.SSHArgs(user), line)...)
	}
	n := 0
	for i, every := range []int{1, 3, 7} {
		s := hostile.Start(t, hostile.Host{Banner: hostile.Dirt + "\n", Behind: behind, Command: func(c *hostile.Command) {
			if c.IsLogin() {
				c.Good()
				return
			}
			c.Rewritten(func(line string) string {
				if n++; n%every != 0 || strings.Contains(line, "\x00") {
					return line
				}
				return strings.TrimSuffix(line, "\n") + hostile.Dirt + strings.Repeat("long", 20<<10) + "\n"
			})
		}})
		t.Run(strconv.Itoa(every), func(t *testing.T) {
			dirty(t, s, slices.Concat(hostVerbs, moreHostVerbs), "", func(verb int) []way { return []way{ways[(verb+i+today)%len(ways)]} })
		})
	}
	w := newWorld(t, h)
	net := w.fleetOf(service("clean"), map[string]string{h.Name: amd64})
	w.run("rollback", "--pending", "--on", "*", net) // whatever the host was in the midst of
	w.run("deploy", net, "switch").exits(0)
	isSettled(t, h)
}

// brokenHosts do not evaluate, or do not build: Nix evaluates them anew for each verb.
const brokenHosts = `  thrower = { ... }: { imports = [ base ]; environment.etc.x.text = throw "no: DIRT\nsecond line DIRT"; };
  wrong = { ... }: { imports = [ base ]; services."DIRT".enable = true; };
  fails = { pkgs, ... }: { imports = [ base ]; environment.etc.x.source = pkgs.runCommand "x" { } ''printf '%s\n' "DIRT"; printf '%s\n' "DIRT" >&2; exit 1''; };
`

// way is a way in which a run writes what it says.
type way string

const (
	piped  way = "piped"
	live   way = "live"
	asJSON way = "JSON"
)

var ways = []way{piped, live, asJSON}

// all has each verb run in all ways.
func all(int) []way { return ways }

// dirty runs verbs with a host s and a repository, both of which say what a terminal would
// obey, each in the ways that are said for its number. broken is more hosts of the repository.
func dirty(t *testing.T, s *hostile.Server, verbs [][]string, broken string, in func(verb int) []way) {
	w := newWorld(t)
	w.env = append(w.env, "SSH_CONFIG_FILE="+s.ConfigFile, "XDG_STATE_HOME="+filepath.Join(w.dir, "state"))
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`).Replace(dirt)
	w.file("secret", "s")
	net := w.file("network.nix", fmt.Sprintf(`
let base = { lib, ... }: {
  nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "24.05";
  deployment.targetUser = "deploy"; deployment.targetHost = "127.0.0.1"; deployment.targetPort = %[1]d; deployment.tags = [ "%[2]s" ];
}; in {
  network.description = "%[2]s";
  web = { ... }: { imports = [ base ];
    deployment.healthChecks.cmd = [ { description = "check %[2]s"; cmd = [ "cat" "/nowhere%[2]s" ]; period = 1; } ];
    deployment.secrets."%[2]s" = { source = "./secret"; destination = "/run/secret"; owner = { user = "root"; group = "root"; }; action = [ "echo" "%[2]s" ]; };
  };
  "we%[2]sird" = { ... }: { imports = [ base ]; };
  "w-lost" = { lib, ... }: { imports = [ base ]; deployment.targetHost = lib.mkForce "lost%[2]s.invalid"; };
  warner = { ... }: { imports = [ base ]; environment.etc.x.text = builtins.trace "trace: %[2]s" (builtins.trace "warning: %[2]s" "x"); };
%[3]s}`, s.Port, quoted, strings.ReplaceAll(broken, "DIRT", quoted)))
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", w.dir, "-c", "user.name=A" + dirt, "-c", "user.email=a@b"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	git("add", "network.nix")
	git("commit", "-q", "-m", "subject "+dirt)
	for n, verb := range verbs {
		args := make([]string, len(verb))
		for i, a := range verb {
			args[i] = strings.ReplaceAll(a, "NET", net)
		}
		what := strings.ReplaceAll(strings.Join(verb, " "), dirt, "DIRT")
		for _, way := range in(n) {
			what := what + ", " + string(way)
			switch {
			case way == piped:
				r := w.run(args...)
				clean(t, what+", stdout", r.stdout, false)
				clean(t, what+", stderr", r.stderr, false)
			case args[0] == "no-such-verb"+dirt:
			case way == live:
				clean(t, what, w.onTerminal(args...), true)
			case way == asJSON:
				r := w.run(append([]string{"--json"}, args...)...)
				clean(t, what+", stdout", r.stdout, false)
				clean(t, what+", stderr", r.stderr, false)
				isJSON(t, what, r.stdout)
			}
		}
	}
}

// isJSON checks that what was written is a row of values, where it begins like one.
func isJSON(t *testing.T, what, out string) {
	t.Helper()
	if out = strings.TrimSpace(out); !strings.HasPrefix(out, "{") && !strings.HasPrefix(out, "[") {
		return
	}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var v any
		if err := dec.Decode(&v); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
	}
}

// onTerminal runs godwit on a terminal and gives all that it wrote there.
func (w *world) onTerminal(args ...string) string {
	w.t.Helper()
	cmd := exec.Command(shared.godwit, args...)
	cmd.Dir = w.dir
	cmd.Env = append(append(os.Environ(), w.env...), "CI=", "TERM=xterm-256color")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	kill := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	out, _ := io.ReadAll(f) // ends with an error when godwit has closed the terminal
	_ = cmd.Wait()
	return string(out)
}
