package ssh

import (
	"cmp"
	"context"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/host"
	"godwit/internal/regular"
)

// readWhere takes a line of `ssh -G`.
func readWhere(w *host.Where, key, value string) {
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
func (p *Pool) Where(ctx context.Context, targets []Target) map[Target]host.Where {
	found := map[Target]host.Where{}
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
		if plain && h.target.Options == "" {
			a := h.current()
			h.goes(host.Where{Host: a.host, Port: strconv.Itoa(cmp.Or(a.port, 22))})
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
func (h *Host) Where(ctx context.Context) (host.Where, error) {
	h.mu.Lock()
	known := h.where
	h.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, whereMax)
	defer cancel()
	var w host.Where
	err := h.configuration(ctx, func(key, value string) { readWhere(&w, key, value) })
	if viaName.MatchString(w.Via) {
		w.Alias = h.current().host
	}
	if err == nil {
		h.goes(w)
	}
	return w, err
}

func (h *Host) goes(w host.Where) {
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
