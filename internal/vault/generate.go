package vault

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/ui/text"
)

// Generator makes the value of a secret.
type Generator struct {
	// Kind is one of Kinds.
	Kind string `toml:"kind"`
	// Length is in characters for random; 0 is 32.
	Length int `toml:"length,omitempty"`
	// Charset of random: "alnum" (default), "hex", "base64", "digits", or the characters themselves.
	Charset string `toml:"charset,omitempty"`
	// User is the name in a line of htpasswd.
	User string `toml:"user,omitempty"`
	// From are secrets that the value is made of: they are generated first.
	From []string `toml:"from,omitempty"`
	// Command prints the value. It gets the values of From as a JSON object on its
	// standard input, by name.
	Command []string `toml:"command,omitempty"`
}

// Kinds are the kinds of generators, with what each makes.
var Kinds = [][2]string{
	{"random", "random characters (length, charset)"},
	{"ssh", "an OpenSSH ed25519 key; the public half is NAME.pub"},
	{"wireguard", "a WireGuard private key; the public half is NAME.pub"},
	{"age", "an age private key; the public half is NAME.pub"},
	{"htpasswd", "a line USER:HASH for web servers (bcrypt), of the password in from"},
	{"password-hash", "the hash of the password in from (bcrypt), as NixOS takes it for users"},
	{"command", "what a command prints (command, from)"},
}

// generateTimeout bounds a command; a person may have to touch a token.
const generateTimeout = 3 * time.Minute

// check says what is wrong with a generator.
func (g *Generator) check() error {
	if !slices.ContainsFunc(Kinds, func(k [2]string) bool { return k[0] == g.Kind }) {
		var all []string
		for _, k := range Kinds {
			all = append(all, k[0])
		}
		return fmt.Errorf("generator: the kind '%s' is not one of %s", g.Kind, strings.Join(all, ", "))
	}
	hash := g.Kind == "htpasswd" || g.Kind == "password-hash"
	switch {
	case g.Length < 0 || g.Length > 1<<16:
		return fmt.Errorf("generator: the length %d is not between 1 and %d", g.Length, 1<<16)
	case hash && len(g.From) != 1:
		return fmt.Errorf("generator: %s takes one password: from = [\"NAME\"]", g.Kind)
	case g.Kind == "htpasswd" && (g.User == "" || strings.ContainsAny(g.User, ":\n")):
		return fmt.Errorf("generator: htpasswd takes a user without a colon")
	case g.Kind == "command" && len(g.Command) == 0:
		return fmt.Errorf("generator: command = [\"PROGRAM\", …] is missing")
	case g.Kind != "command" && len(g.Command) > 0:
		return fmt.Errorf("generator: only the kind 'command' takes a command")
	case !hash && g.Kind != "command" && len(g.From) > 0:
		return fmt.Errorf("generator: %s is not made from another secret", g.Kind)
	}
	_, err := charset(g.Charset)
	return err
}

func charset(name string) (string, error) {
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	switch name {
	case "", "alnum":
		return lower + upper + digits, nil
	case "hex":
		return digits + "abcdef", nil
	case "digits":
		return digits, nil
	case "base64":
		return "", nil
	}
	if len(name) < 2 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("generator: the charset '%s' is not one of alnum, hex, base64, digits, nor two or more printable characters", name)
	}
	return name, nil
}

// value is what a generator made.
type value struct {
	plain  []byte
	public []byte // in clear; nil when there is none
}

// run makes a value. from has the values of g.From.
func (g *Generator) run(ctx context.Context, name string, from map[string][]byte) (value, error) {
	switch g.Kind {
	case "random":
		s, err := random(g.Length, g.Charset)
		return value{plain: []byte(s)}, err
	case "ssh":
		pub, key, err := identity.NewSSH(name)
		return value{key, []byte(pub + " " + name + "\n")}, err
	case "age":
		pub, key, err := identity.NewAge(false)
		return value{[]byte(key + "\n"), []byte(pub + "\n")}, err
	case "wireguard":
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return value{}, err
		}
		b64 := func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b) + "\n") }
		return value{b64(k.Bytes()), b64(k.PublicKey().Bytes())}, nil
	case "htpasswd", "password-hash":
		pass := bytes.TrimRight(from[g.From[0]], "\r\n")
		h, err := bcrypt.GenerateFromPassword(pass, bcryptCost)
		if errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return value{}, fmt.Errorf("the password '%s' is longer than the 72 bytes that bcrypt takes", g.From[0])
		}
		if err != nil {
			return value{}, err
		}
		// The same algorithm under the name that each reader knows.
		if g.Kind == "htpasswd" {
			return value{plain: []byte(g.User + ":$2y$" + string(h[4:]) + "\n")}, nil
		}
		return value{plain: []byte("$2b$" + string(h[4:]))}, nil
	}
	plain, err := g.command(ctx, from)
	return value{plain: plain}, err
}

// bcryptCost is what htpasswd -B and NixOS's users live with, a fraction of a second.
const bcryptCost = 11

