package secrets

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // compare.sh
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// What may differ between a secret and what is at its destination.
const (
	Content = "content"
	Owner   = "owner"
	Mode    = "mode"
	Kind    = "kind" // what is there is no regular file
)

// Comparison tells what an upload would do with one secret.
type Comparison struct {
	Name, Destination string
	// Result is New, Changed or Unchanged.
	Result string
	// Differs says in what a changed secret differs: Content, Owner, Mode, Kind.
	Differs []string
}

// compareScript runs as root on the host and only reads. Its input is a key and
// the number of secrets, then two lines for each: destination and length. It
// answers with "INDEX absent", "INDEX other" (no regular file), "INDEX refused WHAT
// MESSAGE" (what an upload would say), or "INDEX file SIZE MODE UID GID USER GROUP
// SUM", and "end". SUM is over the key and the
// content, so it means nothing to anybody without the key, which is made for
// one comparison; it is "-" where the lengths differ already.
//
//go:embed compare.sh
var compareScript string

// Compare tells what uploading all secrets of a host would do with each, in the
// order of their names. Nothing is changed, and no content leaves either side:
// what travels are sums with a key that is made here, sent once, and forgotten.
// They are not part of the result.
func Compare(ctx context.Context, r host.Conn, name fleet.Host) ([]Comparison, error) {
	list := Select(name.Secrets, "")
	if len(list) == 0 {
		return nil, nil
	}
	if errs := check(ctx, name.Name, list); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	key := hex.EncodeToString(random)
	sums := make([]string, len(list))
	var in strings.Builder
	fmt.Fprintf(&in, "%s\n%d\n", key, len(list))
	for i, s := range list {
		sum, size, err := keyedSum(ctx, name.Name, key, s)
		if err != nil {
			return nil, err.On(name.Name)
		}
		sums[i] = sum
		fmt.Fprintf(&in, "%s\n%d\n", s.Destination, size)
	}
	var out strings.Builder
	err := r.Run(ctx, host.Cmd{Script: walkScript + compareScript, Elevate: true, Stdin: strings.NewReader(in.String()), Stdout: &out, Name: "the comparison of the secrets"})
	found := strings.Split(out.String(), "\n")
	if len(found) != len(list)+2 || found[len(list)] != "end" {
		if err == nil {
			err = errors.New("the host's answer was incomplete")
		}
		return nil, fault.New("cannot compare the secrets: %s", strings.TrimPrefix(err.Error(), name.Name+": ")).On(name.Name).Because(err)
	}
	all := make([]Comparison, len(list))
	for i, s := range list {
		all[i] = Comparison{Name: s.Name, Destination: s.Destination}
		if w := strings.SplitN(found[i], " ", 4); len(w) == 4 && w[1] == "refused" {
			return nil, refusal(s, w[2], w[3]).On(name.Name)
		}
		all[i].Result, all[i].Differs = judge(s, sums[i], found[i])
	}
	return all, nil
}

// judge reads one line of the script's answer.
func judge(s fleet.Secret, sum, line string) (result string, differs []string) {
	words := strings.Fields(line)
	switch {
	case len(words) == 2 && words[1] == "absent":
		return New, nil
	case len(words) != 9:
		return Changed, []string{Kind}
	}
	mode, uid, gid, user, group, there := words[3], words[4], words[5], words[6], words[7], words[8]
	if there != sum {
		differs = append(differs, Content)
	}
	if s.User != user && s.User != uid || s.Group != group && s.Group != gid {
		differs = append(differs, Owner)
	}
	if want, err := strconv.ParseUint(s.Permissions, 8, 32); err != nil || mode != strconv.FormatUint(want, 8) {
		differs = append(differs, Mode)
	}
	if len(differs) == 0 {
		return Unchanged, nil
	}
	return Changed, differs
}

// keyedSum is the sum that compareScript makes of an equal file.
func keyedSum(ctx context.Context, host, key string, s fleet.Secret) (string, int64, *fault.Error) {
	h := sha256.New()
	io.WriteString(h, key)
	if s.From.File == "" {
		data, err := content(ctx, host, s)
		if err != nil {
			return "", 0, err
		}
		h.Write(data)
		return hex.EncodeToString(h.Sum(nil)), int64(len(data)), nil
	}
	f, ferr := openSource(s)
	if ferr != nil {
		return "", 0, ferr
	}
	defer f.Close()
	n, err := io.Copy(h, bounded.Reader(f, "its source", maxSecret))
	if err != nil {
		return "", 0, fault.New("secret %q: cannot read its source: %w", s.Name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
