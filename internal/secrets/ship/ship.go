// Package ship brings a release of secrets to a host. What rests there is ciphertext, in a
// folder of root's; it takes effect as a profile of the kind secrets (internal/profile).
package ship

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/onhost"
	"godwit/internal/ui/text"
)

// lookScript tells what a host is, and what it has: "uname Linux x86_64", "release" when there
// is one already, and a line "program SUM" for each.
//
//go:embed look.sh
var lookScript string

// programScript keeps the program that its input is, under its SHA-256.
//
//go:embed program.sh
var programScript string

// Ship brings a bundle to a host and gives the path of the release, which takes no effect
// yet. The host opens all of it in memory before it keeps it; when a secret does not open,
// nothing has changed there. A bundle without entries has no path on a host that never had
// secrets: there is nothing to take away.
func Ship(ctx context.Context, conn host.Conn, name string, b *bundle.Bundle) (string, error) {
	if err := b.Check(); err != nil {
		return "", fault.New("the secrets of the host are inconsistent: %w", err).On(name)
	}
	release, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	out, err := conn.Output(ctx, host.Cmd{Script: lookScript, Args: []string{onhost.State}, Elevate: true, Name: "the search for secrets"})
	if err != nil {
		return "", err
	}
	var uname string
	has := map[string]bool{}
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "uname" {
			uname = rest
		}
		has[word+" "+rest] = true
	}
	if len(b.Entries) == 0 && !has["release "] {
		return "", nil
	}
	p, err := programFor(uname)
	if err != nil {
		return "", on(name, err)
	}
	if !has["program "+p.sum+"-"+onhost.Name] {
		err := conn.Run(ctx, host.Cmd{Script: programScript, Args: []string{onhost.State, p.sum, onhost.Name}, Stdin: bytes.NewReader(p.text), Elevate: true,
			KillOnCancel: true, Name: "the copy of " + onhost.Name, Limit: limit(len(p.text))})
		if err != nil {
			return "", err
		}
	}
	out, err = conn.Output(ctx, host.Cmd{Script: `exec "$1" receive`, Args: []string{onhost.State + "/programs/" + p.sum + "-" + onhost.Name}, Stdin: bytes.NewReader(release),
		Elevate: true, KillOnCancel: true, Name: "the copy of the secrets", Limit: limit(len(release))})
	if err != nil {
		return "", refused(name, err)
	}
	at := strings.TrimSpace(out)
	// What was encrypted for this run alone may be what the host has already, under that name.
	fresh := slices.ContainsFunc(b.Entries, func(e bundle.Entry) bool { return e.Fresh })
	if at != onhost.State+"/"+b.ID() && !(fresh && path.Dir(at) == onhost.State && isID.MatchString(path.Base(at))) {
		return "", fault.New("the host did not say where it keeps its secrets").On(name)
	}
	return at, nil
}

var isID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// refused says why a host does not keep a release.
func refused(name string, err error) error {
	var exit *host.ExitError
	if !errors.As(err, &exit) || exit.Code == 126 || exit.Code == 127 {
		return err
	}
	f := fault.New("the host cannot open its secrets, so nothing was changed there").On(name).Because(err)
	for line := range strings.Lines(exit.Stderr) {
		line = strings.TrimPrefix(strings.TrimSpace(line), onhost.Name+": ")
		if line = text.Clean(line); line != "" {
			f.Detail(line)
		}
	}
	return f.Hint("godwit secrets check; godwit keys check %s", name)
}

func on(name string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.On(name)
	}
	return fault.New("%w", err).On(name)
}

// limit is how long so many bytes may take: a minute, and what a slow line needs.
func limit(size int) time.Duration {
	return time.Minute + time.Duration(size)*time.Second/(16<<10)
}
