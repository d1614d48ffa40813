package deploy

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/builder"
	"godwit/internal/builder/machines"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/nix"
	"godwit/internal/nixlog"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// NixCopy copies with `nix copy` in place of godwit's own way: the fallback for
// when that has a fault. It is slower, and the login user of the host must be
// root or one that Nix there trusts, since nothing elevates it.
type NixCopy struct {
	Tool *nix.Tool
	Pool *ssh.Pool
	Sink event.Sink
}

// Push copies the closures of roots from src to the host's store.
func (n *NixCopy) Push(ctx context.Context, src store.Endpoint, h fleet.Host, conn host.Conn, roots []string) error {
	sc := event.On(n.Sink, h.Name, event.StepCopy)
	sc.Start("copying from " + src.Name + " with nix copy")
	start := time.Now()
	m := n.measure(ctx, src, conn, roots)
	if m != nil && len(m.size) == 0 {
		if err := n.protect(ctx, conn, roots, sc); err != nil {
			sc.End("copy failed", err)
			return err
		}
		sc.Emit(event.Event{Kind: event.Skipped, Text: "everything is there"})
		return nil
	}
	if err := n.push(ctx, src, h, conn, roots, m, sc); err != nil {
		sc.End("copy failed", err)
		return err
	}
	e := event.Event{Kind: event.Done, Text: "copied with nix copy in " + time.Since(start).Round(10*time.Millisecond).String()}
	if m != nil {
		noun := "paths"
		if len(m.size) == 1 {
			noun = "path"
		}
		e.Text = fmt.Sprintf("copied %d %s, %.1f MiB with nix copy in %s", len(m.size), noun, float64(m.total)/(1<<20), time.Since(start).Round(10*time.Millisecond))
		e.Done, e.Total, e.Unit = m.total, m.total, event.Bytes
		e.Rate = float64(m.total) / time.Since(start).Seconds()
	}
	sc.Emit(e)
	return nil
}

// missing is what a host lacks. nix copy says which paths it copies, but not
// (2.8 and ssh-ng) how large they are.
type missing struct {
	size        map[string]int64
	done, total int64
}

// measure finds out what is to be copied; nil when that cannot be told: nix copy
// does not depend on it.
func (n *NixCopy) measure(ctx context.Context, src store.Endpoint, conn host.Conn, roots []string) *missing {
	infos, err := store.Closure(ctx, src, roots)
	if err != nil {
		return nil
	}
	paths := make([]string, len(infos))
	size := make(map[string]int64, len(infos))
	for k, i := range infos {
		paths[k] = i.Path
		size[i.Path] = i.NarSize
	}
	lacks, err := store.Missing(ctx, HostStore(conn), paths)
	if err != nil {
		return nil
	}
	m := &missing{size: make(map[string]int64, len(lacks))}
	for _, p := range lacks {
		m.size[p] = size[p]
		m.total += size[p]
	}
	return m
}

// watch puts our numbers into the progress that Nix's log gives.
func (m *missing) watch(sc event.Scope) event.Scope {
	if m == nil {
		return sc
	}
	var mu sync.Mutex
	from := sc.Sink
	sc.Sink = event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Progress {
			mu.Lock()
			if a := e.Activity; a != nil && e.Data["activity"] == "stopped" {
				m.done += m.size[a.Path]
				m.done = min(m.done, m.total)
			}
			if e.Unit != event.Bytes || e.Total < m.total {
				e.Done = m.done
			}
			e.Total, e.Unit = m.total, event.Bytes
			mu.Unlock()
		}
		from.Emit(e)
	})
	return sc
}

func (n *NixCopy) push(ctx context.Context, src store.Endpoint, h fleet.Host, conn host.Conn, roots []string, m *missing, sc event.Scope) error {
	there := n.Pool.Host(ssh.TargetOf(h))
	from, err := n.from(src, h)
	if err != nil {
		return err.On(h.Name)
	}
	if m != nil {
		if room, err := roomOf(ctx, conn); err == nil {
			if why := room.Lacks(len(m.size), m.total); why != "" {
				return fault.New("%s", why).On(h.Name).Because(store.ErrDiskFull).Hint("free space there with `nix-collect-garbage -d`")
			}
		}
	}
	// nix copy holds no temporary roots for us after it has ended, so the root
	// is there first: it counts from the moment that the path is valid.
	if err := n.protect(ctx, conn, roots, sc); err != nil {
		return err
	}
	args := []string{"copy", "--log-format", "internal-json", "-v", "--no-check-sigs", "--to", nixURI(there.Target())}
	if from != "" {
		args = append(args, "--from", from)
	}
	if h.SubstituteOnDestination {
		args = append(args, "--substitute-on-destination")
	}
	cmd := n.Tool.Command(ctx, "nix", append(args, roots...)...)
	// The user is in the address, so that the options fit the source as well.
	t := there.Target()
	cmd.Env = append(cmd.Env, "NIX_SSHOPTS="+n.Pool.Host(ssh.Target{Name: t.Name, Host: t.Host, Port: t.Port}).NixSSHOpts())
	var log *nixlog.Tracker
	if werr := bounded.Said(cmd, nil, func(stderr io.Reader) { log = nixlog.Forward(stderr, m.watch(sc), nil) }); werr != nil {
		if log == nil {
			return fault.New("cannot start nix copy: %w", werr).On(h.Name)
		}
		if ctx.Err() != nil {
			return fault.New("the copy was interrupted").On(h.Name).Because(context.Cause(ctx))
		}
		return copyFault(there, log, werr).On(h.Name)
	}
	return nil
}

