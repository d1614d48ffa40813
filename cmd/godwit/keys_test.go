package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"godwit/test/lab"
)

// thePIN opens the token that pinPlugin stands for.
const thePIN = "4711"

// pinPlugin is a plugin of age, made with age's own framework, as those of tokens are: its key
// is of use with a PIN, for which it asks each time that it opens a file. It notes each
// question in the file $PIN_LOG.
func pinPlugin() {
	p, err := plugin.New("pin")
	if err != nil {
		panic(err)
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) {
		r, err := age.ParseX25519Recipient(string(data))
		return pinRecipient{r}, err
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		id, err := age.ParseX25519Identity(string(data))
		return pinIdentity{id, p}, err
	})
	os.Exit(p.Main())
}

type pinRecipient struct{ age.Recipient }

func (r pinRecipient) Wrap(key []byte) ([]*age.Stanza, error) {
	all, err := r.Recipient.Wrap(key)
	for _, s := range all {
		s.Type = "pin"
	}
	return all, err
}

type pinIdentity struct {
	age.Identity
	p *plugin.Plugin
}

func (i pinIdentity) Unwrap(all []*age.Stanza) ([]byte, error) {
	var mine []*age.Stanza
	for _, s := range all {
		if s.Type == "pin" {
			mine = append(mine, &age.Stanza{Type: "X25519", Args: s.Args, Body: s.Body})
		}
	}
	if len(mine) == 0 {
		return nil, age.ErrIncorrectIdentity
	}
	log, err := os.OpenFile(os.Getenv("PIN_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(log, "asked")
	log.Close()
	pin, err := i.p.RequestValue("PIN of the token", true)
	if err != nil {
		return nil, err
	}
	if pin != thePIN {
		return nil, errors.New("the PIN is wrong")
	}
	return i.Identity.Unwrap(mine)
}

// person is somebody at a machine with godwit, and with the programs age and age-keygen as
// they are made from the modules of age.
type person struct {
	t     *testing.T
	dir   string
	env   []string
	bin   string // programs
	asked string // the file of pinPlugin
}

func newPerson(t *testing.T, bin string) *person {
	t.Helper()
	p := &person{t: t, dir: t.TempDir(), bin: bin}
	p.asked = filepath.Join(p.dir, "asked")
	p.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+p.dir, "XDG_STATE_HOME="+p.dir+"/.state", "XDG_CONFIG_HOME="+p.dir+"/.config",
		"GODWIT_IDENTITY=", "SOPS_AGE_KEY_FILE=", "SSH_AUTH_SOCK=", "CI=", "TERM=xterm", "PIN_LOG="+p.asked, "LC_ALL=C.UTF-8")
	return p
}

// TestOperators is what people open files with.
func TestOperators(t *testing.T) {
	bin := programs(t)
	t.Run("age", func(t *testing.T) { testAgeProgram(t, bin) })
	t.Run("asks once", func(t *testing.T) { testAsksOnce(t, bin) })
	t.Run("token", func(t *testing.T) { testToken(t, newPerson(t, bin)) })
}

// programs is a folder with godwit, age, age-keygen and plugins.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"godwit", "age-plugin-pin"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", bin+"/", "filippo.io/age/cmd/age", "filippo.io/age/cmd/age-keygen", "filippo.io/age/cmd/age-plugin-batchpass")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build age from its module: %v\n%s", err, out)
	}
	return bin
}

