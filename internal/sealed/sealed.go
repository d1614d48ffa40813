// Package sealed looks, before a deploy, whether a machine can open the secrets that its
// configuration has it decrypt: those of agenix and sops-nix. Nothing is decrypted: files
// of age and sops say in clear for which ssh keys, or for which recipients, they are.
//
// It says only what is certain. A machine whose keys are not known here, or that may have
// others than its ssh host keys, is not judged; a file that is missing is always a fault.
package sealed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/identity"
	"godwit/internal/regular"
	"godwit/internal/sopsfile"
)

// Preflight looks at the secrets of all hosts. keys gives the ssh host keys by which this
// machine knows a host, in authorized-key form; it is called for hosts with such secrets.
func Preflight(ctx context.Context, hosts []fleet.Host, keys func(context.Context, fleet.Host) []string) error {
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		var list []fleet.Sealed
		for _, p := range h.Profiles {
			list = append(list, p.Sealed...)
		}
		if h.BuildOnly || len(list) == 0 {
			continue
		}
		wg.Go(func() {
			defer crash.Catch()
			errs[i] = check(h.Name, list, append(fromRepository(h.Name), keys(ctx, h)...))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fromRepository are the keys of a machine that has its identity in the repository here.
func fromRepository(name string) []string {
	dir, ok := identity.Find(".")
	if !ok {
		return nil
	}
	r, err := identity.Open(dir)
	if err != nil {
		return nil // whoever needs the folder says what is wrong with it
	}
	m, ok := r.Machine(name)
	if !ok || m.SSHHost == "" {
		return nil
	}
	return []string{m.SSHHost}
}

// check makes one error of a host: a line per secret.
func check(host string, list []fleet.Sealed, keys []string) error {
	var lines []string
	tool := ""
	for _, s := range list {
		if why := problem(s, keys); why != "" {
			lines = append(lines, fmt.Sprintf("secret '%s': %s", s.Name, why))
			tool = s.Tool
		}
	}
	if len(lines) == 0 {
		return nil
	}
	what := "a secret of its configuration"
	if len(lines) > 1 {
		what = fmt.Sprintf("%d secrets of its configuration", len(lines))
	}
	f := fault.New("it cannot open %s; nothing was copied", what).On(host).Detail(lines...)
	if tool == "agenix" {
		f.Hint("add the host's key to secrets.nix, then: agenix --rekey")
	} else {
		f.Hint("add the host's key to .sops.yaml, then: sops updatekeys FILE")
	}
	return f.Hint("--accept-risk=closed-secret deploys anyway")
}

// maxFile bounds what is read of a file of age, in bytes: its header stands in front.
const maxFile = 64 << 20

// problem says why a machine with these keys cannot open a secret; "" when it can, or when
// that is not known.
func problem(s fleet.Sealed, keys []string) string {
	// A host may have any key that a certificate authority signed.
	keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return strings.HasPrefix(k, "@") })
	data, err := regular.Read(s.File, maxFile)
	if err != nil {
		return fmt.Sprintf("%s cannot be read: %s", s.File, fault.Reason(err))
	}
	if s.Tool == "agenix" {
		return ageProblem(data, s, keys)
	}
	return sopsProblem(data, s, keys)
}

func ageProblem(data []byte, s fleet.Sealed, keys []string) string {
	stanzas, err := header(data)
	if err != nil {
		return s.File + " is not an age file"
	}
	types, known := map[string]bool{}, false
	for _, k := range keys {
		pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k))
		if err != nil {
			continue // of a certificate authority, or a sort that age has no use for
		}
		types[pub.Type()] = true
		sum := sha256.Sum256(pub.Marshal())
		tag := base64.RawStdEncoding.EncodeToString(sum[:4])
		known = known || slices.ContainsFunc(stanzas, func(w []string) bool { return len(w) > 1 && w[0] == pub.Type() && w[1] == tag })
	}
	if known || !s.Only || !types[ssh.KeyAlgoED25519] {
		return ""
	}
	for _, w := range stanzas { // it may be for a host key of the other sort, which is not known here
		if w[0] == ssh.KeyAlgoRSA && !types[ssh.KeyAlgoRSA] {
			return ""
		}
	}
	return fmt.Sprintf("%s is encrypted for %d other keys, and not for this host's", s.File, len(stanzas))
}

// header gives the words of each stanza of a file of age.
func header(data []byte) ([][]string, error) {
	l := bounded.NewLines(identity.Dearmor(bytes.NewReader(data)), "a line of the header", 1<<16)
	if !l.Next() || l.Text() != "age-encryption.org/v1" {
		return nil, errors.New("no header")
	}
	var out [][]string
	for l.Next() {
		line := l.Text()
		if strings.HasPrefix(line, "---") {
			return out, nil
		}
		if w, ok := strings.CutPrefix(line, "-> "); ok && w != "" && len(out) < 10000 {
			out = append(out, strings.Split(w, " "))
		}
	}
	return nil, errors.Join(l.Err(), io.ErrUnexpectedEOF)
}

func sopsProblem(data []byte, s fleet.Sealed, keys []string) string {
	f, err := sopsfile.Parse(data, s.Format)
	if err != nil {
		return fmt.Sprintf("%s: %s", s.File, err)
	}
	if s.Format != "binary" && s.Key != "" {
		if _, err := f.Value(s.Key); err != nil {
			return fmt.Sprintf("%s: %s", s.File, err)
		}
	}
	m := f.Meta()
	if !s.Only || len(m.Others) > 0 || m.Groups > 1 {
		return ""
	}
	ed := false
	for _, k := range keys {
		form, err := identity.SSHToAge(k)
		if err != nil {
			continue
		}
		ed = true
		if slices.Contains(m.Age, form) || slices.ContainsFunc(m.Age, func(r string) bool { return identity.Canonical(r) == identity.Canonical(k) }) {
			return ""
		}
	}
	if !ed {
		return ""
	}
	return fmt.Sprintf("%s is encrypted for %d other keys, and not for this host's", s.File, len(m.Age))
}
