package action

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/newrepo"
	"godwit/internal/nix"
	"godwit/internal/ui/text"
)

// InitRequest asks for a new repository.
type InitRequest struct {
	// Dir is where; it need not be there.
	Dir string
	// Form is what is written; "" asks, or takes what Nix has.
	Form InitForm
	// From are running NixOS hosts to write into it.
	From []fleet.Destination
}

// InitForm is the form of a repository.
type InitForm string

// The forms of a repository.
const (
	InitFlake InitForm = "flake"
	InitPlain InitForm = "plain"
)

// Init writes a repository. It overwrites nothing, and changes no host.
func Init(ctx context.Context, e *Env, r InitRequest) error {
	s := e.open()
	defer s.close()
	o := newrepo.Options{}
	if len(r.From) > 0 {
		if err := s.openPool(); err != nil {
			return err
		}
	}
	for _, at := range r.From {
		h := s.reached(fleet.Host{Name: at.String(), At: fleet.Address{Host: at.Host, User: at.User, Port: at.Port}})
		at.User = h.At.User
		f, err := newrepo.Read(ctx, s.conns.Conn(h), at)
		if err != nil {
			return err
		}
		o.Hosts = append(o.Hosts, f)
	}
	form, err := s.initForm(ctx, r.Form)
	if err != nil {
		return err
	}
	o.Flake = form == InitFlake
	files, notes, err := newrepo.Files(o)
	if err != nil {
		return err
	}
	if !s.DryRun {
		if err := newrepo.Write(r.Dir, files); err != nil {
			return err
		}
	}
	for _, name := range newrepo.Names(files) {
		s.View.Output(filepath.Join(r.Dir, name))
	}
	for _, n := range notes {
		s.View.Println("note: " + text.Clean(n))
	}
	if s.DryRun {
		s.View.Println("nothing was written (--dry-run)")
		return nil
	}
	for _, l := range newrepo.Next(r.Dir, o) {
		s.View.Println(l)
	}
	return nil
}

// initForm is the form that was asked for, or a person chooses, or that fits Nix.
func (s *session) initForm(ctx context.Context, form InitForm) (InitForm, error) {
	if form != "" {
		return form, nil
	}
	form = InitPlain
	if tool, err := nix.Find(ctx, nix.Settings{}); err == nil {
		if tool.Flakes(ctx) {
			form = InitFlake
		}
	}
	if !s.View.CanAsk() {
		return form, nil
	}
	answer, err := s.View.Ask(ctx, fmt.Sprintf("write a flake or a plain deployment file? [flake/plain, default %s] ", form))
	if err != nil {
		return "", err
	}
	switch answer = strings.ToLower(strings.TrimSpace(answer)); {
	case answer == "":
	case strings.HasPrefix(string(InitFlake), answer):
		form = InitFlake
	case strings.HasPrefix(string(InitPlain), answer):
		form = InitPlain
	default:
		return "", fault.New("%q is neither flake nor plain", answer).Hint("or say it with --flake or --plain")
	}
	return form, nil
}