// does runs a program, which has to succeed, and gives what it prints.
func (p *person) does(stdin, name string, args ...string) string {
	p.t.Helper()
	out, err := p.tries(stdin, name, args...)
	if err != nil {
		p.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

func (p *person) tries(stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(p.t.Context(), filepath.Join(p.bin, name), args...)
	if _, err := os.Lstat(cmd.Path); err != nil {
		cmd = exec.CommandContext(p.t.Context(), name, args...)
	}
	cmd.Dir, cmd.Env, cmd.Stdin = p.dir, p.env, strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal of whoever runs the test
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return string(out), err
}

// types runs godwit on a terminal.
func (p *person) types(dialog [][2]string, args ...string) (screen string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "godwit"), args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	screen, err := lab.Terminal(ctx, cmd, dialog)
	if err != nil {
		p.t.Fatalf("%v:\n%s", err, screen)
	}
	return screen, cmd.ProcessState.ExitCode()
}

// file writes a file and gives its path.
func (p *person) file(name, text string) string {
	p.t.Helper()
	at := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return at
}

func (p *person) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// questions is how often the token asked since the last time.
func (p *person) questions() int {
	text, _ := os.ReadFile(p.asked)
	_ = os.Remove(p.asked)
	return strings.Count(string(text), "\n")
}

// repository makes a folder of secrets with the operators alice=KEY…, who sign with signer, and
// secrets a, b and c of the machine m. identity are the files of the private keys.
func (p *person) repository(dialog [][2]string, keys []string, signer string, postQuantum bool, identity ...string) {
	p.t.Helper()
	text := fmt.Sprintf("version = 1\npost-quantum = %t\n[operators]\nalice = ['%s']\n", postQuantum, strings.Join(keys, "', '"))
	if signer != "" {
		text += "[signers]\nalice = '" + signer + "'\n"
	}
	p.file("secrets/recipients.toml", text)
	for _, args := range append([][]string{{"keys", "new", "m"}}, p.secrets()...) {
		if args = append(append(args, "--yes"), identity...); dialog != nil {
			if screen, code := p.types(dialog, args...); code != 0 {
				p.t.Fatalf("godwit %s: %d\n%s", strings.Join(args, " "), code, screen)
			}
			continue
		}
		p.does("", "godwit", args...)
	}
}

func (p *person) secrets() (all [][]string) {
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, []string{"secrets", "new", name, "--for", "m", "--generate", "random"})
	}
	return all
}

