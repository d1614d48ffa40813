package builder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/ui/text/texttest"
)

// speaker is a builder that says something, whatever it hears.
type speaker struct{ io.Reader }

func (speaker) Write(p []byte) (int, error) { return len(p), nil }

// FuzzHello reads the beginning of the protocols of a builder.
func FuzzHello(f *testing.F) {
	f.Add([]byte("oixd\x00\x00\x00\x00\x25\x01\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xef\xbe\x47\x54\x00\x00\x00\x00\x07\x02\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("This account is currently not available.\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err1 := workerHello(speaker{bytes.NewReader(b)})
		err2 := serveHello(speaker{bytes.NewReader(b)})
		for _, err := range []error{err1, err2} {
			if err != nil {
				if err := texttest.Harmless(fault.Render(err)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// FuzzEngine reads what an engine says: its version, of containers, of images, and
// when something fails. The engine is a program that prints it.
func FuzzEngine(f *testing.F) {
	dir := f.TempDir()
	answer := filepath.Join(dir, "answer")
	program := filepath.Join(dir, "docker")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec cat "+answer+"\n"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Add("amd64 linux 27.1.2")
	f.Add(`[{"Name":"/x","State":{"Running":true,"StartedAt":"2026-01-01T00:00:00Z"},"Config":{"Labels":{"a":"b"}}}]`)
	f.Add("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
	f.Add("{}\n1\n2\n3\n")
	docker, _ := kindOf("docker")
	f.Fuzz(func(t *testing.T, s string) {
		if err := os.WriteFile(answer, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		eng, state, hints := tryEngine(ctx, docker, program)
		if eng == nil {
			eng = &Engine{Program: program, Kind: "docker", Name: "Docker"}
			if err := texttest.Harmless(fault.Render(fault.New("%s", state).Hint("%s", strings.Join(hints, "\n")))); err != nil {
				t.Error(err)
			}
		}
		c := &container{eng: eng, system: "x86_64-linux"}
		_, _, err1 := c.inspectImage(ctx, "nix")
		m := &Manager{}
		st, err2 := m.inspect(ctx, eng, "godwit-builder")
		m.ask(ctx, eng, &st, true)
		state, _ = engineTrouble(docker, s)
		err3 := eng.trouble("pulling", &engineError{s, errors.New("exit status 1")})
		for _, err := range []error{err1, err2, err3, errors.New(state)} {
			if err != nil {
				if err := texttest.Harmless(fault.Render(err)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
