package ship

import (
	"context"
	_ "embed" // rests.sh
	"encoding/json"
	"errors"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/onhost"
)

//go:embed rests.sh
var restsScript string

// Rest is what of secrets rests on a host.
type Rest struct {
	// Running and Kept are the IDs of the release whose secrets are there, and of the one
	// that the next boot uses; "" for none.
	Running, Kept string
	// Bundle is the release that was asked for; nil where there is none, or where it is
	// the one that the caller has.
	Bundle *bundle.Bundle
}

// restLimit bounds the look, in time and in bytes: a release is as large as its secrets.
const (
	restLimit = 2 * time.Minute
	restMax   = 64 << 20
)

// Rests asks a host what secrets rest on it, in ciphertext. have is the ID of the release
// that would be brought: it is not read again. With kept, Bundle is the release of the next
// boot, else the one that runs. Nothing is changed.
func Rests(ctx context.Context, conn host.Conn, name, have string, kept bool) (Rest, error) {
	which := "running"
	if kept {
		which = "kept"
	}
	out, err := conn.Output(ctx, host.Cmd{Script: restsScript, Args: []string{onhost.State, have, which}, Elevate: true,
		Name: "the inspection of the secrets that rest there", Limit: restLimit, MaxOutput: restMax})
	if err != nil {
		return Rest{}, err
	}
	r, err := parseRests(out)
	if err != nil {
		return Rest{}, fault.New("cannot look at the secrets that rest on the host: %w", err).On(name)
	}
	return r, nil
}

// parseRests reads the answer of rests.sh.
func parseRests(out string) (r Rest, err error) {
	ended := false
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "running":
			r.Running = rest
		case "kept":
			r.Kept = rest
		case "bundle":
			var b bundle.Bundle
			if err := json.Unmarshal([]byte(rest), &b); err != nil {
				return r, errors.New("the release on the host cannot be read")
			}
			if err := b.Check(); err != nil {
				return r, err
			}
			r.Bundle = &b
		case "end":
			ended = true
		}
	}
	if !ended {
		return r, errors.New("the host's answer was incomplete")
	}
	return r, nil
}