// testAgeProgram: the program age opens what godwit writes, and godwit what age writes, for
// every sort of key; the key of a machine does, too.
func testAgeProgram(t *testing.T, bin string) {
	for _, kind := range []string{"x25519", "post-quantum", "ssh-ed25519", "ssh-rsa"} {
		if testing.Short() && kind == "ssh-rsa" { // its key takes a second to make
			continue
		}
		t.Run(kind, func(t *testing.T) {
			p := newPerson(t, bin)
			key, public, signer := filepath.Join(p.dir, "key"), "", ""
			switch kind {
			case "x25519":
				p.does("", "age-keygen", "-o", key)
				public = p.does("", "age-keygen", "-y", key)
			case "post-quantum":
				p.does("", "age-keygen", "-pq", "-o", key)
				public = p.does("", "age-keygen", "-y", key)
			default:
				p.does("", "ssh-keygen", "-q", "-t", strings.TrimPrefix(kind, "ssh-"), "-N", "", "-C", "alice", "-f", key)
				public = p.read("key.pub")
			}
			public = strings.TrimSpace(public)
			with := []string{"--identity", key}
			if !strings.HasPrefix(kind, "ssh") { // they sign with a key of their own
				p.does("", "godwit", append([]string{"keys", "init", "alice", "--secrets", "first", fmt.Sprintf("--post-quantum=%t", kind == "post-quantum")}, with...)...)
				_, signer, _ = strings.Cut(p.read("first/recipients.toml"), "[signers]\nalice = \"")
				signer, _, _ = strings.Cut(signer, `"`)
			}
			p.repository(nil, []string{public}, signer, kind == "post-quantum", with...)
			value := strings.TrimSpace(p.does("", "godwit", append([]string{"secrets", "show", "a"}, with...)...))
			if got := strings.TrimSpace(p.does("", "age", "-d", "-i", key, "secrets/store/a.age")); got != value || got == "" {
				t.Errorf("age finds %q in a file of godwit's, which says %q", got, value)
			}
			p.does("", "godwit", append([]string{"keys", "export", "m", "tree", "--on-disk"}, with...)...)
			machine := "tree/var/lib/godwit/identity/age.key"
			if got := strings.TrimSpace(p.does("", "age", "-d", "-i", machine, "secrets/store/a.age")); got != value {
				t.Errorf("with the key of the machine age finds %q", got)
			}
			// What age writes, also for several and armored.
			all := []string{"-r", public}
			if kind != "post-quantum" { // age mixes them with no others
				p.does("", "age-keygen", "-o", "other")
				all = append(all, "-R", p.file("recipients", "# two\n"+p.does("", "age-keygen", "-y", "other")+p.read("secrets/machines/m/ssh_host_ed25519.pub")+"\n"))
			}
			long := strings.Repeat("0123456789abcdef\n", 20_000) // several chunks
			for n, form := range [][]string{{"-e"}, {"-e", "-a"}} {
				for m, text := range []string{"one line", "", long} {
					file := fmt.Sprintf("of-age-%d-%d.age", n, m)
					p.does(text, "age", slices.Concat(form, all, []string{"-o", file})...)
					if got := p.does("", "godwit", append([]string{"secrets", "show", "--encrypted", file}, with...)...); got != text {
						t.Errorf("%s: %d bytes, want %d", file, len(got), len(text))
					}
					if kind == "post-quantum" {
						continue
					}
					if got := p.does("", "godwit", "secrets", "show", "--encrypted", file, "--identity", "tree/etc/ssh/ssh_host_ed25519_key"); got != text {
						t.Errorf("%s with the ssh host key: %d bytes, want %d", file, len(got), len(text))
					}
				}
			}
			cut := p.read("of-age-0-2.age")
			p.file("cut.age", cut[:len(cut)-1000])
			if _, err := p.tries("", "godwit", append([]string{"secrets", "show", "--encrypted", "cut.age"}, with...)...); err == nil {
				t.Error("a file that was cut off is opened")
			}
		})
	}
}

// testAsksOnce: a passphrase of an ssh key, and that of a file of keys that age encrypted, is
// asked for once in a run, however many files it opens; a wrong one opens nothing.
func testAsksOnce(t *testing.T, bin string) {
	const pass = "correct horse battery"
	for _, kind := range []string{"ssh-ed25519", "ssh-rsa", "rsa of old", "age -p"} {
		if testing.Short() && strings.Contains(kind, "rsa") {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			p := newPerson(t, bin)
			key, public, signer := filepath.Join(p.dir, "key"), "", ""
			if kind == "age -p" {
				p.does("", "age-keygen", "-o", "plain")
				public = strings.TrimSpace(p.does("", "age-keygen", "-y", "plain"))
				p.env = append(p.env, "AGE_PASSPHRASE="+pass, "AGE_PASSPHRASE_WORK_FACTOR=10")
				p.does("", "age", "-e", "-j", "batchpass", "-o", key, "plain")
				p.does("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(p.dir, "signs"))
				signer = p.read("signs.pub")
			} else {
				args := []string{"-q", "-t", "ed25519", "-N", pass, "-f", key}
				if kind != "ssh-ed25519" {
					args[2] = "rsa"
				}
				if kind == "rsa of old" {
					args = append(args, "-m", "PEM")
				}
				p.does("", "ssh-keygen", args...)
				public = p.read("key.pub")
			}
			with := []string{"--identity", key}
			if signer != "" {
				with = append(with, "--identity", filepath.Join(p.dir, "signs"))
			}
			ask := [2]string{"passphrase of " + key + ": ", pass + "\r"}
			p.repository(map[bool][][2]string{true: {}, false: {ask}}[signer != ""], []string{public}, signer, false, with...)
			for _, args := range [][]string{{"secrets", "show", "a"}, {"keys", "check"}, {"secrets", "rekey", "--all", "--yes"}} {
				args = append(args, with...)
				screen, code := p.types([][2]string{ask}, args...)
				if code != 0 || strings.Count(screen, "passphrase of") != 1 || strings.Contains(screen, pass) {
					t.Errorf("%s: %d\n%s", strings.Join(args, " "), code, screen)
				}
			}
			screen, code := p.types([][2]string{{ask[0], "wrong\r"}}, append([]string{"keys", "check"}, with...)...)
			if code == 0 || !strings.Contains(screen, "the passphrase is wrong") || strings.Count(screen, "passphrase of "+key+": ") != 1 {
				t.Errorf("a wrong one: %d\n%s", code, screen)
			}
			if out, err := p.tries("", "godwit", append([]string{"secrets", "show", "a"}, with...)...); err == nil || !strings.Contains(err.Error(), "there is no terminal to ask for it on") {
				t.Errorf("without a terminal: %q %v", out, err)
			}
		})
	}
}

