package fleet

import (
	"strings"
	"testing"
)

func TestSettleTarget(t *testing.T) {
	for given, want := range map[string]Host{
		"web":                           {At: Address{Host: "web"}},
		"root@192.0.2.7":                {At: Address{Host: "192.0.2.7", User: "root"}},
		"web:2222":                      {At: Address{Host: "web", Port: 2222}},
		"ssh://me@web.example.org:2222": {At: Address{Host: "web.example.org", User: "me", Port: 2222}},
		"ssh://web/":                    {At: Address{Host: "web"}},
		"2001:db8::1":                   {At: Address{Host: "2001:db8::1"}},
		"[2001:db8::1]":                 {At: Address{Host: "2001:db8::1"}},
		"root@[2001:db8::1]:22":         {At: Address{Host: "2001:db8::1", User: "root", Port: 22}},
		"fe80::1%eth0":                  {At: Address{Host: "fe80::1%eth0"}},
		"a b":                           {At: Address{Host: "a b"}},
		"":                              {},
	} {
		h := Host{At: Address{Host: given}}
		if err := h.SettleTarget(); err != nil || h.At.Host != want.At.Host || h.At.User != want.At.User || h.At.Port != want.At.Port {
			t.Errorf("%q: %+v %v", given, h, err)
		}
	}
	for _, c := range []struct {
		h    Host
		says string
	}{
		{Host{At: Address{Host: "web:ssh"}}, "neither a name"},
		{Host{At: Address{Host: "web:0"}}, "neither a name"},
		{Host{At: Address{Host: "web:70000"}}, "neither a name"},
		{Host{At: Address{Host: "ssh://web/x"}}, "neither a name"},
		{Host{At: Address{Host: "root@web", User: "deploy"}}, "two users"},
		{Host{At: Address{Host: "web:22", Port: 2222}}, "two ports"},
	} {
		if err := c.h.SettleTarget(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.h, err)
		}
	}
	same := Host{At: Address{Host: "root@web:22", User: "root", Port: 22}}
	if err := same.SettleTarget(); err != nil || same.At.Host != "web" {
		t.Errorf("%+v %v", same, err)
	}
}
