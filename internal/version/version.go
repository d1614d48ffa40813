// Package version says which godwit this is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// What a release build sets: -ldflags "-X godwit/internal/version.release=1.2.3", and so on.
// Elsewhere the Go tool has noted them (debug.BuildInfo).
var release, commit, date = "", "", ""

// Info is what is known of this program. What is not known is empty.
type Info struct {
	Version string `json:"version"` // "1.2.3", "development-4f2a91c0ffee", "development-4f2a91c0ffee-dirty", "development"
	Commit  string `json:"commit,omitempty"`
	Dirty   bool   `json:"dirty,omitempty"` // there were changes that were not committed
	Date    string `json:"date,omitempty"`  // of the commit, RFC 3339: two builds of it are equal
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Get is the Info of this program.
func Get() Info {
	i := Info{Version: release, Commit: commit, Date: date, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if b, ok := debug.ReadBuildInfo(); ok {
		i.read(b)
	}
	return i
}

// read takes what the Go tool knows, where a release build said nothing.
func (i *Info) read(b *debug.BuildInfo) {
	for _, s := range b.Settings {
		switch {
		case s.Key == "vcs.revision" && i.Commit == "":
			i.Commit = s.Value
		case s.Key == "vcs.time" && i.Date == "":
			i.Date = s.Value
		case s.Key == "vcs.modified" && release == "":
			i.Dirty = s.Value == "true"
		}
	}
	// "v1.2.3" after go install PATH@v1.2.3; "(devel)" or a made-up version in a work tree.
	tagged := strings.HasPrefix(b.Main.Version, "v") && !strings.Contains(b.Main.Version, "+dirty") && i.Commit == ""
	switch {
	case i.Version != "":
	case tagged:
		i.Version = strings.TrimPrefix(b.Main.Version, "v")
	case i.Commit == "":
		i.Version = "development"
	default:
		i.Version = "development-" + i.Commit[:min(12, len(i.Commit))]
		if i.Dirty {
			i.Version += "-dirty"
		}
	}
}

// String is "1.2.3", as records of deployments have it.
func String() string { return Get().Version }

// Text is "1.2.3 (commit 4f2a91c0ffee of 2026-11-28, go1.26.0 linux/amd64)".
func (i Info) Text() string {
	var words []string
	if i.Commit != "" {
		w := "commit " + i.Commit[:min(12, len(i.Commit))]
		if t, err := time.Parse(time.RFC3339, i.Date); err == nil {
			w += " of " + t.UTC().Format(time.DateOnly)
		}
		words = append(words, w)
	}
	words = append(words, fmt.Sprintf("%s %s/%s", i.Go, i.OS, i.Arch))
	return i.Version + " (" + strings.Join(words, ", ") + ")"
}
