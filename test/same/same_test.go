package same

import "testing"

func TestLine(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"web | copied 5 paths, 26.6 KiB in 1.08s (1.1s)", "web | copied 6 paths, 9 MiB in 370ms", true},
		{"web | ✓ changed (1m 3s)", "web | ✓ changed", true},
		{"/nix/store/0qyyj3dhbxaq62zsa5xdii8bx5ndi7v0-x", "/nix/store/gzhpbcgkakk234rhip5wjadf0s9hwydx-x", true},
		{"1 host: 1 rolled-back, in 43s", "2 hosts: 1 rolled-back, in 43s", false},
		{"web | copied 5 paths (again)", "web | copied 5 paths", false},
		{"web | ✓ changed", "web | ✗ failed", false},
	} {
		if got := Line(c.a) == Line(c.b); got != c.want {
			t.Errorf("%q and %q: %t", c.a, c.b, got)
		}
	}
}