// protect makes the garbage collector roots. A trusted user who cannot become
// root may copy all the same.
func (n *NixCopy) protect(ctx context.Context, conn host.Conn, roots []string, sc event.Scope) error {
	err := newCopying(conn, roots).protect(ctx)
	if err != nil && ctx.Err() == nil {
		sc.Warn("what is copied is not protected from the host's garbage collector: " + event.Message(err))
		return nil
	}
	return err
}

// from is the source as nix copy takes it; "" is this machine's store.
func (n *NixCopy) from(src store.Endpoint, h fleet.Host) (string, *fault.Error) {
	uri, local := builder.NixURI(src)
	switch {
	case local:
		return "", nil
	case uri == "":
		return "", fault.New("nix copy cannot read %s: it has no address that Nix knows, since nothing listens there", src.Name).
			Hint("leave out --copy-with nix: then godwit reads it")
	}
	u, err := machines.ParseStoreURI(uri)
	if err != nil {
		return "", fault.New("%w", err)
	}
	if u.Port != 0 && !n.Tool.Version.AtLeast(2, 31) {
		return "", fault.New("%s cannot use the port in %s: Nix 2.31 is the first that does", n.Tool.Version, uri).
			Hint("give the builder a name with that port in ~/.ssh/config, or leave out --copy-with nix")
	}
	if ssh.TargetOf(h).Port != 0 {
		return "", fault.New("nix copy has one set of ssh options for both ends, and the port of this host would count for %s, too", uri).
			Hint("give the host a name with that port in ~/.ssh/config, or leave out --copy-with nix")
	}
	return uri, nil
}

// nixURI is the host as a store of Nix's. The port is in NIX_SSHOPTS: Nix before
// 2.31 does not take it here.
func nixURI(t ssh.Target) string {
	name := t.Host
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if t.User != "" {
		name = t.User + "@" + name
	}
	return "ssh-ng://" + name
}

// copyFault is the error of a nix copy that failed.
func copyFault(conn *ssh.Host, log *nixlog.Tracker, err error) *fault.Error {
	msg := err.Error()
	var lines []string
	if e := log.Err(); e != nil {
		msg = e.Message
		lines = e.Lines
	}
	text := log.Text()
	if len(text) > 8 {
		text = text[len(text)-8:]
	}
	lines = append(slices.Clone(lines), text...)
	all := msg + "\n" + strings.Join(lines, "\n")
	has := func(list ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(all, s) })
	}
	f := fault.New("nix copy failed: %s", msg).Because(err).Detail(lines...)
	switch {
	case has("lacks a signature by a trusted key", "lacks a valid signature", "is not trusted", "not privileged", "signature by a trusted key"):
		user := conn.Target().User
		if user == "" {
			user = "the login user"
		}
		f.Hint("leave out --copy-with nix: then godwit becomes root on the host, and needs no trust there").
			Hint("or log in as root, or add %s to trusted-users in the host's nix.conf", user)
	case store.SaysFull(all):
		f.Because(store.ErrDiskFull).Hint(store.FullHint)
	case has("nix-daemon: not found", "nix-daemon: command not found", "command not found: nix-daemon", "Unknown command: nix-daemon"):
		f.Hint("nix-daemon is not in the PATH of a shell without login there; leave out --copy-with nix")
	case has("cannot connect to", "failed to start SSH", "Connection refused", "Connection closed", "Permission denied"):
		f.Hint("the same connection worked for godwit; try: %s nix-daemon --version", fault.Raw(conn.CommandLine()))
	default:
		f.Hint("leave out --copy-with nix: then godwit copies, and the Nix of this machine does not matter")
	}
	return f
}
