//go:build linux

package onhost

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"godwit/internal/secrets/bundle"
)

// Deliver makes a release the one that runs. Until its last step, the swap of one link,
// nothing that anybody uses has changed, and what fails before that takes back what it
// made. Secrets whose owner is not there yet are root's until Settle.
func (h *Host) Deliver(release string) error {
	all, err := h.open(release)
	if err != nil {
		return err
	}
	_, err = h.deliver(release, all, false)
	return err
}

// deliver is Deliver with what was opened. At a boot, a destination that cannot be had is
// left out and told in missing: nothing is there to go back to.
func (h *Host) deliver(release string, all []opened, boot bool) (missing, err error) {
	old := leadsTo(h.link())
	gen, err := h.fill(release, all)
	if err != nil {
		return nil, err
	}
	var placed []string
	defer func() {
		if err != nil {
			for _, p := range placed {
				h.unlink(p)
			}
			_ = os.RemoveAll(gen)
		}
	}()
	// A power cut may come from here on: what the next boot takes back is known before it is there.
	if err := h.units(release); err != nil {
		return nil, err
	}
	if err := h.trying(release); err != nil {
		return nil, err
	}
	for _, e := range all {
		if !elsewhere(e.Entry) {
			continue
		}
		made, err := h.place(e.Path(), h.path(e.Entry), e.Replace)
		if err != nil {
			err = fmt.Errorf("secret '%s': %w", e.Name, err)
			if !boot {
				return nil, err
			}
			missing = errors.Join(missing, err)
		}
		if made {
			placed = append(placed, e.Path())
		}
	}
	if err := h.due(old, all); err != nil {
		return nil, err
	}
	if err := swap("secrets.d/"+filepath.Base(gen), h.link()); err != nil {
		return nil, err
	}
	h.Say("%d secrets are in %s", len(all), h.link())
	h.leaveOld(old, gen)
	return missing, nil
}

// fill writes a generation: a folder that only root can enter until all of it has its
// owner and mode.
func (h *Host) fill(release string, all []opened) (gen string, err error) {
	if err := os.MkdirAll(h.Run, 0o711); err != nil {
		return "", err
	}
	if info, err := os.Lstat(h.Run); err != nil || !info.IsDir() || !mine(info) {
		return "", fmt.Errorf("%s is not a folder that belongs to root", h.Run)
	}
	if err := os.Chmod(h.Run, 0o711); err != nil { // the guard makes it root's alone
		return "", err
	}
	if err := os.MkdirAll(h.folder(), 0o751); err != nil {
		return "", err
	}
	if err := h.Memory(h.folder()); err != nil {
		return "", err
	}
	if err := os.Chmod(h.folder(), 0o751); err != nil {
		return "", err
	}
	n := 1
	folders, err := os.ReadDir(h.folder())
	if err != nil {
		return "", err
	}
	for _, f := range folders {
		if i, err := strconv.Atoi(f.Name()); err == nil {
			n = max(n, i+1)
		}
	}
	gen = h.folder() + "/" + strconv.Itoa(n)
	if err := os.Mkdir(gen, 0o700); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(gen)
		}
	}()
	if err := os.Symlink(release, gen+"/.release"); err != nil {
		return "", err
	}
	var late []string
	for _, e := range all {
		uid, gid, there := h.owner(e.Entry)
		mode := e.Mode
		if !there {
			late, uid, gid, mode = append(late, e.Name), 0, 0, 0o400
		}
		if err := write(gen+"/"+e.Name, e.plain, uid, gid, mode); err != nil {
			return "", fmt.Errorf("secret '%s': %w", e.Name, err)
		}
	}
	if len(late) > 0 {
		if err := os.WriteFile(gen+"/.late", []byte(strings.Join(late, "\n")+"\n"), 0o600); err != nil {
			return "", err
		}
	}
	return gen, os.Chmod(gen, 0o751)
}

// write makes a file that has its owner and mode before it has content.
func write(at string, text []byte, uid, gid int, mode uint32) error {
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = f.Chown(uid, gid)
	if err == nil {
		err = f.Chmod(fs.FileMode(mode))
	}
	if err == nil {
		_, err = f.Write(text)
	}
	return errors.Join(err, f.Close())
}

// swap makes a link lead somewhere else, in one step.
func swap(to, link string) error {
	next := link + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, next); err != nil {
		return err
	}
	return os.Rename(next, link)
}

