package ssh_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
)

// TestVouched: a host that nobody knows is believed by the key that somebody vouches for,
// and whatever the person's own files say of a host goes before that.
func TestVouched(t *testing.T) {
	s := sshtest.Start(t)
	bare := func(key string) string { return strings.Join(strings.Fields(key)[:2], " ") }
	right := bare(s.HostKey)
	wrong := bare(sshtest.NewKey(t, t.TempDir()+"/other"))
	name := "[127.0.0.1]:" + strconv.Itoa(s.Port)
	closed := closedPort(t)
	for _, c := range []struct {
		name   string
		key    string // that somebody vouches for
		known  string // the person's file
		config []string
		at     fleet.Address
		want   host.Kind
	}{
		{name: "known to nobody", want: host.HostKeyUnknown},
		{name: "vouched for", key: right},
		{name: "vouched for, nothing may be learnt", key: right, config: []string{"StrictHostKeyChecking yes"}},
		{name: "another key", key: wrong, want: host.HostKeyChanged},
		{name: "another key, though new ones are accepted", key: wrong, config: []string{"StrictHostKeyChecking accept-new"}, want: host.HostKeyChanged},
		{name: "the person knows another", key: right, known: name + " " + wrong + "\n", want: host.HostKeyChanged},
		{name: "the person knows it", key: wrong, known: name + " " + right + "\n"},
		{name: "the person revoked it", key: right, known: "@revoked * " + right + "\n", want: host.HostKeyRevoked},
		{name: "the person knows other hosts", key: right, known: "elsewhere " + wrong + "\n"},
		{name: "by an alias", key: right, config: []string{"HostKeyAlias web.lan"}},
		{name: "by an alias that the person knows", key: right, known: "web.lan " + wrong + "\n", config: []string{"HostKeyAlias web.lan"}, want: host.HostKeyChanged},
		{name: "at a further address", key: right, at: fleet.Address{Port: closed, Also: []string{"127.0.0.1:" + strconv.Itoa(s.Port)}}},
		{name: "the person has a command", key: right, config: []string{"KnownHostsCommand /usr/bin/env true"}, want: host.HostKeyUnknown},
		{name: "no key", key: right + "\n* " + wrong, want: host.HostKeyUnknown},
		{name: "more than a key", key: right + " ;id", want: host.HostKeyUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(s.KnownHosts, []byte(c.known), 0o600); err != nil {
				t.Fatal(err)
			}
			s.WriteConfig(c.config...)
			o := s.Options()
			o.Elevate = ssh.ElevateNone
			o.HostKeys = func(host string) string {
				if host != "web1" {
					return ""
				}
				return c.key
			}
			pool, err := ssh.NewPool(o)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			h := fleet.Host{Name: "web1", At: c.at}
			h.At.Host, h.At.User = "127.0.0.1", s.User
			if h.At.Port == 0 {
				h.At.Port = s.Port
			}
			err = pool.Conn(h).Connect(ctx)
			if (err == nil) != (c.want == "") || err != nil && host.KindOf(err) != c.want {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if now, _ := os.ReadFile(s.KnownHosts); string(now) != c.known && c.known != "" {
				t.Errorf("the person's file was changed: %s", now)
			}
			if c.name != "vouched for" {
				return
			}
			if now, _ := os.ReadFile(s.KnownHosts); len(now) > 0 {
				t.Errorf("something was written: %s", now)
			}
			one := pool.Host(ssh.TargetOf(h))
			if a, err := one.Address(ctx); err != nil || !slices.Equal(a.Keys, []string{right}) {
				t.Errorf("%v, %v", a, err)
			}
			if typed := strings.Join(one.Words(), "|"); !strings.Contains(typed, "|KnownHostsCommand=/usr/bin/env echo %H "+right+"|") {
				t.Error(typed)
			}
			// Whatever is no host of the configuration has nobody who vouches for it, whatever its name.
			for _, other := range []*ssh.Host{pool.Host(s.Target("web1")), pool.Host(ssh.TargetOf(fleet.Host{Name: "web2", At: h.At}))} {
				if err := other.Connect(ctx); host.KindOf(err) != host.HostKeyUnknown {
					t.Errorf("%s: %v", other.Name(), err)
				}
			}
		})
	}
}
