package builder

import (
	"context"
	"os/exec"
	"strings"
	"syscall"

	"godwit/internal/builder/machines"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// Here is the store of this machine.
func Here(t *nix.Tool) store.Endpoint { return localStore(t) }

// From is the store that a person means with word, to copy paths from: "" and
// "local" are this machine's, then there are ssh stores, "container" (the one
// container builder that there is), the system of a container builder and its
// name. tool is asked for only where it is needed, so that a machine without
// Nix can copy between others. The function ends what was opened.
func From(ctx context.Context, word string, tool func() (*nix.Tool, error), pool *ssh.Pool, settings Settings) (store.Endpoint, func() error, error) {
	none := func() error { return nil }
	switch {
	case word == "" || word == "local":
		t, err := tool()
		if err != nil {
			return store.Endpoint{}, none, err
		}
		return localStore(t), none, nil
	case strings.Contains(word, "://"):
		b, err := NewSSH(nil, pool, word)
		if err != nil {
			return store.Endpoint{}, none, err
		}
		return b.Stores()[0], b.Close, nil
	case strings.Contains(word, "@"):
		return store.Endpoint{}, none, fault.New("--from %s: there is no such builder", word).Hint("if it is a machine: --from ssh-ng://%s", word)
	}
	m := NewManager(nil, settings, nil)
	if word == "container" {
		word = ""
	}
	src, err := m.Store(ctx, word)
	return src, none, err
}

// Store is the store of the container builder that which means: its name, its
// system, or "" where there is only one. One that is stopped is started.
func (m *Manager) Store(ctx context.Context, which string) (store.Endpoint, error) {
	all, eng, err := m.find(ctx, which)
	if err != nil {
		return store.Endpoint{}, err
	}
	if len(all) == 0 {
		return store.Endpoint{}, fault.New("there is no container builder").Hint("paths of this machine's own store: --from local")
	}
	if len(all) > 1 {
		e := fault.New("there are %d such builders", len(all))
		for _, s := range all {
			e.Detail(s.Name + "  " + s.System + "  " + s.State)
		}
		return store.Endpoint{}, e.Hint("name one: --from %s", all[0].Name)
	}
	s := all[0]
	if !s.Running {
		if _, err := eng.output(ctx, "start", s.Name); err != nil {
			return store.Endpoint{}, eng.trouble("starting "+s.Name, err)
		}
	}
	return store.FromCmd("builder "+s.Name, func(ctx context.Context, write bool) *exec.Cmd {
		cmd := exec.CommandContext(ctx, eng.Program, append([]string{"exec", "--interactive", s.Name}, store.Serve(write)...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return cmd
	}), nil
}

// NixURI is the address with which Nix itself opens the store of a builder, or
// local for this machine's store. Both are empty where Nix cannot.
func NixURI(src store.Endpoint) (uri string, local bool) {
	if src.Name == localStore(nil).Name {
		return "", true
	}
	if u, err := machines.ParseStoreURI(src.Name); err == nil && u.Remote == "" {
		return src.Name, false
	}
	return "", false
}
