// Package machines reads how Nix names the machines that build for it: the entries of its
// setting `builders`, and the addresses of ssh stores.
package machines

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/fleet"
	"godwit/internal/regular"
)

// Machine is an entry of Nix's `builders` setting or of /etc/nix/machines.
type Machine struct {
	URI         string // with its scheme; a bare name has become ssh://name
	Systems     []string
	Key         string // ssh identity file
	MaxJobs     int
	SpeedFactor float64
	Features    []string // supported
	Mandatory   []string // a derivation must ask for these
	HostKey     string   // the public host key line, decoded
}

// Can tells whether Nix would give the machine what is for a system and asks for features
// (machines.cc: systemSupported, allSupported, mandatoryMet).
func (m Machine) Can(system string, features []string) bool {
	if system != "builtin" && !slices.Contains(m.Systems, system) {
		return false
	}
	for _, f := range features {
		if !slices.Contains(m.Features, f) && !slices.Contains(m.Mandatory, f) {
			return false
		}
	}
	for _, f := range m.Mandatory {
		if !slices.Contains(features, f) {
			return false
		}
	}
	return true
}

// Parse reads the value of the `builders` setting: entries separated by
// newlines or ";", "#" comments, "@file" includes (a missing file is nothing).
// Fields as in Nix's manual, "Remote builds"; "-" is the default. Entries that
// cannot be read are reported and left out.
func Parse(setting, localSystem string) (machines []Machine, problems []string) {
	return parse(setting, localSystem, func(file string) ([]byte, error) { return regular.Read(file, 1<<20) }, 0)
}

var errTooMany = fmt.Errorf("more than %d files of builders are included", mostIncluded)

// mostIncluded is how many files may be included, over all levels: files that include
// each other double with every level.
const mostIncluded = 50

func parse(setting, localSystem string, read func(string) ([]byte, error), depth int) (machines []Machine, problems []string) {
	if depth == 0 {
		given, n := read, 0
		read = func(file string) ([]byte, error) {
			if n++; n > mostIncluded {
				return nil, errTooMany
			}
			return given(file)
		}
	}
	for _, line := range strings.FieldsFunc(setting, func(r rune) bool { return r == '\n' || r == ';' }) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if file, ok := strings.CutPrefix(line, "@"); ok {
			file = strings.TrimSpace(file)
			data, err := read(file)
			switch {
			case os.IsNotExist(err):
			case err == errTooMany && slices.Contains(problems, errTooMany.Error()):
			case err == errTooMany:
				problems = append(problems, err.Error())
			case err != nil:
				problems = append(problems, fmt.Sprintf("cannot read %s: %s", file, err))
			case depth == 8:
				problems = append(problems, file+": included too deeply")
			default:
				// Inside a file only lines separate entries.
				for _, l := range strings.Split(string(data), "\n") {
					ms, ps := parse(l, localSystem, func(p string) ([]byte, error) {
						if !filepath.IsAbs(p) {
							p = filepath.Join(filepath.Dir(file), p)
						}
						return read(p)
					}, depth+1)
					machines = append(machines, ms...)
					for _, p := range ps {
						if p != errTooMany.Error() {
							p = file + ": " + p
						} else if slices.Contains(problems, p) {
							continue
						}
						problems = append(problems, p)
					}
				}
			}
			continue
		}
		m, err := parseOne(line, localSystem)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		machines = append(machines, m)
	}
	return machines, problems
}

func parseOne(line, localSystem string) (Machine, error) {
	f := strings.Fields(line)
	get := func(i int) string {
		if i < len(f) && f[i] != "-" {
			return f[i]
		}
		return ""
	}
	list := func(i int) []string {
		var out []string
		for _, s := range strings.Split(get(i), ",") {
			if s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	m := Machine{URI: get(0), Systems: list(1), Key: get(2), MaxJobs: 1, SpeedFactor: 1, Features: list(5), Mandatory: list(6)}
	if m.URI == "" {
		return m, fmt.Errorf("a builder without a name: %q", line)
	}
	if !strings.Contains(m.URI, "://") && !strings.HasPrefix(m.URI, "local") && m.URI != "auto" && m.URI != "daemon" {
		m.URI = "ssh://" + m.URI
	}
	if len(m.Systems) == 0 {
		m.Systems = []string{localSystem}
	}
	if s := get(3); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return m, fmt.Errorf("builder %s: bad number of jobs %q", m.URI, s)
		}
		m.MaxJobs = int(n)
	}
	if s := get(4); s != "" {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || v < 0 {
			return m, fmt.Errorf("builder %s: bad speed factor %q", m.URI, s)
		}
		m.SpeedFactor = v
	}
	if s := get(7); s != "" {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return m, fmt.Errorf("builder %s: the host key is not base64", m.URI)
		}
		m.HostKey = strings.TrimSpace(string(b))
	}
	return m, nil
}

// StoreURI is a parsed ssh store address.
type StoreURI struct {
	Scheme     string // "ssh" or "ssh-ng"
	User, Host string
	Port       int
	Key        string // parameter ssh-key
	Remote     string // parameter remote-store
	Text       string // as given
}

// ParseStoreURI reads ssh://[user@]host[:port][?params] and the same with
// ssh-ng. Nix itself knows the port only from 2.31 on; godwit always does.
func ParseStoreURI(s string) (StoreURI, error) {
	u := StoreURI{Text: s}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "ssh" && scheme != "ssh-ng" {
		return u, fmt.Errorf("%q is not an ssh store: write ssh-ng://user@host or ssh://user@host", s)
	}
	u.Scheme = scheme
	rest, query, _ := strings.Cut(rest, "?")
	rest = strings.TrimSuffix(rest, "/")
	d, err := fleet.ParseDestination(rest)
	if err != nil {
		return u, fmt.Errorf("%q is not an ssh store: %w", s, err)
	}
	u.User, u.Host, u.Port = d.User, d.Host, d.Port
	if query != "" {
		v, err := url.ParseQuery(query)
		if err != nil {
			return u, fmt.Errorf("%q: %w", s, err)
		}
		u.Key, u.Remote = v.Get("ssh-key"), v.Get("remote-store")
	}
	return u, nil
}
