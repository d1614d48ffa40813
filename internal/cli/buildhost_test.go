package cli

import (
	"strings"
	"testing"
)

func TestBuildHost(t *testing.T) {
	for _, c := range []struct {
		g         globals
		want, err string
	}{
		{globals{builder: "local"}, "local", ""},
		{globals{buildHost: "root@big"}, "ssh-ng://root@big", ""},
		{globals{buildHost: "localhost"}, "local", ""},
		{globals{buildHost: "big", builder: "auto"}, "", "both say where to build"},
	} {
		got, err := c.g.wantedBuilder()
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %q %v", c.g, got, err)
		}
	}
}