// testToken: an operator whose key is in a token, behind a plugin that asks for a PIN. What the
// run opens first is the key of a machine, which opens the rest.
func testToken(t *testing.T, p *person) {
	p.does("", "age-keygen", "-o", "plain")
	public := strings.TrimSpace(p.does("", "age-keygen", "-y", "plain"))
	var private string
	for line := range strings.Lines(p.read("plain") + "\n") {
		if strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			private = strings.TrimSpace(line)
		}
	}
	key := p.file("token.txt", "# what the token's own program would write\n"+plugin.EncodeIdentity("pin", []byte(private))+"\n")
	token := plugin.EncodeRecipient("pin", []byte(public))
	p.does("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(p.dir, "signs"))
	with := []string{"--identity", key, "--identity", filepath.Join(p.dir, "signs")}
	p.repository([][2]string{}, []string{token}, p.read("signs.pub"), false, with...)
	if n := p.questions(); n != 0 {
		t.Errorf("to write, it asked %d times", n)
	}
	ask := [2]string{"pin: PIN of the token: ", thePIN + "\r"}
	for _, c := range []struct {
		args []string
		most int // questions
	}{
		{[]string{"secrets", "show", "a"}, 1},
		{[]string{"keys", "check"}, 1},
		{[]string{"secrets", "rekey", "--all", "--yes"}, 1},
		{[]string{"secrets", "generate", "--again", "b", "--yes"}, 1},
		{[]string{"keys", "export", "m", "tree", "--on-disk"}, 2},
	} {
		dialog := [][2]string{}
		for range c.most {
			dialog = append(dialog, ask)
		}
		if c.args[1] == "generate" { // only written
			dialog = nil
		}
		screen, code := p.types(dialog, append(c.args, with...)...)
		if n := p.questions(); code != 0 || n > c.most || strings.Contains(screen, thePIN) {
			t.Errorf("%s: %d, asked %d times\n%s", strings.Join(c.args, " "), code, n, screen)
		}
	}
	screen, code := p.types([][2]string{{ask[0], "0000\r"}}, append([]string{"secrets", "show", "a"}, with...)...)
	if code == 0 || !strings.Contains(screen, "the PIN is wrong") || p.questions() != 1 {
		t.Errorf("a wrong PIN: %d\n%s", code, screen)
	}
	if out, err := p.tries("", "godwit", append([]string{"secrets", "show", "a"}, with...)...); err == nil || !strings.Contains(err.Error(), "there is no terminal to ask for it on") {
		t.Errorf("without a terminal: %q %v", out, err)
	}
	// A token that is not plugged in: its program is not there.
	p.env = append(p.env, "PATH="+t.TempDir())
	if out, err := p.tries("", "godwit", append([]string{"secrets", "show", "a"}, with...)...); err == nil || !strings.Contains(err.Error(), "age-plugin-pin") {
		t.Errorf("without the plugin: %q %v", out, err)
	}
}
