package plan

import (
	"bytes"
	"context"
	"os"
	"slices"
	"sync"

	"godwit/internal/activate"
	"godwit/internal/closure"
	"godwit/internal/crash"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/nar"
	"godwit/internal/reboot"
	"godwit/internal/secrets"
	"godwit/internal/secrets/bundle"
	"godwit/internal/store"
)

// Target is a host that a plan is made for.
type Target struct {
	Host   fleet.Host
	Conn   host.Conn
	Store  store.Endpoint // the host's
	System string         // the new system
	Source store.Endpoint // that holds the new system
	Fleet  []string       // names of all hosts of the configuration
	// Twin says that the host has the address of another host of the run; empty: it has not.
	Twin string
	// Rests are the secrets that are to rest on the host; nil: none to think of.
	Rests *bundle.Bundle
}

// Gather finds out about one host and makes its part of the plan. With brief
// only what named risks are judged by is looked at: no closures and no
// dry-activate. The error is for a host that could not be looked at.
func Gather(ctx context.Context, o Options, src Source, t Target, brief bool) (Host, error) {
	in := Input{Host: t.Host, System: t.System}
	var beside sync.WaitGroup
	if o.UploadSecrets {
		beside.Go(func() { defer crash.Catch(); in.Secrets, in.SecretsErr = compareSecrets(ctx, t.Conn, t.Host) })
	}
	if t.Rests != nil {
		beside.Go(func() { defer crash.Catch(); in.Rests = compareRests(ctx, t.Conn, t.Host, t.Rests, o) })
	}
	var loader reboot.Loader
	var loaderErr error
	guard := t.Host.Guard
	once := o.Reboot && !o.NoGuard && !guard.NoAutoRollback && !guard.NoMagicRollback
	if once {
		beside.Go(func() { defer crash.Catch(); loader, loaderErr = reboot.Probe(ctx, t.Conn, t.Host.Name) })
	}
	f, err := Look(ctx, t.Conn, Ask{
		Host: t.Host.Name, System: t.System, Action: activate.Action(o.Action),
		Profiles: activate.Changes(t.Host, activate.PathOf),
		Dry:      !brief && (o.Action != "boot" || o.Reboot), Units: !brief,
	})
	beside.Wait()
	if err == nil {
		err = loaderErr
	}
	if err != nil {
		return Host{}, err
	}
	f.NoOneShot = loader.Why
	if o.Reboot && !o.NoGuard && !guard.NoAutoRollback && guard.NoMagicRollback {
		f.NoOneShot = reboot.NoMagicOnce
	}
	f.Twin = t.Twin
	if t.Host.KnownOnly {
		f.Stranger = stranger(f, t.System, onThisMachine)
	}
	in.Facts = f
	f.OtherHost = otherHost(t.Host, t.System, f.State.Current, t.Fleet)
	if brief || f.State.Current == t.System && activate.Plain(t.Host) {
		return Build(o, src, in), nil
	}

	// What cannot be read is not known; it keeps nobody from deploying.
	var wg sync.WaitGroup
	var before, after []*store.Info
	var missing []string
	wg.Go(func() {
		defer crash.Catch()
		if f.State.Current != "" {
			running := []string{f.State.Current}
			for _, p := range f.State.Profiles {
				if p.Current != "" && !slices.Contains(running, p.Current) {
					running = append(running, p.Current)
				}
			}
			before, _ = store.Closure(ctx, t.Store, running)
		}
	})
	from := t.Source
	if f.Present {
		from = t.Store
	}
	asked := false
	roots := []string{t.System}
	for _, p := range activate.Changes(t.Host, activate.PathOf) {
		if !slices.Contains(roots, p.New) {
			roots = append(roots, p.New)
		}
	}
	after, err = store.Closure(ctx, from, roots)
	switch {
	case err != nil:
	case f.Present:
		in.Copy = &Copy{}
	default:
		paths := make([]string, len(after))
		for i, info := range after {
			paths[i] = info.Path
		}
		if missing, err = store.Missing(ctx, t.Store, paths); err == nil {
			asked = true
		}
		f.fetch(ctx, from, after, t)
	}
	wg.Wait()
	if asked {
		size := make(map[string]int64, len(after))
		for _, info := range after {
			size[info.Path] = info.NarSize
		}
		in.Copy = &Copy{Paths: len(missing)}
		for _, p := range missing {
			in.Copy.Bytes += size[p]
		}
	}
	if len(before) > 0 && len(after) > 0 {
		d := closure.Diff(closure.Of(before), closure.Of(after))
		in.Closure = &d
	}
	if err := ctx.Err(); err != nil {
		return Host{}, err
	}
	return Build(o, src, in), nil
}

// onThisMachine says whether this machine has a store path, without asking Nix.
func onThisMachine(storePath string) bool {
	_, err := os.Lstat(storePath)
	return err == nil
}

// compareSecrets says of every secret what uploading it would do.
func compareSecrets(ctx context.Context, r host.Conn, h fleet.Host) ([]Secret, error) {
	found, err := secrets.Compare(ctx, r, h)
	if err != nil {
		var all []Secret
		for _, s := range secrets.Select(h.Secrets, "") {
			all = append(all, Secret{Name: s.Name, Destination: s.Destination})
		}
		return all, err
	}
	all := make([]Secret, len(found))
	for i, c := range found {
		all[i] = Secret{Name: c.Name, Destination: c.Destination, State: c.Result, Differs: c.Differs}
	}
	return all, nil
}

// maxTree bounds the memory for one store path of a system, in bytes.
const maxTree = 64 << 20

// fetch has the kinds of a host's profiles look at what is in another store than the
// host's; infos are about all that belongs to it.
func (f *Facts) fetch(ctx context.Context, src store.Endpoint, infos []*store.Info, t Target) {
	by := make(map[string]*store.Info, len(infos))
	for _, i := range infos {
		by[i.Path] = i
	}
	read := func(p string) (nar.Tree, bool) {
		info := by[p]
		if info == nil {
			return nil, false
		}
		b, err := store.Read(ctx, src, []*store.Info{info})
		if err != nil {
			return nil, false
		}
		t, err := nar.ReadTree(bytes.NewReader(b[0]), maxTree)
		return t, err == nil
	}
	for _, l := range (Ask{System: t.System, Profiles: activate.Changes(t.Host, activate.PathOf)}).closer() {
		if seen := f.Seen[l.name]; seen != nil {
			seen.Fetch(l.path, read)
		}
	}
}

// otherHost is the host of the fleet whose system runs on this one: somebody
// may have mixed up two addresses.
func otherHost(h fleet.Host, next, running string, all []string) string {
	k := kindOf(h)
	if k.Whose == nil {
		return ""
	}
	now := k.Whose(running, all)
	if now == "" || now == h.Name || now == k.Whose(next, all) {
		return ""
	}
	return now
}
