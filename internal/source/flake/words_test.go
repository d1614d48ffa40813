package flake

import (
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/source"
)

// What is plain stays plain, and is evaluated out of the flake that was locked.
func TestPlain(t *testing.T) {
	at := source.Location{Flake: "/fleet", Given: ".", Locked: &flakeref.Locked{Expr: "theFlake"}}
	if text := fault.Render(Dialect.Kept(at)); !strings.Contains(text, ". has plain configurations") || !strings.Contains(text, "docs/flakes.md") {
		t.Error(text)
	}
	if got := Dialect.Setting("targetHost"); got != "deployment.targetHost" {
		t.Error(got)
	}
	if e := Dialect.Expr(at, source.Options{}); !strings.Contains(e, "flake = theFlake;") {
		t.Errorf("it is not about the flake: %.200s", e[max(0, len(e)-200):])
	}
}
