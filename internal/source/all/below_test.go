package all

import (
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/source"
	"godwit/internal/source/sourcetest"
)

// Where a configuration is not, those beside and below are named.
func TestNearby(t *testing.T) {
	some(t)
	dir := sourcetest.Write(t, map[string]string{
		"sub/nixos/flake.nix": "{ }", "sub/.direnv/flake.nix": "{ }", "sub/a/b/c/flake.nix": "{ }",
		"ops/network.nix/x": "", "ops/deep/hosts/hive.nix": "{ }",
		"named/deploy.nix": "let p = import ./pkgs.nix; in { network.pkgs = p; }", "named/pkgs.nix": "import <nixpkgs>", "named/hive-like.nix": "{ meta = { }; }",
		"none/default.nix": "{ }",
		"many/a/flake.nix": "{ }", "many/b/flake.nix": "{ }", "many/c/flake.nix": "{ }", "many/d/flake.nix": "{ }",
	})
	for name, want := range map[string]string{
		"sub":   "there is nixos/flake.nix: --flake ./nixos",
		"ops":   "there is deep/hosts/hive.nix: -f deep/hosts/hive.nix",
		"named": "deploy.nix may be one: -f deploy.nix|hive-like.nix may be one: -f hive-like.nix",
		"none":  "",
		"many":  "there is a/flake.nix: --flake ./a|there is b/flake.nix: --flake ./b|there is c/flake.nix: --flake ./c",
	} {
		if got := strings.Join(nearby(fault.New("x"), filepath.Join(dir, name)).Hints, "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	t.Chdir(filepath.Join(dir, "sub"))
	if _, err := Find(t.Context(), nil, Wish{}, source.Options{}); err == nil || !strings.Contains(fault.Render(err), "--flake ./nixos") {
		t.Errorf("%v", err)
	}
	for word, is := range map[string]bool{"nixos?submodules=1": true, ".?dir=x": true, "nixos": false, "nixos?": false, "none?a=b": false} {
		if asked(word) != is {
			t.Errorf("%s", word)
		}
	}
}
