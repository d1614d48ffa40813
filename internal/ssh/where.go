package ssh

import (
	"cmp"
	"context"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/regular"
)

// Where is where ssh's configuration takes a connection.
type Where struct {
	// Host is the name or address that ssh connects to, Port its port ("22").
	Host, Port string
	// Via is the ProxyJump or ProxyCommand on the way; empty: there is none, and
	// Host is what this machine itself connects to.
	Via string
	// alias tells apart what Via tells apart: the name that was asked for.
	alias string
}

// Address is equal for connections that end at one address, so at one sshd. The
// same private address behind different jump hosts is not one. Names and addresses
// are compared as they are; DNS is not asked.
func (w Where) Address() string {
	return strings.Join([]string{plainAddress(w.Host), w.Port, w.Via, w.alias}, "\x00")
}

// String is "192.0.2.7 port 22".
func (w Where) String() string {
	s := w.Host + " port " + w.Port
	if w.Via != "" {
		s += " by way of " + w.Via
	}
	return s
}

func plainAddress(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if s == "localhost" {
		s = "127.0.0.1"
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a = a.Unmap(); a == netip.IPv6Loopback() {
			a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return a.String()
	}
	return s
}

// read takes a line of `ssh -G`.
func (w *Where) read(key, value string) {
	switch key {
	case "hostname":
		w.Host = value
	case "port":
		w.Port = value
	case "proxyjump", "proxycommand":
		if value != "none" && value != "" {
			w.Via = value
		}
	}
}

// viaName finds in a ProxyCommand what stands for the name, not for the address.
var viaName = regexp.MustCompile(`%[nkr]`)

// whereMax bounds the question about one host: a Match exec may hang.
const whereMax = 5 * time.Second

// Where asks ssh where its configuration takes a connection to each of the
// targets. Where no file of the configuration says anything about that, one
// question does for all of them. A target for which ssh fails has no entry;
// connecting to it tells why.
func (p *Pool) Where(ctx context.Context, targets []Target) map[Target]Where {
	found := map[Target]Where{}
	if len(targets) == 0 {
		return found
	}
	hosts := make([]*Host, len(targets))
	for i, t := range targets {
		hosts[i] = p.Host(t)
	}
	plain := p.straight(ctx, hosts[0])
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{}, 2*runtime.NumCPU())
	for i, h := range hosts {
		if plain {
			h.goes(Where{Host: h.target.Host, Port: strconv.Itoa(cmp.Or(h.target.Port, 22))})
		}
		wg.Go(func() {
			defer crash.Catch()
			gate <- struct{}{}
			defer func() { <-gate }()
			if w, err := h.Where(ctx); err == nil {
				mu.Lock()
				defer mu.Unlock()
				found[targets[i]] = w
			}
		})
	}
	wg.Wait()
	return found
}

// Where is the same for one host; ssh is asked once.
func (h *Host) Where(ctx context.Context) (Where, error) {
	h.mu.Lock()
	known := h.where
	h.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, whereMax)
	defer cancel()
	var w Where
	err := h.configuration(ctx, w.read)
	if viaName.MatchString(w.Via) {
		w.alias = h.target.Host
	}
	if err == nil {
		h.goes(w)
	}
	return w, err
}

func (h *Host) goes(w Where) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.where = &w
}

// straight tells whether nothing in ssh's configuration changes where a
// connection goes.
func (p *Pool) straight(ctx context.Context, h *Host) bool {
	if slices.ContainsFunc(p.opts.ExtraArgs, func(a string) bool { return a == "-J" || a == "-p" || a == "-F" || anyWhere.MatchString(a) }) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, whereMax)
	defer cancel()
	said, err := p.configuration(ctx, append([]string{"-v"}, h.args("", false, "true")...), func(string, string) {})
	return err == nil && noFileSays(said, anyWhere)
}

// Also at the start of an option's value: -o HostName=…
var anyWhere = regexp.MustCompile(`(?im)^[ \t]*"?(hostname|port|proxy|canonical|match|include.*%)`)

// noFileSays tells from the log of `ssh -v -G`, which names each file that ssh
// reads (those of blocks for other hosts, too), that none of them matches.
func noFileSays(said string, words *regexp.Regexp) bool {
	files := 0
	for line := range strings.Lines(said) {
		_, file, ok := strings.Cut(strings.TrimSpace(line), "Reading configuration data ")
		if !ok {
			continue
		}
		text, err := regular.Read(file, 1<<20)
		if err != nil || words.Match(text) {
			return false
		}
		files++
	}
	return files > 0
}
