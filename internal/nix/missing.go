package nix

import (
	"bufio"
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// Missing is what it takes to have some store paths on this machine, after the
// substituters have been asked.
type Missing struct {
	Build []string // derivations to build
	Fetch []string // store paths that a substituter has
	// DownloadBytes and NarBytes are the compressed and unpacked size of Fetch,
	// as Nix says them (rounded to a hundredth of its unit).
	DownloadBytes, NarBytes int64
	// Unknown are paths that are neither there, nor to be built, nor to be fetched.
	Unknown []string
	// Silent says that substituters were asked and did not answer in time, so
	// that Build may name things that a substituter has.
	Silent bool
	// Warnings are what Nix said about substituters, such as
	// "unable to download 'https://…'".
	Warnings []string
}

// Empty tells that nothing is to be built or fetched.
func (m *Missing) Empty() bool {
	return len(m.Build)+len(m.Fetch)+len(m.Unknown) == 0
}

// DefaultMissingWait is how long MissingFor waits for substituters when it is
// not told otherwise.
const DefaultMissingWait = 60 * time.Second

// MissingFor asks Nix what must be built and fetched to have the outputs of the
// derivations (and the store paths) in paths. It waits at most wait for
// substituters (0: DefaultMissingWait); when they do not answer it asks again
// without them and sets Silent.
//
// Substituters that are off cost seconds: Nix tries each five times with
// growing pauses (4.7 s measured with 2.8.0 and no name service, 0.1 s with a
// single attempt), and a host that drops packets costs connect-timeout each
// time. Therefore one attempt and a connect timeout of five seconds.
func (t *Tool) MissingFor(ctx context.Context, paths []string, wait time.Duration) (*Missing, error) {
	if len(paths) == 0 {
		return &Missing{}, nil
	}
	if wait <= 0 {
		wait = DefaultMissingWait
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := t.dryRun(limited, paths, "--option", "connect-timeout", "5", "--option", "download-attempts", "1")
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		m, err = t.dryRun(ctx, paths, "--option", "substitute", "false")
		if m != nil {
			m.Silent = true
			m.Warnings = append(m.Warnings, "no substituter answered within "+wait.String())
		}
	}
	return m, err
}

// argsLimit keeps a command line well below the limits of every system
// (macOS: 1 MiB together with the environment).
const argsLimit = 1000

func (t *Tool) dryRun(ctx context.Context, paths []string, options ...string) (*Missing, error) {
	all := &Missing{}
	seen := map[string]bool{}
	for len(paths) > 0 {
		n := min(len(paths), argsLimit)
		args := append([]string{"--realise", "--dry-run"}, options...)
		cmd := t.Command(ctx, "nix-store", append(args, paths[:n]...)...)
		paths = paths[n:]
		said, _, err := hear(cmd)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fault.New("cannot find out what is to be built: %s", lastError(said, err)).Because(err)
		}
		m := ParseMissing(said)
		for _, b := range m.Build {
			if !seen[b] {
				seen[b] = true
				all.Build = append(all.Build, b)
			}
		}
		for _, f := range m.Fetch {
			if !seen[f] {
				seen[f] = true
				all.Fetch = append(all.Fetch, f)
			}
		}
		all.Unknown = append(all.Unknown, m.Unknown...)
		all.DownloadBytes += m.DownloadBytes
		all.NarBytes += m.NarBytes
		all.Warnings = append(all.Warnings, m.Warnings...)
		all.Silent = all.Silent || m.Silent
	}
	return all, nil
}

// lastError is the last "error:" line of Nix's output, without that word.
func lastError(stderr string, err error) string {
	if bounded.Is(err) {
		return err.Error()
	}
	out := ""
	for _, line := range strings.Split(text.Strip(stderr), "\n") {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "error:"); ok && strings.TrimSpace(s) != "" {
			out = strings.TrimSpace(s)
		}
	}
	if out == "" {
		var lines []string
		for _, l := range strings.Split(text.Strip(stderr), "\n") {
			if l = strings.TrimSpace(l); l != "" {
				lines = append(lines, l)
			}
		}
		if len(lines) == 0 {
			return err.Error()
		}
		return lines[len(lines)-1]
	}
	return out
}

// The wordings, from 2.3 ("these derivations") over 2.4 to 2.34 ("these 3
// derivations", "this derivation"). Sizes are in MiB throughout up to 2.31 and
// in a fitting unit later; an unknown path's line has grown a remark in
// brackets.
var (
	willBuild  = regexp.MustCompile(`^(?:these(?: \d+)? derivations|this derivation) will be built:$`)
	willFetch  = regexp.MustCompile(`^(?:these(?: \d+)? paths|this path) will be fetched(?: \(([0-9.]+) ([KMGT]?i?B) download, ([0-9.]+) ([KMGT]?i?B) unpacked\))?:$`)
	dontKnow   = regexp.MustCompile(`^don't know how to build (?:these(?: \d+)? paths|this path)(?: \([^)]*\))?:$`)
	substError = regexp.MustCompile(`unable to download|unable to check|Couldn't resolve|Could not resolve|timed out|cannot open connection|substituter '[^']*' .*disabled|ignoring substituter|does not appear to be a binary cache|failed to start SSH connection|disabling binary cache`)
)

// ParseMissing reads what `nix-store --realise --dry-run` wrote to stderr.
func ParseMissing(stderr string) *Missing {
	m := &Missing{}
	var into *[]string
	sc := bufio.NewScanner(strings.NewReader(text.Strip(stderr)))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := strings.TrimRight(sc.Text(), " \r")
		if p, ok := strings.CutPrefix(line, "  /"); ok && into != nil {
			*into = append(*into, "/"+p)
			continue
		}
		into = nil
		switch f := willFetch.FindStringSubmatch(line); {
		case f != nil:
			m.DownloadBytes += size(f[1], f[2])
			m.NarBytes += size(f[3], f[4])
			into = &m.Fetch
		case willBuild.MatchString(line):
			into = &m.Build
		case dontKnow.MatchString(line):
			into = &m.Unknown
		case substError.MatchString(line):
			m.Silent = true
			w := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "warning: "), "error: "), "warning: ")
			if len(m.Warnings) < 20 {
				m.Warnings = append(m.Warnings, w)
			}
		}
	}
	return m
}

func size(number, unit string) int64 {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0
	}
	switch strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "i") {
	case "K":
		f *= 1 << 10
	case "M":
		f *= 1 << 20
	case "G":
		f *= 1 << 30
	case "T":
		f *= 1 << 40
	}
	return int64(min(f, 1<<62)) // what is more does not fit, and is not true
}

// Valid tells which of paths are in this machine's store and which are not.
func (t *Tool) Valid(ctx context.Context, paths []string) (valid map[string]bool, err error) {
	valid = make(map[string]bool, len(paths))
	for _, p := range paths {
		valid[p] = true
	}
	for len(paths) > 0 {
		n := min(len(paths), argsLimit)
		cmd := t.Command(ctx, "nix-store", append([]string{"--check-validity", "--print-invalid"}, paths[:n]...)...)
		paths = paths[n:]
		out, said, err := collect(cmd)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if bounded.Is(err) || err != nil && len(out) == 0 && said != "" {
			return nil, fault.New("cannot ask the store: %s", lastError(said, err)).Because(err)
		}
		if err != nil && !isExit(err) {
			return nil, fault.New("cannot ask the store: %s", err).Because(err)
		}
		for _, p := range strings.Fields(string(out)) {
			valid[p] = false
		}
	}
	return valid, nil
}

func isExit(err error) bool {
	var e interface{ ExitCode() int }
	return errors.As(err, &e)
}
