package ssh

import (
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/ui/text/texttest"
)

// FuzzAnswers reads what ssh -G, ssh-keygen -F and a new connection say.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("host web\nuser deploy\nport 22\nciphers aes128-ctr,aes256-gcm@openssh.com\nuserknownhostsfile ~/.ssh/known_hosts\n"))
	f.Add([]byte("# Host web found: line 1\nweb ssh-ed25519 AAAA comment\n@cert-authority *.x ssh-rsa BBBB\n@revoked\n|1|a=|b= ssh-rsa CCCC\n"))
	f.Add([]byte("uid=1000(deploy) gid=100(users)\nos Linux\nsudo /usr/bin/sudo\ndoas \ngreeting\n\nready\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		eachWord(b, func(key, value string) {
			if strings.ContainsAny(key, " \n") {
				t.Errorf("the word %q", key)
			}
			_, _ = PreferAES(value)
		})
		for _, k := range knownKeys(b) {
			if len(strings.Fields(k)) < 2 {
				t.Errorf("the key %q", k)
			}
		}
		if h := readHello(strings.NewReader(string(b))); h.ok && h.err != nil {
			t.Error(h.err)
		}
	})
}

// FuzzFailure reads what ssh wrote before it gave up.
func FuzzFailure(f *testing.F) {
	for _, s := range []string{
		"ssh: connect to host 10.0.0.1 port 22: Connection refused\r\n", "ssh: Could not resolve hostname web: \u00d6 Name or service not known",
		"@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nSHA256:abc.\n  ssh-keygen -f '/x' -R '[a]:2'\nHost key verification failed.",
		"deploy@web: Permission denied (publickey,password).", "Connection closed by 10.0.0.1 port 22", "Unable to negotiate with x: no matching cipher",
		"kex_exchange_identification: Connection closed by remote host", "Bad configuration option: x",
	} {
		f.Add(s)
	}
	pool, err := NewPool(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { pool.Close() })
	h := pool.Host(Target{Name: "web", Host: "10.0.0.1"})
	f.Fuzz(func(t *testing.T, said string) {
		e := h.classify(said)
		if strings.TrimSpace(e.Error()) == "" || host.KindOf(e) == "" {
			t.Errorf("%q: says nothing", said)
		}
		if err := texttest.Harmless(fault.Render(e)); err != nil {
			t.Error(err)
		}
		host.Retryable(e)
	})
}
