package builder

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"godwit/internal/fault"
)

// The same words begin and end each call that makes a container.
const (
	transcriptRun  = "run --detach --init --name b --hostname godwit-builder --label LABELS --volume v:/nix --restart no --stop-signal SIGTERM"
	transcriptIdle = "--network none --platform linux/amd64 --entrypoint /bin/sh sha256:1 -c " + idle
)

// replay puts engines on PATH that answer as a transcript says: "$ PROGRAM ARGS", then
// lines of stdout (>) and stderr (!), and the exit status (=). A command line that the
// transcript does not have fails the test.
func replay(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/engines", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	labels := labelBuilder + "=b --label " + labelSystem + "=x86_64-linux --label " + labelImage + "=r --label " + labelGeneration + "=g --label " + labelVolume + "=v"
	words := strings.NewReplacer("RUN", strings.Replace(transcriptRun, "LABELS", labels, 1), "IDLE", transcriptIdle)
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	n, command, out, stderr := 0, "", "", ""
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "#":
		case "$":
			command, out, stderr = words.Replace(rest), "", ""
		case ">":
			out += rest + "\n"
		case "!":
			stderr += rest + "\n"
		case "=":
			if _, err := strconv.Atoi(rest); err != nil || command == "" {
				t.Fatalf("%s, line %d: %q", name, i+1, line)
			}
			id := "call" + strconv.Itoa(n)
			write(id, command, 0o600)
			write(id+".out", out, 0o600)
			write(id+".err", stderr, 0o600)
			write(id+".status", rest, 0o600)
			program, _, _ := strings.Cut(command, " ")
			write(program, `#!/bin/sh
d=${0%/*}
for f in "$d"/call*.status; do
	f=${f%.status}
	if [ "$(cat "$f")" = "${0##*/} $*" ]; then
		cat "$f.out"
		cat "$f.err" >&2
		: >"$f.used"
		exit "$(cat "$f.status")"
	fi
done
printf '%s\n' "${0##*/} $*" >>"$d/unknown"
exit 99
`, 0o700)
			n, command = n+1, ""
		default:
			t.Fatalf("%s, line %d: %q", name, i+1, line)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin-of-no-engine:/bin-of-no-engine")
	// The script needs cat.
	cat := ""
	for _, p := range []string{"/bin/cat", "/usr/bin/cat"} {
		if _, err := os.Stat(p); err == nil {
			cat = p
		}
	}
	if err := os.Symlink(cat, filepath.Join(dir, "cat")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if unknown, err := os.ReadFile(filepath.Join(dir, "unknown")); err == nil {
			t.Errorf("%s does not know:\n%s", name, unknown)
		}
		for i := range n {
			if _, err := os.Stat(filepath.Join(dir, "call"+strconv.Itoa(i)+".used")); err != nil {
				b, _ := os.ReadFile(filepath.Join(dir, "call"+strconv.Itoa(i)))
				t.Errorf("%s: nobody said: %s", name, b)
			}
		}
	})
}

// TestEngineTranscripts: every engine is found, or why not is told, and is asked for
// containers and images in words that it knows.
func TestEngineTranscripts(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	for _, c := range []struct {
		transcript, want string
		engine           Engine // found
		row              string // or why not
		hint             string
		asks             bool // for what is not there
	}{
		{transcript: "docker", engine: Engine{Kind: "docker", Name: "Docker", Arch: "x86_64", Version: "20.10.24+dfsg1"}, asks: true},
		{transcript: "docker-old", engine: Engine{Kind: "docker", Name: "Docker", Arch: "x86_64", Version: "20.10.24+dfsg1"}},
		{transcript: "docker-down", row: "Docker: not running", hint: "start it: "},
		{transcript: "podman", engine: Engine{Kind: "podman", Name: "Podman", Arch: "x86_64", Version: "4.3.1"}, asks: true},
		{transcript: "podman", want: "podman", engine: Engine{Kind: "podman", Name: "Podman", Arch: "x86_64", Version: "4.3.1"}, asks: true},
		{transcript: "podman-broken", row: "Podman: does not work: cannot clone: Operation not permitted", hint: "podman info"},
		{transcript: "podman-machine", row: "Podman: not running", hint: "start it: "},
		{transcript: "podman-as-docker", engine: Engine{Kind: "podman", Name: "Podman", Arch: "aarch64", Version: "4.3.1"}},
		{transcript: "nerdctl", engine: Engine{Kind: "nerdctl", Name: "nerdctl", Arch: "x86_64", Version: "1.7.0"}, asks: true},
	} {
		t.Run(c.transcript+c.want, func(t *testing.T) {
			replay(t, c.transcript)
			engines := &Engines{}
			eng, err := engines.Find(t.Context(), c.want)
			if c.row != "" {
				facts := engines.Facts(t.Context(), c.want)
				rows := make([]string, len(facts.Lines))
				for i, l := range facts.Lines {
					rows[i] = l[0] + ": " + l[1]
				}
				if err == nil || !slices.Contains(rows, c.row) || !strings.Contains(strings.Join(facts.Hints, "\n"), c.hint) {
					t.Errorf("%v: %q, %q", err, rows, facts.Hints)
				}
				return
			}
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			program := eng.Program
			if eng.Program = ""; *eng != c.engine {
				t.Errorf("found %+v", *eng)
			}
			eng.Program = program
			b := &container{eng: eng, engines: engines, settings: Settings{Network: "none"}, system: "x86_64-linux", ctr: "b"}
			if err := b.make(t.Context(), image{ref: "r", id: "sha256:1"}, "g", "v", true); err != nil {
				t.Errorf("making a container: %v", err)
			}
			if !c.asks {
				return
			}
			if state, err := b.state(t.Context()); state != "" || err != nil {
				t.Errorf("a container that is not there: %q, %v", state, err)
			}
			if id, _, err := b.inspectImage(t.Context(), "nope:1"); err == nil {
				t.Errorf("an image that is not there: %q", id)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		_, err := (&Engines{}).Find(t.Context(), "dokcer")
		if text := fault.Render(err); !strings.Contains(text, "not an engine that godwit knows (docker, podman, nerdctl)") {
			t.Error(text)
		}
	})
}
