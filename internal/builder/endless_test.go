package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/bounded"
)

// TestEndlessEngine has an engine talk without end: the error names the limit, and the
// engine is ended.
func TestEndlessEngine(t *testing.T) {
	for name, words := range map[string]string{"lines": "exec yes", "line": "exec tr '\\0' x </dev/zero"} {
		program := filepath.Join(t.TempDir(), "docker")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+words+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		eng := &Engine{Program: program, Kind: "docker", Name: "Docker"}
		began := time.Now()
		out, err := eng.output(t.Context(), "ps")
		if !bounded.Is(err) || out != "" || !strings.Contains(err.Error(), "what Docker prints is longer than 64 MiB") {
			t.Errorf("%s: %.100q, %v", name, out, err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}
