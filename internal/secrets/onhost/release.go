//go:build linux

package onhost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"godwit/internal/secrets/bundle"
)

// opened is an entry with its plaintext.
type opened struct {
	bundle.Entry
	plain []byte
}

var isID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// decode reads the text of a release, and holds it against its name.
func decode(text []byte, id string) (*bundle.Bundle, error) {
	var b bundle.Bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("the release cannot be read: %w", err)
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	if got := b.ID(); id != "" && got != id {
		return nil, fmt.Errorf("the release %s is not what it was: its content is %s", id, got)
	}
	return &b, nil
}

// open reads a release and decrypts all of it, in memory. The error names every secret
// that does not open; what opens is given all the same.
func (h *Host) open(release string) ([]opened, error) {
	if filepath.Dir(release) != h.State || !isID.MatchString(filepath.Base(release)) {
		return nil, fmt.Errorf("'%s' is not a release of secrets", release)
	}
	text, err := readSmall(release+"/bundle.json", maxRelease)
	if err != nil {
		return nil, err
	}
	b, err := decode(text, filepath.Base(release))
	if err != nil {
		return nil, err
	}
	return unseal(b)
}

// Receive keeps a release when all of it opens, and gives its folder. It takes no effect.
func (h *Host) Receive(text []byte) (string, error) {
	b, err := decode(text, "")
	if err != nil {
		return "", err
	}
	all, err := unseal(b)
	if err != nil {
		return "", err
	}
	h.settleFresh(b, all)
	if err := ownFolder(h.State); err != nil {
		return "", err
	}
	at := h.State + "/" + b.ID()
	if _, err := h.open(at); err == nil {
		now := time.Now()
		return at, errors.Join(program(at), os.Chtimes(at, now, now)) // for prune
	}
	if err := os.RemoveAll(at); err != nil { // a disk damaged it
		return "", err
	}
	dir, err := os.MkdirTemp(h.State, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	whole, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	if err := writeSynced(dir+"/bundle.json", whole, 0o400); err != nil {
		return "", err
	}
	if err := program(dir); err != nil {
		return "", err
	}
	if err := syncFolder(dir); err != nil {
		return "", err
	}
	if err := os.Rename(dir, at); err != nil {
		return "", err
	}
	return at, syncFolder(h.State)
}

// settleFresh takes, for entries that were encrypted for this deployment alone, the ciphertext
// that the host has of the same content: so what did not change is the same release.
func (h *Host) settleFresh(b *bundle.Bundle, all []opened) {
	var have *bundle.Bundle
	var plain []opened
	for i := range b.Entries {
		e := &b.Entries[i]
		if !e.Fresh {
			continue
		}
		e.Fresh = false
		if have == nil {
			have = &bundle.Bundle{}
			release := h.running()
			if release == "" {
				release = h.kept()
			}
			if text, err := readSmall(release+"/bundle.json", maxRelease); err == nil {
				if old, err := decode(text, filepath.Base(release)); err == nil && old.Recipient == b.Recipient && old.KeyFile == b.KeyFile {
					have = old
					plain, _ = unseal(old)
				}
			}
		}
		was := slices.IndexFunc(plain, func(o opened) bool { return o.Name == e.Name })
		is := slices.IndexFunc(all, func(o opened) bool { return o.Name == e.Name })
		if was >= 0 && is >= 0 && bytes.Equal(plain[was].plain, all[is].plain) {
			e.Age = plain[was].Age
		}
	}
}

// program puts the program that runs into a release, also in place of an older one.
func program(release string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	at, next := release+"/"+Name, release+"/."+Name
	if a, err := os.Stat(self); err == nil {
		if b, err := os.Lstat(at); err == nil && os.SameFile(a, b) {
			return nil
		}
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(self, next); err != nil {
		text, err := readSmall(self, maxProgram)
		if err != nil {
			return err
		}
		if err := writeSynced(next, text, 0o500); err != nil {
			return err
		}
	}
	return errors.Join(os.Rename(next, at), syncFolder(release))
}

// maxProgram bounds the program, in bytes.
const maxProgram = 128 << 20

// kept is the release that the next boot uses; "" for none.
func (h *Host) kept() string { return leadsTo(h.State + "/secrets") }

// running is the release whose secrets are there; "" for none.
func (h *Host) running() string { return leadsTo(h.link() + "/.release") }

func leadsTo(link string) string {
	at, err := filepath.EvalSymlinks(link)
	if err != nil {
		return ""
	}
	return at
}

// uses are lines of a system and the release that goes with it; the last one holds.
func (h *Host) uses() [][2]string { return h.lines("uses") }

// lines reads such a file.
func (h *Host) lines(name string) [][2]string {
	text, err := readSmall(h.State+"/"+name, 4<<20)
	if err != nil {
		return nil
	}
	var out [][2]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && isID.MatchString(f[1]) {
			out = append(out, [2]string{f[0], f[1]})
		}
	}
	return out
}

// Keep notes which systems a release goes with, and removes the releases that none of the
// systems on the host goes with any more: they stay as long as generations do.
func (h *Host) Keep(release string, systems []string) error {
	id := filepath.Base(release)
	if !isID.MatchString(id) {
		return fmt.Errorf("'%s' is not a release of secrets", release)
	}
	var lines [][2]string
	for _, u := range h.uses() {
		if _, err := os.Lstat(u[0]); err == nil && !slices.Contains(systems, u[0]) {
			lines = append(lines, u)
		}
	}
	if err := h.writeLines("uses", append(lines, goWith(id, systems)...)); err != nil {
		return err
	}
	if err := h.Once(nil); err != nil { // what was to be tried by a boot is kept now, or never will be
		return err
	}
	for _, at := range h.destinations(release) {
		h.forgetPushed(at)
	}
	h.leaveTried(release)
	_ = os.Remove(h.triedFile()) // what it has is kept now
	h.prune()
	if err := h.units(release); err != nil { // it may never have been delivered, only kept for the next boot
		return err
	}
	return syncFolder(h.State)
}

// goWith are the lines of systems that go with one release.
func goWith(id string, systems []string) [][2]string {
	var out [][2]string
	for _, s := range systems {
		if s != "" && !strings.ContainsAny(s, " \n") {
			out = append(out, [2]string{s, id})
		}
	}
	return out
}

func (h *Host) writeLines(name string, lines [][2]string) error {
	var text strings.Builder
	for _, l := range lines {
		fmt.Fprintln(&text, l[0], l[1])
	}
	if err := writeSynced(h.State+"/."+name, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(h.State+"/."+name, h.State+"/"+name)
}

// Once notes what a boot of a system delivers that is not kept yet: args are a release and
// the systems. Nobody says so of other systems, so whatever else boots has its own release.
// Without args it is forgotten.
func (h *Host) Once(args []string) error {
	if len(args) == 0 {
		if err := os.Remove(h.State + "/once"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncFolder(h.State)
	}
	id := filepath.Base(args[0])
	if !isID.MatchString(id) {
		return fmt.Errorf("'%s' is no release of secrets", args[0])
	}
	if err := h.writeLines("once", goWith(id, args[1:])); err != nil {
		return err
	}
	if err := h.units(args[0]); err != nil { // the first release of a host has none yet
		return err
	}
	return syncFolder(h.State)
}

// young is what prune leaves alone: somebody may be about to deploy it.
const young = time.Hour

// prune removes what nothing needs. What cannot be removed is for the next time.
func (h *Host) prune() {
	need := map[string]bool{filepath.Base(h.kept()): true, filepath.Base(h.running()): true, filepath.Base(filepath.Dir(leadsTo(h.State + "/" + Name))): true}
	for _, u := range slices.Concat(h.uses(), h.lines("once")) {
		need[u[1]] = true
	}
	links, _ := filepath.Glob(h.State + "/secrets-*-link")
	slices.SortFunc(links, func(a, b string) int { return generation(b) - generation(a) })
	for i, l := range links {
		id := filepath.Base(leadsTo(l))
		switch {
		case i < 2: // what is kept, and what was before it
			need[id] = true
		case !need[id]:
			_ = os.Remove(l)
		}
	}
	all, err := os.ReadDir(h.State)
	if err != nil {
		return
	}
	for _, f := range all {
		info, err := f.Info()
		if err != nil || need[f.Name()] || time.Since(info.ModTime()) < young {
			continue
		}
		if isID.MatchString(f.Name()) || strings.HasPrefix(f.Name(), ".new-") {
			_ = os.RemoveAll(h.State + "/" + f.Name())
		}
	}
	programs, _ := os.ReadDir(h.State + "/programs")
	for _, f := range programs {
		if info, err := f.Info(); err == nil && links1(info) && time.Since(info.ModTime()) > young {
			_ = os.Remove(h.State + "/programs/" + f.Name())
		}
	}
}

func generation(link string) int {
	n := 0
	_, _ = fmt.Sscanf(filepath.Base(link), "secrets-%d-link", &n)
	return n
}

// releaseFor is what goes with a system: what it is tried with, or was last kept with, or
// else what is kept.
func (h *Host) releaseFor(system string) string {
	uses := append(h.uses(), h.lines("once")...)
	for _, u := range slices.Backward(uses) {
		at := h.State + "/" + u[1]
		if _, err := os.Stat(at); err == nil && u[0] == system {
			return at
		}
	}
	return h.kept()
}

// ownFolder makes a folder that is root's alone, or refuses one that is not.
func ownFolder(at string) error {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	if !info.IsDir() || !mine(info) {
		return fmt.Errorf("%s is not a folder that belongs to root", at)
	}
	if info.Mode().Perm() != 0o700 {
		return os.Chmod(at, 0o700)
	}
	return nil
}

func writeSynced(at string, text []byte, mode fs.FileMode) error {
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(at string) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
