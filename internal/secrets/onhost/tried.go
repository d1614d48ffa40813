//go:build linux

package onhost

import (
	"encoding/json"
	"os"
	"slices"
)

// The destinations that a trial uses and no kept release does are on disk before anything
// is there: after a power cut, the boot takes away the links, and gives back the files that
// were pushed to them.

func (h *Host) triedFile() string { return h.State + "/tried" }

func (h *Host) tried() []string {
	text, err := readSmall(h.triedFile(), 4<<20)
	if err != nil {
		return nil
	}
	var list []string
	_ = json.Unmarshal(text, &list)
	return list
}

// trying notes what a release is about to use.
func (h *Host) trying(release string) error {
	list := h.tried()
	were, kept := len(list), h.destinations(h.kept())
	for _, at := range h.destinations(release) {
		if !slices.Contains(kept, at) && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	if len(list) == were {
		return nil
	}
	return h.noteTried(list)
}

func (h *Host) noteTried(list []string) error {
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := writeSynced(h.State+"/.tried", text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(h.State+"/.tried", h.triedFile()); err != nil {
		return err
	}
	return syncFolder(h.State)
}

// leaveTried takes back what trials left at destinations that a release has not ("" for
// none, which has no destinations). Early in a boot some may not be mounted yet: they are
// looked at again late.
func (h *Host) leaveTried(release string) {
	list, has := h.tried(), h.destinations(release)
	var rest []string
	for _, at := range list {
		if slices.Contains(has, at) || !h.unlink(at) || h.Stage == early {
			rest = append(rest, at)
		}
	}
	if len(rest) < len(list) {
		if err := h.noteTried(rest); err != nil {
			h.Say("%v", err)
		}
	}
}
