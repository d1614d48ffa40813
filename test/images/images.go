// Package images carries the recipe of the lab's images, so that a compiled
// test or labctl can make them wherever it runs.
package images

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed fetch-packages unpack accounts make-image builder-archive customize rootfs
var recipe embed.FS

// Make makes the image of a suite and architecture unless the container engine
// has it, and returns its name. Progress goes to log.
func Make(ctx context.Context, suite, arch string, log io.Writer) (string, error) {
	return run(ctx, log, "make-image", suite, arch)
}

// BuilderArchive makes the docker-archive file of a builder of the given
// architecture unless it is there, and returns its path.
func BuilderArchive(ctx context.Context, arch string, log io.Writer) (string, error) {
	return run(ctx, log, "builder-archive", arch)
}

// run lays the recipe into a temporary directory and runs one of its scripts.
func run(ctx context.Context, log io.Writer, script string, args ...string) (string, error) {
	dir, err := os.MkdirTemp("", "lab-recipe-")
	if err != nil {
		return "", fmt.Errorf("cannot unpack the image recipe: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := unpack(dir); err != nil {
		return "", fmt.Errorf("cannot unpack the image recipe: %w", err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "bash", append([]string{filepath.Join(dir, script)}, args...)...)
	cmd.Stdout = &out
	cmd.Stderr = io.MultiWriter(log, &errs)
	if err := cmd.Run(); err != nil {
		if msg := strings.TrimSpace(errs.String()); msg != "" {
			return "", errors.New(msg)
		}
		return "", fmt.Errorf("%s %s: %w", script, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out.String()), nil
}

// unpack writes the recipe below dir.
func unpack(dir string) error {
	return fs.WalkDir(recipe, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, path)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := recipe.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o755)
	})
}
