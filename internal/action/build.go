package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/builder"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/intake"
	"godwit/internal/nix"
	"godwit/internal/regular"
	"godwit/internal/scratch"
	"godwit/internal/source"
	"godwit/internal/store"
)

// builders decides where hosts are built, for all of a run.
func (s *session) builders(ctx context.Context) (*builder.Chooser, error) {
	if s.chooser != nil {
		return s.chooser, nil
	}
	settings, err := s.builderSettings()
	if err != nil {
		return nil, err
	}
	if err := s.openPool(); err != nil {
		return nil, err
	}
	var roots string
	if !s.DryRun {
		if roots, err = s.tempDir("roots-"); err != nil {
			return nil, err
		}
	}
	s.chooser, err = builder.NewChooser(ctx, builder.Inputs{Tool: s.tool, Wanted: s.Builder, Settings: settings, SSH: s.pool, Sink: s.View, Roots: roots})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.chooser.Close)
	return s.chooser, nil
}

// pushers copies out of stores, with the run's view.
func (s *session) pushers() *deploy.Pushers {
	p := &deploy.Pushers{SSH: s.overSSH, Options: store.Options{Sink: s.View, DryRun: s.DryRun}}
	s.copyInto(p)
	s.closers = append(s.closers, func() { _ = p.Close() })
	return p
}

// ownStore is this machine's; nothing where there is no Nix.
func (s *session) ownStore() store.Endpoint {
	if s.tool == nil {
		return store.Endpoint{}
	}
	return builder.Here(s.tool)
}

// jobs chooses a builder for each host that something is to be built for, unless that
// was begun already. What exists already comes from the store that has it. Hosts that
// nothing can build for fail.
func (s *session) jobs(ctx context.Context, hosts []fleet.Host, link func(host string) string) (jobs []deploy.Job, failed []hostFailure, err error) {
	build := slices.DeleteFunc(slices.Clone(hosts), func(h fleet.Host) bool { return len(h.Drvs()) == 0 || s.early.Began(h) != nil })
	chosen := &builder.Plan{}
	if len(build) > 0 {
		chooser, err := s.builders(ctx)
		if err != nil {
			return nil, nil, err
		}
		if chosen, err = chooser.Choose(ctx, build, s.result.Rooted); err != nil {
			return nil, nil, err
		}
	}
	for _, h := range hosts {
		if len(h.Drvs()) == 0 && s.ready.Dial == nil { // a configuration that names paths
			jobs = append(jobs, deploy.Job{Host: h})
			continue
		}
		if len(h.Drvs()) == 0 {
			j := deploy.Job{Host: h, Source: s.ready}
			for _, p := range h.Profiles {
				j.Ready = append(j.Ready, p.Path)
			}
			jobs = append(jobs, j)
			continue
		}
		if j := s.early.Began(h); j != nil {
			jobs = append(jobs, *j)
			continue
		}
		if err := chosen.Failed[h.Name]; err != nil {
			failed = append(failed, hostFailure{h.Name, err})
			continue
		}
		jobs = append(jobs, intake.JobOf(h, chosen.Of(h.Name), link))
	}
	return jobs, failed, nil
}

// hostFailure is a host that nothing can build for.
type hostFailure struct {
	host string
	err  error
}

// rootLinks gives each host the place of its GC root on this machine: beside
// the deployment file with --keep-result, else none that outlives the run.
func (s *session) rootLinks() (func(host string) string, error) {
	none := func(string) string { return "" }
	if s.DryRun || !s.KeepResult {
		return none, nil
	}
	path := s.at.At.Path()
	if path == "" { // a flake that is not on this machine
		var err error
		if path, err = filepath.Abs("flake.nix"); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(filepath.Dir(path), ".gcroots", filepath.Base(path))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.View.Tell(fmt.Sprintf("Unable to create GC root, skipping: %v", err))
		return none, nil
	}
	return func(host string) string { return filepath.Join(dir, strings.ReplaceAll(host, "/", "-")) }, nil
}

// buildShell puts builds into the configuration's own shell, when that was allowed.
func (s *session) buildShell(ctx context.Context) (err error) {
	if sh, ok := s.source.(source.Sheller); ok && s.source.About().Shell && s.AllowBuildShell {
		s.tool, err = sh.InShell(ctx, s.tool)
	}
	return err
}

// tempDir makes a directory that goes away with the session.
func (s *session) tempDir(what string) (string, error) {
	dir, err := scratch.New(what)
	if err != nil {
		return "", fault.New("cannot make a temporary directory: %w", err)
	}
	s.closers = append(s.closers, func() { _ = dir.Remove() })
	return dir.Path, nil
}

// findNix finds Nix with the run's options.
func (s *session) findNix(ctx context.Context) error {
	if s.tool != nil {
		return nil
	}
	var err error
	s.tool, err = nix.Find(ctx, nix.Settings{Options: s.Nix, ShowTrace: s.ShowTrace, BuildArgs: s.BuildArgs})
	return err
}

// builderSettings are the user's file with the command line on top.
func (s *session) builderSettings() (builder.Settings, error) {
	all, err := s.Settings()
	if err != nil {
		return builder.Settings{}, err
	}
	b, err := builder.SettingsFrom(all)
	if err != nil {
		return b, err
	}
	if s.Engine != "" {
		b.Engine = s.Engine
	}
	if s.Image != "" {
		b.Image, b.ImageFile = s.Image, ""
	}
	if s.ImageFile != "" {
		if err := regular.Check(s.ImageFile); err != nil {
			return b, fault.New("cannot read --image-file %s: %w", s.ImageFile, errors.Unwrap(err))
		}
		b.ImageFile = s.ImageFile
	}
	return b, nil
}
