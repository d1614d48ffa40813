// Package release tries what a release is made of: equal bytes from any folder, packages that come
// and go without a trace, the flake, and the move to a public home. It works on copies of the tree.
package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"godwit/test/lab"
)

const (
	version = "1.2.3"
	commit  = "4f2a91c0ffee4f2a91c0ffee4f2a91c0ffee0000"
	date    = "2026-11-28T22:10:00Z"
)

func full(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("compiles godwit anew")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// run runs a command in a folder and gives what it printed.
func run(t *testing.T, ctx context.Context, dir string, env []string, words ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out.String())
	}
	return out.String()
}

// copyTree copies what git knows, and what it would take, to a folder.
func copyTree(t *testing.T, ctx context.Context, to string) string {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, "../..", []string{"TO=" + to}, "sh", "-c", `git ls-files -co --exclude-standard -z | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' - | xargs -0 cp --parents -t "$TO"`)
	return to
}

// sums are the hashes of all files of a folder.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var prepared = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "release-") })

// built is a tree in which packaging/prepare has run, for all tests.
func built(t *testing.T, ctx context.Context) string {
	t.Helper()
	dir, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/tree/dist-extra/godwit"); err == nil {
		return dir + "/tree"
	}
	copyTree(t, ctx, dir+"/tree")
	run(t, ctx, dir+"/tree", stamp(), "packaging/prepare")
	return dir + "/tree"
}

func stamp() []string {
	return []string{"VERSION=" + version, "GODWIT_COMMIT=" + commit, "GODWIT_DATE=" + date}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := prepared(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// TestReproducible: two folders, equal bytes.
func TestReproducible(t *testing.T) {
	ctx := full(t)
	one := built(t, ctx)
	two := copyTree(t, ctx, filepath.Join(t.TempDir(), "a longer path", "of folders"))
	run(t, ctx, two, append(stamp(), "TZ=Asia/Tokyo", "LC_ALL=C"), "packaging/prepare")
	a, b := sums(t, one+"/dist-extra"), sums(t, two+"/dist-extra")
	if len(a) < 40 {
		t.Errorf("%d files: %v", len(a), a)
	}
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s differs", name)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d files and %d", len(a), len(b))
	}
	// Secrets are decrypted on hosts of both architectures.
	program, err := os.ReadFile(one + "/dist-extra/godwit")
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if part, err := os.ReadFile(one + "/dist-extra/programs/godwit-secrets-linux-" + arch); err != nil || !bytes.Contains(program, part) {
			t.Errorf("godwit does not have what decrypts secrets on linux/%s: %v", arch, err)
		}
	}
	if got, want := run(t, ctx, one, nil, "dist-extra/godwit", "--version"), "godwit version 1.2.3 (commit 4f2a91c0ffee of 2026-11-28, "; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestPackages makes the packages twice, installs the deb on a host and removes it.
