package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"godwit/internal/fault"
)

// containerFacts is what a container was found to be; it is kept in it.
type containerFacts struct {
	System  string `json:"system"`  // what Nix in it says, not what a label says
	Nix     string `json:"nix"`     // version
	Sandbox string `json:"sandbox"` // "on", "off", "emulated"
	Why     string `json:"why,omitempty"`
	User    string `json:"user,omitempty"` // that unsandboxed builds run as
}

func (f containerFacts) sandboxWords() string {
	switch f.Sandbox {
	case "on":
		return "sandbox on"
	case "emulated":
		return "sandbox off (not possible under emulation)"
	}
	s := "sandbox off: " + f.Why
	if f.User != "" {
		s += "; builds run as " + f.User
	}
	return s
}

var errOtherSystem = errors.New("another system")

// factsFile is in the container's own layer: it lasts as long as the container,
// whose options it depends on. Only root can write there: builds are other users.
const factsFile = "/var/lib/godwit/facts.json"

// learn finds out what the container is, or reads what an earlier run found out.
func (c *container) learn(ctx context.Context) error {
	version := c.facts.Nix
	if out, err := c.exec(ctx, "", "cat", factsFile); err == nil && json.Unmarshal([]byte(out), &c.facts) == nil && c.facts.System != "" {
		return c.configure(ctx)
	}
	c.facts = containerFacts{Nix: version}
	out, err := c.exec(ctx, "", "nix-instantiate", "--eval", "-E", "builtins.currentSystem")
	if err != nil {
		return c.eng.trouble("asking Nix in "+c.ctr+" for its system", err)
	}
	c.facts.System = strings.Trim(strings.TrimSpace(out), `"`)
	if c.facts.System != c.system {
		return fault.New("the image in %s is for %s, not for %s", c.ctr, c.facts.System, c.system).Because(errOtherSystem).Exit(ExitNoBuilder).
			Hint("remove it: godwit builder rm %s", c.system).Hint("and name an image for %s: --image or --image-file", c.system)
	}
	if c.facts.Nix == "" { // below protocol 1.33
		if v, err := c.exec(ctx, "", "nix-store", "--version"); err == nil {
			c.facts.Nix = v[strings.LastIndexByte(v, ' ')+1:] // "nix-store (Nix) 2.3.16"
		}
	}
	if c.emulated() {
		c.facts.Sandbox = "emulated"
	} else if err := c.probeSandbox(ctx); err != nil {
		return err
	}
	b, err := json.Marshal(c.facts)
	if err == nil {
		_, err = c.exec(ctx, "", "/bin/sh", "-c", `umask 022 && mkdir -p /var/lib/godwit && printf '%s\n' "$1" > "$2".new && mv "$2".new "$2"`, "sh", string(b), factsFile)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return c.configure(ctx)
}

// sandboxProbe writes its user, the host's name and the number of processes it
// sees. Only sh's own commands: there is nothing else in a sandbox.
const sandboxProbe = `let n = "godwit-sandbox-probe"; in derivation {
  name = n; system = builtins.currentSystem; builder = "/bin/sh"; salt = "%s";
  args = [ "-c" ''
    while read -r k v _; do if [ "$k" = Uid: ]; then uid=$v; fi; done < /proc/self/status
    read -r host < /proc/sys/kernel/hostname
    set -- /proc/[0-9]*
    echo "$uid $host $#" > $out
  '' ];
}`

// probeSandbox builds a trivial derivation with the sandbox demanded, and
// without when that fails. Left alone, Nix builds without a sandbox and as root
// and does not say so (sandbox-fallback is on by default).
func (c *container) probeSandbox(ctx context.Context) error {
	try := func(config string) (string, error) {
		expr := fmt.Sprintf(sandboxProbe, fmt.Sprint(time.Now().UnixNano()))
		out, err := c.exec(ctx, config+"substituters =\nbuilders =\n", "nix-build", "--no-out-link", "-E", expr)
		if err != nil {
			return "", err
		}
		p := strings.Fields(out)
		if len(p) == 0 {
			return "", errors.New("no output")
		}
		return c.exec(ctx, "", "/bin/sh", "-c", `read -r l < "$1"; echo "$l"`, "sh", p[len(p)-1])
	}
	out, err := try("sandbox = true\nsandbox-fallback = false\n")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		if f := strings.Fields(out); len(f) == 3 && f[1] == "localhost" {
			c.facts.Sandbox = "on"
			return nil
		}
		err = errors.New("asked for, and not made")
	} else if text := err.Error(); strings.Contains(text, "executing '/bin/sh'") && strings.Contains(text, "No such file") || strings.Contains(text, "while setting up the build environment") && strings.Contains(text, "/bin/sh") {
		// Nix was built without a shell for its sandbox: the sandbox is there,
		// and nothing in it, as it should be.
		c.facts.Sandbox = "on"
		return nil
	}
	c.facts.Sandbox = "off"
	c.facts.Why = sandboxWhy(c.eng.Name, err.Error())
	if out, err := try("sandbox = false\n"); err == nil {
		if f := strings.Fields(out); len(f) == 3 {
			if c.facts.User = "uid " + f[0]; f[0] == "0" {
				c.facts.User = "root"
			} else if f[0] == "30001" {
				c.facts.User = "nixbld1"
			}
		}
	}
	return ctx.Err()
}

func sandboxWhy(engine, text string) string {
	switch {
	case strings.Contains(text, "kernel namespaces"), strings.Contains(text, "Operation not permitted"):
		return engine + " does not allow the namespaces that it needs"
	}
	return lastLine(text)
}

// configure makes the configuration of what runs in the container: the
// substituters and keys that this machine uses, and what was found out.
func (c *container) configure(ctx context.Context) error {
	var b strings.Builder
	set := func(k, v string) { fmt.Fprintf(&b, "%s = %s\n", k, strings.Join(strings.Fields(v), " ")) }
	set("extra-experimental-features", "nix-command flakes")
	set("builders", "")
	set("max-jobs", "auto")
	switch c.facts.Sandbox {
	case "on":
		set("sandbox", "true")
		set("sandbox-fallback", "false")
	default:
		set("sandbox", "false")
	}
	if c.emulated() {
		// qemu-user and Rosetta refuse Nix's seccomp filter (NixOS/nix#5258).
		set("filter-syscalls", "false")
	}
	config, err := c.tool.Config(ctx)
	if err != nil {
		return err
	}
	if v, _ := config.Get("substitute"); v == "false" || c.settings.Network == "none" {
		set("substitute", "false")
	} else {
		set("substituters", strings.Join(reachable(config.Substituters), " "))
		set("trusted-public-keys", strings.Join(config.TrustedPublicKeys, " "))
	}
	for _, o := range forwarded(c.tool) {
		if o[0] != "substituters" && o[0] != "trusted-public-keys" && o[0] != "substitute" {
			set(o[0], o[1])
		}
	}
	c.config = b.String()
	return nil
}

// reachable are the substituters that a container can use as well: not those
// that are this machine.
func reachable(subst []string) []string {
	var out []string
	for _, s := range subst {
		u, err := url.Parse(s)
		if err != nil || !slices.Contains([]string{"http", "https", "s3"}, u.Scheme) {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			continue
		}
		out = append(out, s)
	}
	return out
}
