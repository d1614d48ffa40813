package builder

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/paths"
	"godwit/internal/regular"
)

// DefaultImage is the image of a container builder: the official one, Nix
// 2.34.7, by the digest of its manifest list (amd64 and arm64), so that nobody
// can put something else in its place.
//
// The digest is the one that many independent public repositories pin for this
// tag, on docker.io and on ghcr.io alike (Dockerfiles kept by Renovate and
// others, looked up 2026-11); godwit's own tests run where no registry answers.
// Nix publishes at both places since 2.34.
const DefaultImage = "docker.io/nixos/nix:2.34.7@sha256:bf1d938835ab96312f098fa6c2e9cab367728e0aad0646ee3e02a787c80d8fb8"

// secondImage is the same image at another registry, for when the first does
// not answer or counts pulls; the digest makes it the same.
var secondImage = "ghcr.io/nixos/nix" + DefaultImage[strings.IndexByte(DefaultImage, '@'):]

// image is an image that the engine has.
type image struct {
	ref  string // as asked for
	id   string
	file bool // came from a file
}

func shortID(id string) string {
	id = id[strings.IndexByte(id, ':')+1:]
	return id[:min(12, len(id))]
}

// findImage gives the image, loading or pulling it when the engine has it not.
func (c *container) findImage(ctx context.Context, scope event.Scope) (image, error) {
	ref := c.settings.Image
	if ref == "" && c.settings.ImageFile != "" {
		return c.loadImage(ctx, scope, c.settings.ImageFile)
	}
	if ref == "" {
		ref = DefaultImage
	}
	if strings.HasPrefix(ref, "-") {
		return image{}, fault.New("%q is not an image", ref)
	}
	// The id of an earlier run says which of a list's images is ours.
	known := imageIDs{}
	_ = known.load()
	key := c.eng.Kind + " " + c.system + " " + ref
	if id := known[key]; id != "" {
		if got, arch, err := c.inspectImage(ctx, id); err == nil && (arch == "" || c.is(arch)) {
			return image{ref: ref, id: got}, nil
		}
	}
	if got, arch, err := c.inspectImage(ctx, ref); err == nil && c.is(arch) {
		return image{ref: ref, id: got}, nil
	}
	if ctx.Err() != nil {
		return image{}, ctx.Err()
	}
	if c.settings.ImageFile != "" {
		return c.loadImage(ctx, scope, c.settings.ImageFile)
	}
	refs := []string{ref}
	if ref == DefaultImage {
		refs = append(refs, secondImage)
	}
	var pulled string
	var first error
	for _, r := range refs {
		name, _, _ := strings.Cut(r, "@")
		scope.Emit(event.Event{Kind: event.Progress, Text: "pulling " + name})
		_, err := c.eng.output(ctx, "pull", "--quiet", "--platform", platform(c.system), pullRef(r))
		if ctx.Err() != nil {
			return image{}, ctx.Err()
		}
		if err == nil {
			pulled = r
			break
		}
		if first == nil {
			first = c.eng.trouble("pulling "+name, err)
		}
	}
	if pulled == "" {
		var f *fault.Error
		if errors.As(first, &f) {
			f.Exit(ExitNoBuilder).Hint("without a registry: load an image from a file with --image-file FILE").
				Hint("or name an image that %s has: --image NAME", c.eng.Name)
		}
		return image{}, first
	}
	got, _, err := c.inspectImage(ctx, pullRef(pulled))
	if err != nil {
		return image{}, c.eng.trouble("looking at "+ref, err)
	}
	known[key] = got
	_ = known.save()
	return image{ref: ref, id: got}, nil
}

// pullRef leaves out the tag where there is a digest: not every engine takes both.
func pullRef(ref string) string {
	name, digest, ok := strings.Cut(ref, "@")
	if !ok {
		return ref
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + digest
}

func (c *container) is(arch string) bool {
	return strings.HasPrefix(c.system, nixArch(arch)+"-")
}

func (c *container) inspectImage(ctx context.Context, ref string) (id, arch string, err error) {
	out, err := c.eng.output(ctx, "image", "inspect", "--format", "{{.Id}} {{.Architecture}}", pullRef(ref))
	if err != nil {
		return "", "", err
	}
	w := strings.Fields(out)
	if len(w) == 0 {
		return "", "", errors.New("no such image")
	}
	if len(w) > 1 {
		arch = w[1]
	}
	return w[0], arch, nil
}

// loadImage gives the image in a docker-archive, loading it when needed.
func (c *container) loadImage(ctx context.Context, scope event.Scope, file string) (image, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return image{}, fault.New("cannot read the image %s: %s", file, err).Because(err)
	}
	config, err := archiveImage(abs)
	if err != nil {
		e := fault.New("cannot read the image %s: %s", file, fault.Reason(err)).Because(err)
		if errors.Is(err, os.ErrNotExist) {
			e.Hint("make one where a registry answers: docker pull %s && docker save -o %s %s", DefaultImage, file, DefaultImage)
		}
		return image{}, e
	}
	if config != "" {
		// The id of an image is the digest of its configuration (not so with
		// the containerd image store: then it is loaded once more, for nothing).
		if id, _, err := c.inspectImage(ctx, config); err == nil {
			return image{ref: abs, id: id, file: true}, nil
		}
	}
	scope.Emit(event.Event{Kind: event.Progress, Text: "loading " + file})
	out, err := c.eng.output(ctx, "load", "--input", abs)
	if err != nil {
		if ctx.Err() != nil {
			return image{}, ctx.Err()
		}
		return image{}, c.eng.trouble("loading "+file, err)
	}
	// "Loaded image: NAME" or "Loaded image ID: sha256:…", one a line.
	for _, l := range strings.Split(out, "\n") {
		if _, name, ok := strings.Cut(l, "Loaded image"); ok {
			_, name, _ = strings.Cut(name, ": ")
			if id, _, err := c.inspectImage(ctx, strings.TrimSpace(name)); err == nil {
				return image{ref: abs, id: id, file: true}, nil
			}
		}
	}
	return image{}, fault.New("%s: loading %s gave no image: %s", c.eng.Name, file, firstWords(out))
}

// archiveImage reads the digest of the image's configuration from a
// docker-archive; "" for other formats.
func archiveImage(file string) (string, error) {
	f, err := regular.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return "", errors.New("it is not an image archive")
		}
		if err != nil {
			if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
				return "", nil // compressed, perhaps: the engine will say
			}
			return "", err
		}
		switch h.Name {
		case "index.json", "oci-layout":
			return "", nil
		case "manifest.json":
			var m []struct{ Config string }
			if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&m); err != nil || len(m) != 1 {
				return "", nil
			}
			digest := strings.TrimSuffix(filepath.Base(m[0].Config), ".json")
			if len(digest) != 64 {
				return "", nil
			}
			return "sha256:" + digest, nil
		}
	}
}

// imageIDs remembers which image a reference and a system stand for.
type imageIDs map[string]string

func (m *imageIDs) file() (string, error) {
	d, err := paths.State()
	return filepath.Join(d, "images.json"), err
}

func (m *imageIDs) load() error {
	f, err := m.file()
	if err != nil {
		return err
	}
	b, err := regular.Read(f, 1<<20)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, m)
}

func (m *imageIDs) save() error {
	f, err := m.file()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return paths.Write(f, append(b, '\n'))
}
