//go:build linux

package onhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"godwit/internal/bounded"
)

// restartLimit bounds the restart of one unit. The guard bounds all of them.
const restartLimit = 3 * time.Minute

func systemctl(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), restartLimit)
	defer cancel()
	out, err := bounded.Output(exec.CommandContext(ctx, "systemctl", words...), "systemctl", 1<<20)
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%s", strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// dueFile has lines "UNIT TIME": units that use an older secret if they run since before
// that time, in microseconds of the monotonic clock. It is beside the generations, so
// that a restart that did not come to it is not forgotten.
func (h *Host) dueFile() string { return h.folder() + "/.due" }

func (h *Host) readDue() map[string]int64 {
	out := map[string]int64{}
	text, err := readSmall(h.dueFile(), 1<<20)
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]], _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return out
}

func (h *Host) writeDue(due map[string]int64) error {
	if len(due) == 0 {
		if err := os.Remove(h.dueFile()); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	var text strings.Builder
	for _, u := range sortedKeys(due) {
		fmt.Fprintln(&text, u, due[u])
	}
	if err := os.WriteFile(h.dueFile()+".next", []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(h.dueFile()+".next", h.dueFile())
}

func sortedKeys(m map[string]int64) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// due notes the units whose secrets are others than in the generation old.
func (h *Host) due(old string, all []opened) error {
	if old == "" {
		return nil // a unit that runs had them from somewhere else
	}
	due := h.readDue()
	for _, e := range all {
		if len(e.Restart) == 0 || same(old, e) {
			continue
		}
		for _, u := range e.Restart {
			due[u] = monotonic()
		}
	}
	return h.writeDue(due)
}

func monotonic() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano() / 1000
}

// Restart restarts the units that run with an older secret: those that did not start
// since it changed.
func (h *Host) Restart() error {
	due := h.readDue()
	var errs []error
	for _, u := range sortedKeys(due) {
		since, running := h.since(u)
		if running && since < due[u] {
			h.Say("restarting %s, whose secret has changed", u)
			if _, err := h.Systemctl("try-restart", "--", u); err != nil {
				errs = append(errs, fmt.Errorf("%s does not start with its new secret: %w", u, err))
			}
		}
		if err := h.undue(u, due[u]); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(errs...)
}

// undue forgets a unit, unless its secret has changed again since.
func (h *Host) undue(unit string, since int64) error {
	end, err := h.alone()
	if err != nil {
		return err
	}
	defer end()
	due := h.readDue()
	if due[unit] == since {
		delete(due, unit)
	}
	return h.writeDue(due)
}

// since is when a unit left the state inactive, and whether it is up.
func (h *Host) since(unit string) (int64, bool) {
	out, err := h.Systemctl("show", "--property=ActiveState", "--property=InactiveExitTimestampMonotonic", "--", unit)
	if err != nil {
		return 0, false
	}
	var at int64
	up := false
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "ActiveState":
			up = value != "inactive" && value != "failed"
		case "InactiveExitTimestampMonotonic":
			at, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return at, up
}

// The units that deliver secrets at a boot, and give them to owners that an activation
// makes. A host whose configuration has units of the same names uses those: systemd takes
// /etc/systemd/system before the folder that these are in (system.attached, which no
// configuration of NixOS writes).
const (
	unitService = Name + ".service"
	unitUsers   = Name + "-users.service"
)

func unitText(program, description, stage, order string) string {
	return `# Written by godwit, which replaces it.
[Unit]
Description=` + description + `
DefaultDependencies=no
RequiresMountsFor=` + State + `
Conflicts=shutdown.target
Before=shutdown.target
` + order + `
[Service]
Type=oneshot
Environment=PATH=/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=` + stageVariable + `=` + stage + `
ExecStart=` + program + ` boot
`
}

// attached is where the units are: over a boot, or for this one where nothing can be
// written there.
func (h *Host) attached() []string {
	return []string{h.Systemd + "/system.attached", "/run/systemd/system.attached"}
}

// wanted are the targets that pull the units in. NixOS restarts the second after it made
// users, before it starts services.
var wanted = map[string][]string{
	unitUsers:   {"sysinit.target.wants"},
	unitService: {"sysinit.target.wants", "sysinit-reactivation.target.wants"},
}

// units makes the program of a release the one that the next boot runs, and writes the
// units that run it. Where that cannot be, the secrets are there until the next boot: it
// is said, and no error.
func (h *Host) units(release string) error {
	if err := swap(filepath.Base(release)+"/"+Name, h.State+"/"+Name); err != nil {
		return err
	}
	if _, err := os.Stat(h.Systemd); err != nil {
		h.Say("there is no %s: secrets are delivered by the deployer alone", h.Systemd)
		return nil
	}
	program := h.State + "/" + Name
	texts := map[string]string{
		unitUsers: unitText(program, "Secrets of this host, for who makes its users", early,
			"Before=sysinit.target systemd-sysusers.service userborn.service"),
		unitService: unitText(program, "Secrets of this host", late,
			"After="+unitUsers+" systemd-sysusers.service userborn.service local-fs.target\nBefore=sysinit.target sysinit-reactivation.target"),
	}
	changed := false
	write := func(folder string) error {
		for name, text := range texts {
			if have, err := readSmall(folder+"/"+name, 1<<16); err == nil && string(have) == text {
				continue
			}
			changed = true
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			if err := writeSynced(folder+"/."+name, []byte(text), 0o644); err != nil {
				return err
			}
			if err := os.Rename(folder+"/."+name, folder+"/"+name); err != nil {
				return err
			}
			for _, w := range wanted[name] {
				if err := os.MkdirAll(folder+"/"+w, 0o755); err != nil {
					return err
				}
				if err := swap("../"+name, folder+"/"+w+"/"+name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	folders := h.attached()
	err := write(folders[0])
	if err != nil {
		h.Say("no unit can be written to %s (%v): after a reboot secrets come with the next deployment, unless the host's configuration imports godwit's module", folders[0], err)
		err = write(folders[1])
	}
	if err == nil && changed {
		_, err = h.Systemctl("daemon-reload")
	}
	if err != nil {
		h.Say("no unit for secrets: %v", err)
	}
	return nil
}

func (h *Host) noUnits() {
	for _, folder := range h.attached() {
		for name, in := range wanted {
			_ = os.Remove(folder + "/" + name)
			for _, w := range in {
				_ = os.Remove(folder + "/" + w + "/" + name)
			}
		}
		for _, in := range wanted { // those that are empty now
			for _, w := range in {
				_ = os.Remove(folder + "/" + w)
			}
		}
		_ = os.Remove(folder)
	}
	_ = os.Remove(h.State + "/" + Name)
	_, _ = h.Systemctl("daemon-reload")
}
