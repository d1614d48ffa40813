package nix

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/crash"
	"godwit/internal/fault"
)

// Config is Nix's own configuration as its processes see it: nix.conf,
// NIX_CONFIG and the person's --option pairs together. What "this machine"
// builds is System and ExtraPlatforms, never Go's runtime.GOOS: Nix may be told
// otherwise, and on a Mac under Rosetta Go and Nix differ.
type Config struct {
	System            string   // such as "aarch64-darwin"
	ExtraPlatforms    []string // further systems that this machine runs
	SystemFeatures    []string
	Builders          string // the setting: "@/etc/nix/machines" or lines separated by ";" or newlines
	Substituters      []string
	TrustedPublicKeys []string
	TrustedUsers      []string
	Store             string // "auto", "daemon", a store URI
	StoreDir          string // "/nix/store"
	MaxJobs           int    // -1 stands for "auto"
	Cores             int    // 0: all
	Sandbox           string // "true", "false" or "relaxed"
	BuildersUseSubst  bool   // builders-use-substitutes

	values map[string]json.RawMessage
}

// Get is the value of any setting as text; lists are joined with spaces. The
// second result says whether this Nix has the setting.
func (c *Config) Get(name string) (string, bool) {
	raw, ok := c.values[name]
	if !ok {
		return "", false
	}
	return setting(raw), true
}

// Fingerprint is the same for the same settings, whatever they are.
func (c *Config) Fingerprint() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.values)) {
		fmt.Fprintf(h, "%q %q\n", name, c.values[name])
	}
	fmt.Fprintf(h, "%q", c.StoreDir)
	return hex.EncodeToString(h.Sum(nil))
}

// Builds says whether this machine itself builds for system.
func (c *Config) Builds(system string) bool {
	if system == c.System || system == "builtin" {
		return true
	}
	for _, p := range c.ExtraPlatforms {
		if p == system {
			return true
		}
	}
	return false
}

// Config asks Nix for its configuration, once.
func (t *Tool) Config(ctx context.Context) (*Config, error) {
	t.conf.mu.Lock()
	defer t.conf.mu.Unlock()
	if t.conf.known != nil {
		return t.conf.known, nil
	}
	var out []byte
	var err error
	if t.conf.early != nil {
		out = <-t.conf.early
		t.conf.early = nil
	}
	// `nix show-config` was renamed in 2.20; the old name went away in some
	// later ones (Lix still has it). The new name first where it must be there.
	names := [][]string{oldConfig, {"config", "show", "--json"}}
	if t.Version.AtLeast(2, 20) || t.Version.IsLix() {
		names[0], names[1] = names[1], names[0]
	}
	for _, args := range names {
		if out != nil {
			break
		}
		out, err = t.Output(ctx, "nix", args...)
		if ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(out)
	if err != nil {
		return nil, fault.New("cannot read Nix's configuration: %s", err).Because(err)
	}
	c.StoreDir = "/nix/store"
	if dir := os.Getenv("NIX_STORE_DIR"); dir != "" {
		c.StoreDir = dir
	}
	t.conf.known = c
	return c, nil
}

var oldConfig = []string{"show-config", "--json"}

// askConfig asks for the configuration while Find asks for the version. All tested
// versions of Nix know the old name; where it is gone, Config asks again.
func (t *Tool) askConfig(ctx context.Context) {
	t.conf.early = make(chan []byte, 1)
	go func() {
		defer crash.Catch()
		out, err := t.Output(ctx, "nix", oldConfig...)
		if err != nil {
			out = nil
		}
		t.conf.early <- out
	}()
}

// parseConfig reads `nix config show --json`: {"name": {"value": ...}, ...}.
func parseConfig(out []byte) (*Config, error) {
	var settings map[string]struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(out, &settings); err != nil {
		return nil, err
	}
	c := &Config{values: make(map[string]json.RawMessage, len(settings))}
	for name, s := range settings {
		c.values[name] = s.Value
	}
	get := func(name string) string { v, _ := c.Get(name); return v }
	c.System = get("system")
	c.ExtraPlatforms = strings.Fields(get("extra-platforms"))
	c.SystemFeatures = strings.Fields(get("system-features"))
	c.Builders = get("builders")
	c.Substituters = strings.Fields(get("substituters"))
	c.TrustedPublicKeys = strings.Fields(get("trusted-public-keys"))
	c.TrustedUsers = strings.Fields(get("trusted-users"))
	c.Store = get("store")
	c.Sandbox = get("sandbox")
	c.Cores, _ = strconv.Atoi(get("cores"))
	c.BuildersUseSubst = get("builders-use-substitutes") == "true"
	if n, err := strconv.Atoi(get("max-jobs")); err == nil {
		c.MaxJobs = n
	} else {
		c.MaxJobs = -1
	}
	return c, nil
}

// setting is a setting's JSON value as nix.conf would write it.
func setting(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return strings.Join(list, " ")
	}
	var m map[string]string
	if json.Unmarshal(raw, &m) == nil {
		var words []string
		for k, v := range m {
			words = append(words, k+"="+v)
		}
		return strings.Join(words, " ")
	}
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}
