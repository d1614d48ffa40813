package nix

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/scratch"
)

// ResultDir puts a directory of links into this machine's store, NAME ->
// PATH for each host, and gives its path: what morph calls the result path. A
// name with a slash makes a directory (HOST/TARGET). Equal links give an equal path.
//
// Morph builds this with runCommand and so needs a builder of the platform of
// network.pkgs. A link is only text: it is added with `nix-store --add`, which
// works on any machine and when the outputs are in a builder's store alone.
// The price is that the store does not know the links as references: what keeps
// the outputs alive is each host's own GC root.
func (t *Tool) ResultDir(ctx context.Context, links map[string]string) (string, error) {
	tmp, err := scratch.New("result-")
	if err != nil {
		return "", fault.New("cannot make the result directory: %s", err).Because(err)
	}
	defer func() { _ = tmp.Remove() }()
	dir := filepath.Join(tmp.Path, "godwit")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fault.New("cannot make the result directory: %s", err).Because(err)
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		link := filepath.Join(dir, filepath.FromSlash(name))
		if !strings.HasPrefix(link, dir+string(filepath.Separator)) {
			return "", fault.New("'%s' cannot be the name of a link", name)
		}
		err := os.MkdirAll(filepath.Dir(link), 0o755)
		if err == nil {
			err = os.Symlink(links[name], link)
		}
		if err != nil {
			return "", fault.New("cannot make the result directory: %s", err).Because(err)
		}
	}
	out, err := t.Output(ctx, "nix-store", "--add", dir)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// RootDerivations makes links in dir to derivations and registers them as
// indirect GC roots: as long as dir is there they, and all that they are built
// from as derivations, are not collected. Importing a .drv file gives the same
// derivation again, which is how one process roots them all.
func (t *Tool) RootDerivations(ctx context.Context, dir string, drvs []string) error {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return fault.New("cannot make GC roots in %s: %s", dir, err).Because(err)
	}
	for i := 0; len(drvs) > 0; i++ {
		n := min(len(drvs), argsLimit)
		link := filepath.Join(dir, "drv-"+strconv.Itoa(i))
		list, err := QuoteJSON(drvs[:n])
		if err != nil {
			return err
		}
		cmd := t.Command(ctx, "nix-instantiate", "--add-root", link, "--indirect", "-")
		cmd.Stdin = strings.NewReader("map import " + list)
		if _, said, err := collect(cmd); err != nil {
			return t.Failure(ctx, cmd, err, said)
		}
		drvs = drvs[n:]
	}
	return nil
}

// InShell gives a Tool whose processes have the environment of `nix-shell --pure`
// of a derivation, and its programs where it has some of Nix's own.
func (t *Tool) InShell(ctx context.Context, drv string) (*Tool, error) {
	out, err := t.Output(ctx, "nix-shell", drv, "--pure", "--run", "/usr/bin/env -0")
	if err != nil {
		return nil, err
	}
	var env []string
	path := ""
	for _, v := range strings.Split(string(out), "\x00") {
		name, value, ok := strings.Cut(v, "=")
		// A build's own temporary places end with the shell.
		if !ok || slices.Contains([]string{"TMP", "TEMP", "TMPDIR", "TEMPDIR", "NIX_BUILD_TOP", "PWD", "OLDPWD", "SHLVL", "_"}, name) {
			continue
		}
		if name == "PATH" {
			path = value
			continue
		}
		env = append(env, v)
	}
	in := t.With(nil, env...)
	in.programs = maps.Clone(t.programs)
	for _, name := range []string{"nix", "nix-store", "nix-build", "nix-instantiate", "nix-copy-closure"} {
		for _, dir := range filepath.SplitList(path) {
			if p := filepath.Join(dir, name); executable(p) {
				in.programs[name] = p
				break
			}
		}
	}
	// What the shell does not have is still needed: ssh, git.
	in.settings.Env = append(in.settings.Env, "PATH="+path+string(os.PathListSeparator)+os.Getenv("PATH"))
	return in, nil
}