// random makes n characters, without a line break.
func random(n int, set string) (string, error) {
	if n == 0 {
		n = 32
	}
	chars, err := charset(set)
	if err != nil {
		return "", err
	}
	if chars == "" { // base64
		b := make([]byte, n)
		_, err := rand.Read(b)
		return base64.StdEncoding.EncodeToString(b)[:n], err
	}
	if set == "hex" {
		b := make([]byte, (n+1)/2)
		_, err := rand.Read(b)
		return hex.EncodeToString(b)[:n], err
	}
	out := make([]byte, n)
	most := big.NewInt(int64(len(chars)))
	for i := range out {
		k, err := rand.Int(rand.Reader, most)
		if err != nil {
			return "", err
		}
		out[i] = chars[k.Int64()]
	}
	return string(out), nil
}

// command runs the command of a generator, without a shell. What it prints is the
// secret, so no error says it.
func (g *Generator) command(ctx context.Context, from map[string][]byte) ([]byte, error) {
	in := map[string]string{}
	for k, v := range from {
		in[k] = string(v)
	}
	stdin, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	tctx, cancel := context.WithTimeout(ctx, generateTimeout)
	defer cancel()
	cmd := exec.CommandContext(tctx, g.Command[0], g.Command[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.WaitDelay = 2 * time.Second
	out, err := bounded.Output(cmd, "what it prints", identity.MaxPlain)
	name := text.OneLine(g.Command[0])
	var exit *exec.ExitError
	switch {
	case err == nil && len(out) == 0:
		return nil, fmt.Errorf("the command %s prints nothing", name)
	case err == nil:
		return out, nil
	case tctx.Err() != nil && ctx.Err() == nil:
		return nil, fmt.Errorf("the command %s did not end within %s", name, generateTimeout)
	case errors.As(err, &exit):
		f := fault.New("the command %s failed: %s", name, exit)
		for _, l := range text.Lines(strings.TrimSpace(string(exit.Stderr)), 5) {
			f.Detail(l)
		}
		return nil, f
	}
	return nil, fmt.Errorf("the command %s cannot be run: %w", name, fault.Reason(err))
}

// Order gives the named secrets and those that they are made of, each after what it is
// made of.
func (v *Vault) order(names []string) ([]Secret, error) {
	var out []Secret
	state := map[string]int{} // 1: on the way, 2: done
	var visit func(name, by string) error
	visit = func(name, by string) error {
		switch state[name] {
		case 1:
			return fault.New("secret '%s' is made of itself, by way of '%s'", name, by)
		case 2:
			return nil
		}
		s, err := v.Secret(name)
		if err != nil {
			return err
		}
		state[name] = 1
		if s.Generator != nil {
			for _, f := range s.Generator.From {
				if err := visit(f, name); err != nil {
					return err
				}
			}
		}
		state[name] = 2
		out = append(out, s)
		return nil
	}
	for _, n := range names {
		if err := visit(n, ""); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// has tells whether a secret has a value.
func (v *Vault) has(s Secret) bool {
	_, ok := v.Index.Files[storeDir+"/"+s.Name+".age"]
	return ok
}

// Generate makes the values of the named secrets, and of those that they are made of and
// that have none yet; no names are all that have none. again makes the named ones anew,
// and what is made of them.
func (t *Tx) Generate(ctx context.Context, names []string, again bool, o *identity.Operator, p identity.Person) ([]string, error) {
	v := t.v
	all := len(names) == 0
	if all {
		for _, s := range v.Secrets {
			if s.Generator != nil {
				names = append(names, s.Name)
			}
		}
	}
	list, err := v.order(names)
	if err != nil {
		return nil, err
	}
	if again { // what is made of them follows
		for _, s := range v.Secrets {
			if s.Generator != nil && slices.ContainsFunc(s.Generator.From, func(f string) bool { return slices.Contains(names, f) }) {
				names = append(names, s.Name)
			}
		}
		if list, err = v.order(names); err != nil {
			return nil, err
		}
	}
	values := map[string][]byte{}
	plain := func(name string) ([]byte, error) {
		if b, ok := values[name]; ok {
			return b, nil
		}
		s, err := v.Secret(name)
		if err != nil {
			return nil, err
		}
		return v.Open(s, o)
	}
	var made []string
	for _, s := range list {
		if v.has(s) && !(again && slices.Contains(names, s.Name)) {
			continue
		}
		if s.Generator == nil {
			if v.has(s) {
				continue
			}
			return made, fault.New("secret '%s' has no value, and no generator to make one", s.Name).Hint("godwit secrets edit %s", s.Name)
		}
		from := map[string][]byte{}
		for _, f := range s.Generator.From {
			if from[f], err = plain(f); err != nil {
				return made, err
			}
		}
		val, err := s.Generator.run(ctx, s.Name, from)
		if err != nil {
			return made, fault.New("secret '%s' cannot be generated: %w", s.Name, err)
		}
		values[s.Name] = val.plain
		if err := t.Set(s, val.plain, p); err != nil {
			return made, err
		}
		if val.public != nil {
			t.Public(s, val.public)
		}
		made = append(made, s.Name)
	}
	return made, nil
}
