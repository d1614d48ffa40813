package health

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// Before and After are the two lists of checks of a host, by their attributes.
const (
	Before = "preDeployChecks"
	After  = "healthChecks"
)

// Preflight says which checks of hosts can never succeed, whatever the hosts
// do: with them a host would be changed only to be taken back. It asks no host.
// before and after say which lists the run uses.
func Preflight(hosts []fleet.Host, before, after bool) error {
	var errs []error
	for _, h := range hosts {
		if h.BuildOnly {
			continue
		}
		if before {
			errs = append(errs, static(h, h.PreDeployChecks, Before))
		}
		if after {
			errs = append(errs, static(h, h.HealthChecks, After))
		}
	}
	return errors.Join(errs...)
}

// static is Preflight for one list of one host; list names it.
func static(h fleet.Host, c fleet.Checks, list string) error {
	var errs []error
	each := func(kind, description string, period, timeout time.Duration, why error, hint string) {
		switch {
		case why != nil:
		case period < 0:
			why, hint = fmt.Errorf("period is negative"), "period is the seconds between two tries"
		case timeout < 0:
			why, hint = fmt.Errorf("timeout is negative"), "timeout is the seconds that one try may take; 0 sets no limit to a single one"
		default:
			return
		}
		errs = append(errs, fault.New("the check %q (%s.%s) can never succeed: %w", description, list, kind, why).On(h.Name).Hint("%s", fault.Raw(hint)))
	}
	for _, x := range c.Cmd {
		each("cmd", x.Description, x.Period, x.Timeout, badCommand(x.Cmd), `cmd is a list of words: [ "systemctl" "is-active" "nginx" ]`)
	}
	for _, x := range c.HTTP {
		_, err := pageURL(x, nameOf(h, x.Host))
		err = cmp.Or(err, badHeaders(x.Headers))
		each("http", x.Description, x.Period, x.Timeout, err, "look at scheme, host, port, path and headers of the check")
	}
	for _, x := range c.TCP {
		each("tcp", x.Description, x.Period, x.Timeout, cmp.Or(badPort(x.Port), badHost(nameOf(h, x.Host))), "look at host and port of the check")
	}
	for _, x := range c.Unit {
		each("unit", x.Description, x.Period, x.Timeout, badUnit(x.Unit), "unit is the name of one unit, such as nginx or backup.timer")
	}
	for _, x := range c.FailedUnits {
		each("failedUnits", x.Description, x.Period, x.Timeout, fleet.UnitPatterns(x.Ignore).Check(), "ignore is a list of names and shell patterns of units")
	}
	for _, x := range c.Local {
		err := badCommand(x.Cmd)
		hint := `cmd is a list of words: [ "./in-pool.sh" "web" ]`
		if err == nil {
			err, hint = badProgram(x), "the program is looked for on this machine: with a slash beside the deployment file, else in PATH"
		}
		each("local", x.Description, x.Period, x.Timeout, err, hint)
	}
	return errors.Join(errs...)
}

func badCommand(words []string) error {
	switch {
	case strings.TrimSpace(strings.Join(words, "")) == "":
		return errors.New("it has no command")
	case strings.TrimSpace(words[0]) == "":
		return errors.New("the first word of its command is empty")
	case words[0] == "sudo" && len(words) == 1:
		return errors.New("nothing follows sudo in its command")
	case strings.ContainsRune(strings.Join(words, ""), 0):
		return errors.New("its command holds a NUL byte")
	}
	return nil
}

// badProgram looks for the program of a command on this machine.
func badProgram(c fleet.LocalCheck) error {
	if _, err := exec.LookPath(program(c)); err != nil {
		if e := (*exec.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		if e := (*fs.PathError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return fmt.Errorf("%s: %w", c.Cmd[0], err)
	}
	return nil
}

// program is what a local command runs: a name with a slash begins at its folder.
func program(c fleet.LocalCheck) string {
	if p := c.Cmd[0]; c.Dir == "" || !strings.Contains(p, "/") || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, c.Cmd[0])
}

func badPort(n int) error {
	if n < 1 || n > 65535 {
		return fmt.Errorf("port %d is not between 1 and 65535", n)
	}
	return nil
}

// badHost wants a name or an address, and nothing around it.
func badHost(name string) error {
	switch _, err := netip.ParseAddr(name); {
	case name == "":
		return errors.New("it has no host")
	case err == nil:
		return nil
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("/:@?#[]%\\\"'<>", r) }):
		return fmt.Errorf("%q is not a host", name)
	}
	return nil
}

// nameOf is the host that a check names, or else the host itself.
func nameOf(h fleet.Host, own string) string {
	if own = bare(own); own != "" {
		return own
	}
	return bare(h.At.Host)
}

// bare is a host without the brackets of an IPv6 address.
func bare(name string) string { return strings.TrimSuffix(strings.TrimPrefix(name, "["), "]") }

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// badHeaders wants what HTTP allows (RFC 9110, section 5).
func badHeaders(headers map[string]string) error {
	for k, v := range headers {
		switch {
		case !headerName.MatchString(k):
			return fmt.Errorf("%q is not the name of a header", k)
		case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("the header %s holds a control character", k)
		}
	}
	return nil
}

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$`)

func badUnit(s string) error {
	switch {
	case s == "":
		return errors.New("it names no unit")
	case !unitName.MatchString(s) || len(s) > 255:
		return fmt.Errorf("%q is not the name of a unit", s)
	case strings.HasSuffix(s, "@") || strings.Contains(s, "@."):
		return fmt.Errorf("%q is a template, of which only instances run", s)
	}
	return nil
}

// pageURL is the address of the page that a check asks for.
func pageURL(c fleet.HTTPCheck, name string) (*url.URL, error) {
	scheme := c.Scheme
	if scheme == "" {
		scheme = "http"
	}
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("the scheme %q is neither http nor https", scheme)
	}
	if err := cmp.Or(badPort(c.Port), badHost(name)); err != nil {
		return nil, err
	}
	path := c.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	// The zone of an address (fe80::1%eth0) is written %25eth0 in a URL.
	u, err := url.Parse(scheme + "://" + strings.ReplaceAll(net.JoinHostPort(name, strconv.Itoa(c.Port)), "%", "%25") + path)
	if err != nil {
		return nil, fmt.Errorf("the path %q cannot be asked for", c.Path)
	}
	return u, nil
}