func TestPackages(t *testing.T) {
	ctx := full(t)
	tree := built(t, ctx)
	env := append(stamp(), "ARCH=amd64", "SOURCE_DATE_EPOCH=1764367800")
	out := t.TempDir()
	nfpm := filepath.Join(out, "nfpm")
	run(t, ctx, "../..", nil, "go", "build", "-modfile=packaging/release.mod", "-o", nfpm, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
	for _, kind := range []string{"deb", "rpm", "apk"} {
		for _, n := range []string{"1", "2"} {
			run(t, ctx, tree, env, nfpm, "package", "-f", "packaging/nfpm.yaml", "-p", kind, "-t", filepath.Join(out, n+"."+kind))
		}
	}
	files := sums(t, out)
	if files["1.deb"] != files["2.deb"] {
		t.Error("two debs of one tree differ")
	}
	deb, err := os.ReadFile(filepath.Join(out, "1.deb"))
	if err != nil {
		t.Fatal(err)
	}

	h := lab.New(t, lab.Spec{Name: "pkg"})
	const trace = `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/lib/systemd -o -path /root \) -prune -o -print | sort`
	on := func(script, stdin string) string {
		t.Helper()
		r := h.RunInput(ctx, lab.Root, "set -eu\n"+script, stdin)
		if !r.OK() {
			t.Fatalf("%s\n%s", script, r)
		}
		return strings.TrimSpace(r.Stdout)
	}
	before := on(trace, "")
	on("cat >/tmp/godwit.deb; dpkg -i --force-depends /tmp/godwit.deb >/dev/null", string(deb))
	said := on("godwit --version; test -s /usr/share/man/man1/godwit-deploy.1.gz; bash -n /usr/share/bash-completion/completions/godwit; dpkg -s godwit | grep '^Version'; dpkg -V godwit; stat -c '%U %a' /usr/bin/godwit", "")
	if !strings.Contains(said, "godwit version 1.2.3 (commit 4f2a91c0ffee") || !strings.Contains(said, "Version: 1.2.3") || !strings.HasSuffix(said, "root 755") {
		t.Errorf("installed: %s", said)
	}
	on("dpkg --purge godwit >/dev/null; rm /tmp/godwit.deb; ! dpkg -s godwit 2>/dev/null", "")
	if after := on(trace, ""); after != before {
		t.Errorf("the package left a trace:\n%s", difference(before, after))
	}
}

func difference(before, after string) string {
	was := map[string]bool{}
	for _, l := range strings.Split(before, "\n") {
		was[l] = true
	}
	var out []string
	for _, l := range strings.Split(after, "\n") {
		if !was[l] {
			out = append(out, "+ "+l)
		}
		delete(was, l)
	}
	for l := range was {
		out = append(out, "- "+l)
	}
	return strings.Join(out, "\n")
}

// smallGo gives the small NixOS what a package of Go needs: a builder that compiles with this
// machine's Go and modules, since nothing is downloaded here.
const smallGo = `args: import ./small (args // {
  overlays = (args.overlays or [ ]) ++ [
    (final: prev: {
      go = final.hello; shellcheck = final.hello; openssh = final.hello;
      mkShell = a: final.runCommand "shell" { } "mkdir -p $out";
      buildGoModule = a:
        assert builtins.match "sha256-.{43}=" a.vendorHash != null;
        final.runCommand "${a.pname}-${a.version}" { meta = a.meta; } ''
          export PATH=GOBIN:$PATH HOME=$TMPDIR GOCACHE=CACHE GOMODCACHE=MODULES GOPROXY=off GOFLAGS=-buildvcs=false CGO_ENABLED=${a.env.CGO_ENABLED}
          cp -R ${a.src} source; chmod -R u+w source; cd source
          mkdir -p $out/bin
          ${a.preBuild}
          for p in ${toString a.subPackages}; do go build -trimpath -ldflags "${toString a.ldflags}" -o $out/bin/ ./$p; done
          ${a.postInstall}
        '';
    })
  ];
})`

// TestFlake builds the flake's package with the small NixOS as input, and lets Nix check all of it.
func TestFlake(t *testing.T) {
	ctx := full(t)
	dir := t.TempDir()
	tree := copyTree(t, ctx, filepath.Join(dir, "godwit"))
	pkgs := filepath.Join(dir, "nixpkgs")
	run(t, ctx, ".", nil, "sh", "-c", `mkdir -p "$1" && cp -R ../nixos "$1/small"`, "-", pkgs)
	goEnv := func(name string) string { return strings.TrimSpace(run(t, ctx, ".", nil, "go", "env", name)) }
	expr := strings.NewReplacer("GOBIN", goEnv("GOROOT")+"/bin", "MODULES", goEnv("GOMODCACHE"), "=CACHE", "="+goEnv("GOCACHE")).Replace(smallGo)
	for name, text := range map[string]string{"default.nix": expr, "flake.nix": "{ outputs = { self }: { }; }\n"} {
		if err := os.WriteFile(filepath.Join(pkgs, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"NIX_CONFIG=build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command flakes"}
	env = append(env, "XDG_CACHE_HOME="+dir+"/cache")
	if err := os.WriteFile(filepath.Join(dir, "registry.json"), []byte(`{"flakes":[],"version":2}`), 0o644); err != nil { // nobody is asked for another
		t.Fatal(err)
	}
	nix := func(words ...string) string {
		t.Helper()
		return run(t, ctx, dir, env, append([]string{"nix", words[0], "--override-input", "nixpkgs", "path:" + pkgs, "--no-write-lock-file", "--option", "flake-registry", filepath.Join(dir, "registry.json")}, words[1:]...)...)
	}
	nix("build", "path:"+tree, "-o", "result")
	if got := run(t, ctx, dir, nil, "result/bin/godwit", "--version"); !strings.HasPrefix(got, "godwit version 0.0.0 (commit ") && !strings.HasPrefix(got, "godwit version 0.0.0 (go") {
		t.Error(got)
	}
	for _, file := range []string{"share/man/man1/godwit-plan.1", "share/bash-completion/completions/godwit"} {
		if st, err := os.Stat(filepath.Join(dir, "result", file)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
	if got := nix("run", "path:"+tree, "--", "version"); !strings.Contains(got, "godwit 0.0.0 (") {
		t.Error(got)
	}
	run(t, ctx, dir, env, "nix", "flake", "check", "path:"+tree, "--override-input", "nixpkgs", "path:"+pkgs, "--no-write-lock-file", "--option", "flake-registry", filepath.Join(dir, "registry.json"))
	if got := nix("eval", "path:"+tree+"#nixosModules", "--apply", "m: builtins.isFunction m.default"); !strings.Contains(got, "true") {
		t.Error(got)
	}
	if got := nix("eval", "--impure", "--raw", "path:"+tree+"#overlays.default", "--apply", fmt.Sprintf(`o: (import %s { system = "x86_64-linux"; overlays = [ o ]; }).godwit.name`, pkgs)); !strings.Contains(got, "godwit-0.0.0") {
		t.Error(got)
	}
}

// TestVendorHash: the flake's package names the modules that go.mod does.
func TestVendorHash(t *testing.T) {
	ctx := full(t)
	run(t, ctx, "../..", nil, "packaging/vendor-hash", "--check")
}

// TestPublish gives a copy of the tree a home, and installs it from there as everybody would:
// with go install, through a proxy.
func TestPublish(t *testing.T) {
	ctx := full(t)
	dir := t.TempDir()
	tree := copyTree(t, ctx, filepath.Join(dir, "tree"))
	const home = "forge.example/team/godwit"
	run(t, ctx, "../..", nil, "go", "run", "./internal/tools/publish", home, tree)
	if text := run(t, ctx, tree, nil, "cat", "README.md", "go.mod", "packaging/package.nix", ".goreleaser.yaml"); strings.Count(text, home) < 8 {
		t.Errorf("the home is in few places:\n%s", text)
	}

	// A version of this run's own: go keeps an index of each module's files by path and version.
	own := version + "-t" + strconv.FormatInt(time.Now().UnixNano(), 36)
	v := module.Version{Path: home, Version: "v" + own}
	var archive bytes.Buffer
	if err := zip.CreateFromDir(&archive, v, tree); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(tree, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"list":              []byte(v.Version + "\n"),
		v.Version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":%q}`, v.Version, date),
		v.Version + ".mod":  mod,
		v.Version + ".zip":  archive.Bytes(),
	}
	asked := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := files[strings.TrimPrefix(r.URL.Path, "/"+home+"/@v/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		asked++
		_, _ = w.Write(data)
	}))
	defer proxy.Close()
	// What was installed before is in the cache of modules, also when the tree has changed since.
	forget := func() {
		cache := strings.TrimSpace(run(t, ctx, ".", nil, "go", "env", "GOMODCACHE"))
		for _, d := range []string{"forge.example", "cache/download/forge.example"} {
			run(t, ctx, ".", nil, "sh", "-c", `[ ! -e "$1" ] || { chmod -R u+w "$1" && rm -rf "$1"; }`, "-", filepath.Join(cache, d))
		}
	}
	forget()
	defer forget()
	others := strings.TrimSpace(run(t, ctx, ".", nil, "go", "env", "GOPROXY"))
	env := []string{"GOPROXY=" + proxy.URL + "," + others, "GONOSUMDB=" + home, "GONOSUMCHECK=1", "GOFLAGS=-modcacherw", "GOBIN=" + filepath.Join(dir, "bin"), "CGO_ENABLED=0"}
	run(t, ctx, dir, env, "go", "install", home+"/cmd/godwit@"+v.Version)
	if got, want := run(t, ctx, dir, nil, filepath.Join(dir, "bin/godwit"), "version"), "godwit "+own+" ("; !strings.HasPrefix(got, want) || asked < 2 {
		t.Errorf("%s, want %s; %d files were asked for", got, want, asked)
	}
}
