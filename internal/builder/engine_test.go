package builder

import (
	"slices"
	"strings"
	"testing"

	"godwit/internal/fault"
)

// The same words begin and end each call that makes a container.
const (
	transcriptRun  = "run --detach --init --name b --hostname godwit-builder --label LABELS --volume v:/nix --restart no --stop-signal SIGTERM"
	transcriptIdle = "--network none --platform linux/amd64 --entrypoint /bin/sh sha256:1 -c " + idle
)

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
			replay(t, c.transcript, transcript(t, c.transcript))
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
