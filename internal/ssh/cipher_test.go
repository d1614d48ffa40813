package ssh_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
)

func TestPreferAES(t *testing.T) {
	for in, want := range map[string]string{
		"chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com": "aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-gcm@openssh.com",
		"aes256-ctr,chacha20-poly1305@openssh.com,aes128-gcm@openssh.com":                        "aes256-ctr,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
		"aes128-gcm@openssh.com,chacha20-poly1305@openssh.com":                                   "",
		"chacha20-poly1305@openssh.com,aes128-ctr":                                               "",
		"aes128-gcm@openssh.com": "",
		"":                       "",
	} {
		got, changed := ssh.PreferAES(in)
		if changed != (want != "") || changed && got != want || !changed && got != in {
			t.Errorf("%s: %s %v", in, got, changed)
		}
	}
}

// TestCipher asks a real sshd what was agreed on.
func TestCipher(t *testing.T) {
	const aes, chacha = "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"
	agreed := regexp.MustCompile(`kex: client->server cipher: (\S+)`)
	for name, c := range map[string]struct {
		noAES  bool // on this machine
		system string
		config string
		extra  []string
		server string
		want   string
	}{
		"a host with AES":             {system: "x86_64-linux", want: aes},
		"a host that may have none":   {system: "aarch64-linux", want: chacha},
		"a host of unknown kind":      {want: chacha},
		"no AES here":                 {system: "x86_64-linux", noAES: true, want: chacha},
		"configured":                  {system: "x86_64-linux", config: "Ciphers aes256-ctr,chacha20-poly1305@openssh.com,aes128-gcm@openssh.com", want: "aes256-ctr"},
		"an option of the user":       {system: "x86_64-linux", extra: []string{"-c", "aes192-ctr"}, want: "aes192-ctr"},
		"a server that has only ours": {system: "x86_64-linux", server: "Ciphers " + chacha, want: chacha},
	} {
		t.Run(name, func(t *testing.T) {
			defer ssh.SetAESHere(!c.noAES)()
			lines := []string{"LogLevel DEBUG1"}
			if c.server != "" {
				lines = append(lines, c.server)
			}
			s := sshtest.Start(t, lines...)
			if c.config != "" {
				s.WriteConfig("StrictHostKeyChecking ask", c.config)
			}
			o := s.Options()
			o.ExtraArgs = c.extra
			pool, err := ssh.NewPool(o)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			target := s.Target("h")
			target.System = c.system
			if out := output(t, pool.Host(target), host.Cmd{Script: "echo hello"}); out != "hello\n" {
				t.Errorf("%q", out)
			}
			if m := agreed.FindStringSubmatch(s.Log()); m == nil || m[1] != c.want {
				t.Errorf("agreed on %q, want %s", m, c.want)
			}
		})
	}
}

// TestCipherOfMany asks the real ssh what it is configured with: once for all hosts
// where it can, and for each where a file says something of ciphers.
func TestCipherOfMany(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		own    string // option of b
		asked  int    // times, for three hosts
		want   string
	}{
		"nothing":            {"User root\n", "", 2, "the same"},
		"another block":      {"Host b\n  Ciphers aes256-ctr\n", "", 5, "aes256-ctr for b"},
		"included":           {"Host b\n  Include DIR/more\n", "", 5, "aes192-ctr for b"},
		"included by name":   {"Match final host *\n  Include DIR/more.%n\n", "", 5, "the same"},
		"included, harmless": {"Host b\n  Include DIR/less\n", "", 2, "the same"},
		"of one host":        {"User root\n", "Ciphers=aes256-ctr", 3, "aes256-ctr for b"},
		"sent":               {"Host b c\n  SendEnv GODWIT_T?ST NONE\nHost b\n  SetEnv A=b\n", "", 5, "the same, b gets A=b GODWIT_TEST=1, c gets GODWIT_TEST=1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string, mode os.FileMode) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), mode); err != nil {
					t.Fatal(err)
				}
				return path
			}
			write("more", "Ciphers aes192-ctr\n", 0o600)
			write("less", "ServerAliveInterval 1\n", 0o600)
			pool, err := ssh.NewPool(ssh.Options{
				Program:    write("ssh", "#!/bin/sh\n[ \"$1\" = -V ] || echo >>DIR/asked\nexec ssh \"$@\"\n", 0o755),
				ConfigFile: write("config", c.config, 0o600),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			t.Setenv("GODWIT_TEST", "1")
			got := "the same"
			for _, host := range []string{"a", "b", "c", "a", "b"} {
				target := ssh.Target{Host: host}
				if host == "b" && c.own != "" {
					target.Options = ssh.JoinWords([]string{"-o", c.own})
				}
				mine, builtin, env := ssh.Configured(context.Background(), pool.Host(target))
				if builtin == "" || mine == "" {
					t.Fatalf("%s: %q %q", host, mine, builtin)
				}
				if mine != builtin {
					got = mine + " for " + host
				}
				if gets := ", " + host + " gets " + strings.Join(env, " "); len(env) > 0 && !strings.Contains(got, gets) {
					got += gets
				}
			}
			asked, err := os.ReadFile(filepath.Join(dir, "asked"))
			if err != nil || got != c.want || len(asked) != c.asked {
				t.Errorf("%s, asked %d times, %v", got, len(asked), err)
			}
		})
	}
}
