package version

import (
	"runtime/debug"
	"testing"
)

func TestInfo(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "4f2a91c0ffee00112233"}, {Key: "vcs.time", Value: "2026-11-28T22:10:00Z"}, {Key: "vcs.modified", Value: "false"}}
	dirty := append(append([]debug.BuildSetting{}, vcs[:2]...), debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	for _, c := range []struct {
		name, main string
		settings   []debug.BuildSetting
		release    Info
		want       string
	}{
		{"nothing known", "(devel)", nil, Info{}, "development (go1 a/b)"},
		{"a work tree", "v0.0.0-20261128221000-4f2a91c0ffee", vcs, Info{}, "development-4f2a91c0ffee (commit 4f2a91c0ffee of 2026-11-28, go1 a/b)"},
		{"with changes", "v0.0.0+dirty", dirty, Info{}, "development-4f2a91c0ffee-dirty (commit 4f2a91c0ffee of 2026-11-28, go1 a/b)"},
		{"go install", "v1.2.3", nil, Info{}, "1.2.3 (go1 a/b)"},
		{"a release", "(devel)", vcs, Info{Version: "1.2.3", Commit: "abc", Date: "2026-01-02T03:04:05+01:00"}, "1.2.3 (commit abc of 2026-01-02, go1 a/b)"},
	} {
		i := c.release
		i.Go, i.OS, i.Arch = "go1", "a", "b"
		b := &debug.BuildInfo{Settings: c.settings}
		b.Main.Version = c.main
		i.read(b)
		if got := i.Text(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if Get().Go == "" || String() == "" {
		t.Error("this program knows nothing of itself")
	}
}
