package closure

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestSplit(t *testing.T) {
	const hash = "/nix/store/0c5b8vw40dy178xlpddw65q9gf1h2186-"
	for path, want := range map[string]string{
		hash + "nginx-1.26.1":                    "nginx 1.26.1",
		hash + "openssl-3.0.14-bin":              "openssl 3.0.14",
		hash + "openssl-3.0.14-dev":              "openssl 3.0.14",
		hash + "python3.12-requests-2.31.0":      "python3.12-requests 2.31.0",
		hash + "linux-6.6.51-modules":            "linux 6.6.51",
		hash + "foo-unstable-2024-01-02":         "foo-unstable 2024-01-02",
		hash + "foo-0-unstable-2024-01-02":       "foo 0-unstable-2024-01-02",
		hash + "unit-nginx.service":              "unit-nginx.service ",
		hash + "etc":                             "etc ",
		hash + "glibc-locales-2.39-52":           "glibc-locales 2.39-52",
		hash + "nixos-system-web-24.05.20260911": "nixos-system-web 24.05.20260911",
		hash + "nixos-system-web1-24.05":         "nixos-system-web1 24.05",
		hash + "X-Restart-Triggers-e2e":          "X-Restart-Triggers-e2e ",
		hash + "man":                             "man ",
		hash + "steam-run-fhs":                   "steam-run-fhs ",
		hash + "7zip-24.08":                      "7zip 24.08",
		hash + "trailing-":                       "trailing- ",
		hash + "etc-60-local.conf":               "etc-60-local.conf ",
		hash + "link-1.0":                        "link 1.0",
		"relative-1.0":                           "relative 1.0",
		"":                                       " ",
	} {
		name, version := Split(path)
		if got := name + " " + version; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	// Each is older than the next; from Nix's own documentation and tests.
	for _, order := range [][]string{
		{"1.0", "2.3"}, {"2.1", "2.3"}, {"2.3", "2.5"}, {"2.3", "3.1"}, {"2.3", "2.3.1"}, {"2.3a", "2.3.1"}, {"2.3pre1", "2.3"},
		{"2.3pre1", "2.3pre3", "2.3pre12"}, {"2.3a", "2.3c"}, {"2.3pre1", "2.3c"}, {"2.3pre1", "2.3q"}, {"6.6.9", "6.6.51"}, {"1.0", "1.0-r1"},
	} {
		for i := range order {
			for j := range order {
				if got := CompareVersions(order[i], order[j]); got != sign(i-j) {
					t.Errorf("%s, %s: %d", order[i], order[j], got)
				}
			}
		}
	}
	if CompareVersions("1.01", "1.1") != 0 {
		t.Error("1.01 and 1.1 are the same number")
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

// parse reads "name size" lines; equal names have equal hashes unless "@x" follows.
func parse(t *testing.T, lines string) []Path {
	t.Helper()
	var out []Path
	for line := range strings.Lines(lines) {
		var name string
		var size int64
		if strings.TrimSpace(line) == "" {
			continue
		}
		if _, err := fmt.Sscan(line, &name, &size); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name, variant, _ := strings.Cut(name, "@")
		hash := fmt.Sprintf("%032x", []byte(variant))
		out = append(out, Path{"/nix/store/" + hash[len(hash)-32:] + "-" + name, size})
	}
	return out
}

func TestDiff(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before, after, ok := strings.Cut(string(data), "---\n")
			if !ok {
				t.Fatal("no --- line")
			}
			d := Diff(parse(t, before), parse(t, after))
			got := fmt.Sprintf("short: %s\nshort of 1: %s\n\n%s\n%s", d.Short(0), d.Short(1), d.Text(false), "all:\n"+d.Text(true))
			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if d.Empty() != (d.Short(0) == "no change") || !slices.IsSortedFunc(d.Changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) }) {
				t.Errorf("not sorted, or not empty: %+v", d)
			}
			// The way back mirrors it.
			back := Diff(parse(t, after), parse(t, before))
			if back.Delta() != -d.Delta() || back.Added != d.Removed || len(back.Changes) != len(d.Changes) {
				t.Errorf("the way back: %+v", back)
			}
		})
	}
}
