package fleet

import (
	"strings"
	"testing"
)

func TestSettleTarget(t *testing.T) {
	for given, want := range map[string]Host{
		"web":                           {TargetHost: "web"},
		"root@192.0.2.7":                {TargetHost: "192.0.2.7", TargetUser: "root"},
		"web:2222":                      {TargetHost: "web", TargetPort: 2222},
		"ssh://me@web.example.org:2222": {TargetHost: "web.example.org", TargetUser: "me", TargetPort: 2222},
		"ssh://web/":                    {TargetHost: "web"},
		"2001:db8::1":                   {TargetHost: "2001:db8::1"},
		"[2001:db8::1]":                 {TargetHost: "2001:db8::1"},
		"root@[2001:db8::1]:22":         {TargetHost: "2001:db8::1", TargetUser: "root", TargetPort: 22},
		"fe80::1%eth0":                  {TargetHost: "fe80::1%eth0"},
		"a b":                           {TargetHost: "a b"},
		"":                              {},
	} {
		h := Host{TargetHost: given}
		if err := h.SettleTarget(); err != nil || h.TargetHost != want.TargetHost || h.TargetUser != want.TargetUser || h.TargetPort != want.TargetPort {
			t.Errorf("%q: %+v %v", given, h, err)
		}
	}
	for _, c := range []struct {
		h    Host
		says string
	}{
		{Host{TargetHost: "web:ssh"}, "neither a name"},
		{Host{TargetHost: "web:0"}, "neither a name"},
		{Host{TargetHost: "web:70000"}, "neither a name"},
		{Host{TargetHost: "ssh://web/x"}, "neither a name"},
		{Host{TargetHost: "root@web", TargetUser: "deploy"}, "two users"},
		{Host{TargetHost: "web:22", TargetPort: 2222}, "two ports"},
	} {
		if err := c.h.SettleTarget(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.h, err)
		}
	}
	same := Host{TargetHost: "root@web:22", TargetUser: "root", TargetPort: 22}
	if err := same.SettleTarget(); err != nil || same.TargetHost != "web" {
		t.Errorf("%+v %v", same, err)
	}
}
