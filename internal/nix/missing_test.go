package nix

import (
	"reflect"
	"testing"
)

// What Nix 2.3, 2.8.0, 2.26.3 and 2.34.8 write; all but the first recorded.
func TestParseMissing(t *testing.T) {
	const (
		a = "/nix/store/1rsn0yq78x5rk78w761jvy1baqdrpy1z-a.drv"
		b = "/nix/store/a610ji0x0whrdhals33vdfb8xqnfvh5x-top.drv"
		c = "/nix/store/4l425x7p2nb4raykijxbqldd6kaqf994-cached"
		u = "/nix/store/00000000000000000000000000000000-foo"
	)
	for name, x := range map[string]struct {
		text string
		want Missing
	}{
		"nothing": {"warning: the group 'nixbld' specified in 'build-users-group' does not exist\n", Missing{}},
		"2.3": {"these derivations will be built:\n  " + a + "\n  " + b + "\nthese paths will be fetched (1.50 MiB download, 3.00 MiB unpacked):\n  " + c + "\n",
			Missing{Build: []string{a, b}, Fetch: []string{c}, DownloadBytes: 3 << 19, NarBytes: 3 << 20}},
		"2.8": {"warning: unable to download 'https://cache.nixos.org/nix-cache-info': Couldn't resolve host name (6)\nthese 2 derivations will be built:\n  " + a + "\n  " + b +
			"\nthis path will be fetched (0.00 MiB download, 0.22 MiB unpacked):\n  " + c + "\n",
			Missing{Build: []string{a, b}, Fetch: []string{c}, NarBytes: 230686, Silent: true,
				Warnings: []string{"unable to download 'https://cache.nixos.org/nix-cache-info': Couldn't resolve host name (6)"}}},
		"2.26": {"this derivation will be built:\n  " + a + "\ndon't know how to build these paths:\n  " + u + "\n",
			Missing{Build: []string{a}, Unknown: []string{u}}},
		"2.34": {"this path will be fetched (0.2 KiB download, 228.6 KiB unpacked):\n  " + c +
			"\nwarning: unable to download 'http://nonexistent.invalid/nix-cache-info': Could not resolve hostname (6) Could not resolve host: nonexistent.invalid\ndon't know how to build these paths (may be caused by read-only store access):\n  " + u + "\n",
			Missing{Fetch: []string{c}, DownloadBytes: 204, NarBytes: 234086, Unknown: []string{u}, Silent: true,
				Warnings: []string{"unable to download 'http://nonexistent.invalid/nix-cache-info': Could not resolve hostname (6) Could not resolve host: nonexistent.invalid"}}},
		"gigabytes": {"these 3 paths will be fetched (1.0 GiB download, 2.0 GiB unpacked):\n  " + c + "\nsomething else\n  /nix/store/not-in-a-list\n",
			Missing{Fetch: []string{c}, DownloadBytes: 1 << 30, NarBytes: 2 << 30}},
		"colours": {"\x1b[35;1mwarning:\x1b[0m x\nthese \x1b[35;1m2\x1b[0m derivations will be built:\n  " + a + "\n", Missing{Build: []string{a}}},
	} {
		if got := ParseMissing(x.text); !reflect.DeepEqual(*got, x.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, *got, x.want)
		}
	}
}
