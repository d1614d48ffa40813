package release

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reader is a program that reads a configuration as goreleaser does: a key that it does not
// know is an error.
const reader = `package main

import (
	"fmt"
	"os"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

func main() {
	for _, file := range os.Args[1:] {
		c, err := config.Load(file)
		if err != nil {
			fmt.Println(file+":", err)
			os.Exit(1)
		}
		fmt.Println(len(c.Builds), len(c.Archives), len(c.NFPMs), len(c.SBOMs), len(c.Casks))
	}
}
`

// atHome is a copy of the tree that was published.
func atHome(t *testing.T, dir string) string {
	t.Helper()
	ctx := full(t)
	tree := copyTree(t, ctx, filepath.Join(dir, "tree"))
	run(t, ctx, "../..", nil, "go", "run", "./internal/tools/publish", "forge.example/team/godwit", tree)
	return tree
}

// TestGoreleaserReads: goreleaser's own reader takes its configuration, before and after the
// project has a home.
func TestGoreleaserReads(t *testing.T) {
	ctx := full(t)
	dir := t.TempDir()
	tree := atHome(t, dir)
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte(reader), 0o644); err != nil {
		t.Fatal(err)
	}
	got := run(t, ctx, "../..", nil, "go", "run", "-modfile=packaging/release.mod", main, ".goreleaser.yaml", filepath.Join(tree, ".goreleaser.yaml"))
	if !strings.HasSuffix("\n"+got, "\n1 1 1 1 0\n1 1 1 1 1\n") { // before it Go says what it downloads, the first time
		t.Errorf("builds, archives, packages, SBOMs, casks: %s", got)
	}
	// What is not known is refused, so the above says something.
	data, err := os.ReadFile("../../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, append(data, "casks: []\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, "../..", nil, "sh", "-c", "! go run -modfile=packaging/release.mod "+main+" "+bad)
}

// TestGoreleaser makes a whole release of a copy of the tree, and publishes nothing. It
// compiles goreleaser, which takes minutes, so it runs when GODWIT_TEST_GORELEASER is set.
func TestGoreleaser(t *testing.T) {
	if os.Getenv("GODWIT_TEST_GORELEASER") == "" {
		t.Skip("compiles goreleaser: set GODWIT_TEST_GORELEASER=1")
	}
	ctx := full(t)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, "../..", nil, "go", "build", "-modfile=packaging/release.mod", "-o", bin+"/", "github.com/goreleaser/goreleaser/v2", "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod")
	tree := atHome(t, dir)
	run(t, ctx, tree, nil, "sh", "-c", `git init -q . && git add -A && GIT_COMMITTER_DATE="2026-11-20T01:00:00+0300" git -c user.name=t -c user.email=t@example.org commit -qm begin &&
		git tag v1.2.3 && git remote add origin https://forge.example/team/godwit.git`)
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "GOMODCACHE=" + strings.TrimSpace(run(t, ctx, ".", nil, "go", "env", "GOMODCACHE")),
		"GOCACHE=" + strings.TrimSpace(run(t, ctx, ".", nil, "go", "env", "GOCACHE"))}
	goreleaser := filepath.Join(bin, "goreleaser") // a program is looked for on PATH of the test, not on that of env
	run(t, ctx, tree, env, goreleaser, "check")
	t.Log(run(t, ctx, tree, env, goreleaser, "release", "--snapshot", "--clean", "--parallelism", "2"))

	var artifacts []struct{ Name, Path, Type string }
	data, err := os.ReadFile(filepath.Join(tree, "dist/artifacts.json"))
	if err != nil || json.Unmarshal(data, &artifacts) != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	count := map[string]int{}
	for _, a := range artifacts {
		count[a.Type]++
		if st, err := os.Stat(filepath.Join(tree, a.Path)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", a.Path, err)
		}
	}
	if got := fmt.Sprint(count); got != "map[Archive:4 Binary:4 Checksum:1 Homebrew Cask:1 Linux Package:6 Metadata:1 SBOM:4]" {
		t.Errorf("made: %s", got)
	}
	if cask := run(t, ctx, tree, nil, "cat", "dist/homebrew/Casks/godwit.rb"); strings.Count(cask, `"https://forge.example/team/godwit/releases/download/v1.2.3/godwit_#{version}_`) != 4 {
		t.Errorf("the cask:\n%s", cask)
	}
	sums := run(t, ctx, tree, nil, "sh", "-c", "cd dist && sha256sum -c SHA256SUMS")
	if strings.Count(sums, ": OK") < 14 {
		t.Errorf("sums:\n%s", sums)
	}
	// The tarball of this machine has all that it should, and its program says which it is.
	said := run(t, ctx, tree, nil, "sh", "-c", `mkdir x && tar -xzf dist/*_linux_amd64.tar.gz -C x && find x -type f | sort && x/godwit --version && zcat x/man/godwit.1.gz | grep '^.TH'`)
	for _, want := range []string{"x/LICENSE", "x/README.md", "x/man/godwit-deploy.1.gz", "x/completions/godwit.zsh", "godwit version 1.2.3-SNAPSHOT-", `"godwit 1.2.3-SNAPSHOT-`} {
		if !strings.Contains(said, want) {
			t.Errorf("no %s in\n%s", want, said)
		}
	}
	// The packages have it, too.
	for _, list := range []string{"dpkg-deb -c dist/*_linux_amd64.deb", "tar -tzf dist/*_linux_amd64.apk"} {
		said := run(t, ctx, tree, nil, "sh", "-c", list)
		for _, want := range []string{"usr/bin/godwit\n", "man1/godwit-deploy.1.gz\n", "completions/godwit\n", "vendor-completions/_godwit\n", "godwit.fish\n", "doc/godwit/copyright\n"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: no %q in\n%s", list, want, said)
			}
		}
	}
	// docs/releasing.md: everybody can build the same program.
	run(t, ctx, tree, nil, "sh", "-c", `VERSION=$(x/godwit --version | cut -d' ' -f3) packaging/prepare again && cmp again/godwit x/godwit`)
}