// leaveOld removes what the release before had elsewhere and this one has not, and the
// generations before it.
func (h *Host) leaveOld(old, gen string) {
	if release := leadsTo(old + "/.release"); old != "" && release != "" {
		now := map[string]bool{}
		for _, p := range h.destinations(leadsTo(gen + "/.release")) {
			now[p] = true
		}
		for _, p := range h.destinations(release) {
			if !now[p] {
				h.unlink(p)
			}
		}
	}
	folders, _ := os.ReadDir(h.folder())
	for _, f := range folders {
		at := h.folder() + "/" + f.Name()
		if _, err := strconv.Atoi(f.Name()); err == nil && at != gen {
			_ = os.RemoveAll(at)
		}
	}
}

// elsewhere tells whether a secret is read at a place that is not in the folder of secrets.
func elsewhere(e bundle.Entry) bool { return e.Path() != bundle.Folder+"/"+e.Name }

// elsewhere are the secrets of a release that are.
func (h *Host) elsewhere(release string) []bundle.Entry {
	text, err := readSmall(release+"/bundle.json", maxRelease)
	if err != nil {
		return nil
	}
	b, err := decode(text, "")
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(b.Entries, func(e bundle.Entry) bool { return !elsewhere(e) })
}

// destinations are their places.
func (h *Host) destinations(release string) []string {
	var out []string
	for _, e := range h.elsewhere(release) {
		out = append(out, e.Path())
	}
	return out
}

// Settle gives secrets to owners that were not there when they were delivered.
func (h *Host) Settle() error {
	gen := leadsTo(h.link())
	if gen == "" {
		return nil
	}
	text, err := readSmall(gen+"/.late", 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := readSmall(gen+"/.release/bundle.json", maxRelease)
	if err != nil {
		return err
	}
	b, err := decode(release, "")
	if err != nil {
		return err
	}
	late := strings.Fields(string(text))
	var errs []error
	for _, e := range b.Entries {
		if !slices.Contains(late, e.Name) {
			continue
		}
		uid, gid, there := h.owner(e)
		if !there {
			errs = append(errs, fmt.Errorf("secret '%s': the host has no owner %s:%s", e.Name, orRoot(e.User), orRoot(e.Group)))
			continue
		}
		// Nobody but root can exchange what is in there.
		f, err := os.OpenFile(gen+"/"+e.Name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err == nil {
			err = errors.Join(f.Chown(uid, gid), f.Chmod(fs.FileMode(e.Mode)), f.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("secret '%s': %w", e.Name, err))
		}
	}
	if len(errs) == 0 {
		return os.Remove(gen + "/.late")
	}
	return errors.Join(errs...)
}

// Leave takes away what runs: there is no release of secrets any more.
func (h *Host) Leave() error {
	if release := h.running(); release != "" {
		for _, p := range h.destinations(release) {
			h.unlink(p)
		}
	}
	h.leaveTried("")
	h.noUnits()
	if err := os.Remove(h.link()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	folders, _ := os.ReadDir(h.folder())
	for _, f := range folders {
		if _, err := strconv.Atoi(f.Name()); err == nil {
			_ = os.RemoveAll(h.folder() + "/" + f.Name())
		}
	}
	return nil
}

// Boot delivers what goes with the system that runs, unless a release runs already; then
// it settles that. What does not open is left out: there is nothing to go back to. Early, a
// destination may be on a file system that is not mounted yet; late, it gets its link.
func (h *Host) Boot(system string) error {
	mark := h.link() + "/.boot" // an early delivery, which the late one completes
	if release := h.running(); release != "" {
		if err := h.Settle(); err != nil {
			h.Say("%v", err) // the activation may not have made them yet
		}
		if _, err := os.Lstat(mark); err != nil || h.Stage != late {
			return nil
		}
		h.leaveTried(release)
		err := h.placeAll(release)
		if err == nil {
			err = os.Remove(mark)
		}
		return err
	}
	if system == "" {
		system = leadsTo(h.System)
	}
	release := h.releaseFor(system)
	h.leaveTried(release)
	if release == "" {
		return nil
	}
	all, err := h.open(release)
	if len(all) == 0 && err != nil {
		return err
	}
	missing, failed := h.deliver(release, all, true)
	if failed == nil && h.Stage == early {
		missing = os.WriteFile(mark, nil, 0o600)
	}
	return errors.Join(err, missing, failed)
}

// placeAll makes those links of the release that runs which are not there.
func (h *Host) placeAll(release string) error {
	var errs []error
	for _, e := range h.elsewhere(release) {
		made, err := h.place(e.Path(), h.path(e), e.Replace)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret '%s': %w", e.Name, err))
		}
		if made && release == h.kept() {
			h.forgetPushed(e.Path())
		}
	}
	return errors.Join(errs...)
}

// same tells whether the plaintext of an entry is what the generation old has.
func same(old string, e opened) bool {
	text, err := readAny(old+"/"+e.Name, maxSecret)
	return err == nil && bytes.Equal(text, e.plain)
}
