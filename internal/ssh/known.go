package ssh

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/regular"
)

// Address is where the configuration of ssh takes us, and the keys by which this
// machine knows what answers there.
type Address struct {
	Host, User, Port string
	// Keys are lines of a known_hosts file without the names: "ssh-ed25519
	// AAAA…", "@cert-authority ssh-rsa AAAA…". Empty where no key is known.
	Keys []string
}

// Address asks ssh itself (ssh -G) and ssh-keygen, which know what the files
// mean: names that are hashed, patterns, ports.
//
// A host that these do not know, and that somebody vouches for, has that key.
func (h *Host) Address(ctx context.Context) (Address, error) {
	h.vouch(ctx)
	a, _, err := h.recorded(ctx)
	if key := h.vouchedKey(); len(a.Keys) == 0 && key != "" {
		a.Keys = []string{key}
	}
	return a, err
}

// recorded is Address by the person's own files alone; command tells that a command of
// theirs knows more keys.
func (h *Host) recorded(ctx context.Context) (a Address, command bool, err error) {
	name := ""
	var files []string
	err = h.configuration(ctx, func(key, value string) {
		switch key {
		case "knownhostscommand":
			command = value != "" && value != "none"
		case "hostname":
			a.Host = value
		case "user":
			a.User = value
		case "port":
			a.Port = value
		case "hostkeyalias":
			name = value
		case "userknownhostsfile", "globalknownhostsfile":
			files = append(files, strings.Fields(value)...)
		}
	})
	if err != nil {
		return a, command, err
	}
	if name == "" {
		name = a.Host
		if a.Port != "22" {
			name = "[" + a.Host + "]:" + a.Port
		}
	}
	home, _ := os.UserHomeDir()
	seen := map[string]bool{}
	for _, f := range files {
		if rest, ok := strings.CutPrefix(f, "~/"); ok {
			f = filepath.Join(home, rest)
		}
		if regular.Check(f) != nil {
			continue
		}
		found, err := bounded.Output(exec.CommandContext(ctx, "ssh-keygen", "-F", name, "-f", f), "what ssh-keygen finds in "+f, configMax)
		if err != nil {
			continue // it is not in there
		}
		for _, k := range knownKeys(found) {
			if !seen[k] {
				seen[k] = true
				a.Keys = append(a.Keys, k)
			}
		}
	}
	return a, command, nil
}

// Compresses tells whether ssh compresses the connection by its configuration.
func (h *Host) Compresses(ctx context.Context) (bool, error) {
	yes := false
	err := h.configuration(ctx, func(key, value string) { yes = yes || key == "compression" && value == "yes" })
	return yes, err
}

// configMax bounds what is read of a configuration, in bytes.
const configMax = 1 << 20

// configLimit is how long ssh may take to read its configuration.
const configLimit = 15 * time.Second

// configuration gives the words and values of `ssh -G`.
func (h *Host) configuration(ctx context.Context, each func(key, value string)) error {
	if _, err := h.pool.configuration(ctx, h.args("", false, "true"), each); err != nil {
		return fault.New("ssh -G failed: %w", err).On(h.target.Name)
	}
	return nil
}

// configuration is the same for any arguments of ssh, with what ssh said besides.
func (p *Pool) configuration(ctx context.Context, args []string, each func(key, value string)) (said string, err error) {
	// A "Match exec" of somebody's may hang.
	ctx, cancel := context.WithTimeout(ctx, configLimit)
	defer cancel()
	cmd := p.command(ctx, append([]string{"-G"}, args...))
	stderr := bounded.NewTail(configMax)
	cmd.Stderr = stderr
	out, err := bounded.Output(cmd, "what ssh -G prints", configMax)
	if err != nil {
		return "", err
	}
	eachWord(out, each)
	return stderr.String(), nil
}

// eachWord reads what ssh -G prints.
func eachWord(out []byte, each func(key, value string)) {
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		each(key, value)
	}
}

// knownKeys takes the names out of lines of a known_hosts file.
func knownKeys(found []byte) []string {
	var out []string
	for line := range bytes.Lines(found) {
		w := strings.Fields(string(line))
		marker := ""
		if len(w) > 0 && strings.HasPrefix(w[0], "@") {
			marker, w = w[0]+" ", w[1:]
		}
		if len(w) < 3 || strings.HasPrefix(w[0], "#") {
			continue
		}
		out = append(out, marker+w[1]+" "+w[2])
	}
	return out
}
