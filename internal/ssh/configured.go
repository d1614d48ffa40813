package ssh

import (
	"context"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"godwit/internal/programs"
)

// configured is what ssh is configured to do with a host, as far as we do it in its place.
type configured struct {
	known    bool     // ssh said it
	ciphers  string   // separated by commas
	patterns []string // of SendEnv: variables of our environment that it sends
	set      []string // of SetEnv: NAME=VALUE
}

// environment are the variables that ssh would send to a host.
func (c configured) environment() []string {
	env := slices.Clone(c.set)
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		for _, p := range c.patterns {
			if ok, err := path.Match(p, name); ok && err == nil {
				env = append(env, e)
				break
			}
		}
	}
	return env
}

// common is what a pool knows of the configuration of its hosts.
type common struct {
	once          sync.Once
	all           configured
	ciphers, sent bool // that this is so for every host without options of its own

	builtinOnce sync.Once
	builtin     string
}

// A file may say it for some hosts; an Include may name one for each: "Include conf.d/%h".
var (
	anyCiphers = regexp.MustCompile(`(?i)ciphers|include.*%`)
	anySent    = regexp.MustCompile(`(?i)sendenv|setenv|include.*%`)
)

// configured asks ssh, once per host. Where no file of the configuration says anything of it,
// one question does for all hosts.
func (h *Host) configured(ctx context.Context) configured {
	h.confMu.Lock()
	defer h.confMu.Unlock()
	if !h.conf.known {
		h.conf = h.askConfigured(ctx)
	}
	return h.conf
}

func (h *Host) askConfigured(ctx context.Context) configured {
	ask := func(flags ...string) (c configured, said string) {
		said, err := h.pool.configuration(ctx, append(flags, h.args("", false, "true")...), func(key, value string) {
			switch key {
			case "ciphers":
				c.ciphers = value
			case "sendenv":
				c.patterns = append(c.patterns, value)
			case "setenv":
				c.set = append(c.set, value)
			}
		})
		c.known = err == nil // else every connection is as ssh makes it
		return c, said
	}
	if h.target.Options != "" {
		own, _ := ask()
		return own
	}
	p := &h.pool.common
	p.once.Do(func() {
		var said string
		p.all, said = ask("-v")
		p.ciphers, p.sent = noFileSays(said, anyCiphers), noFileSays(said, anySent)
	})
	if p.ciphers && p.sent {
		return p.all
	}
	own, _ := ask()
	return own
}

// builtin are the ciphers of ssh where nobody configures any; empty when it does not say.
func (p *Pool) builtin(ctx context.Context) string {
	p.common.builtinOnce.Do(func() {
		p.common.builtin, _ = programs.Said(p.opts.Program, "ciphers", func() (ciphers string, err error) {
			_, err = p.configuration(ctx, []string{"-F", "none", "localhost"}, func(key, value string) {
				if key == "ciphers" {
					ciphers = value
				}
			})
			return ciphers, err
		})
	})
	return p.common.builtin
}
