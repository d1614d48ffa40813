package ssh

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"godwit/internal/fault"
)

// Facts are what a host says about itself. What it does not have is empty.
type Facts struct {
	System        string // Nix's name of the platform, such as "aarch64-linux"
	Machine       string // uname -m
	OS            string // "linux", "darwin"
	Kernel        string // release of the running kernel
	Hostname      string
	User          string // login user
	UID           int
	NixOS         bool
	Systemd       int // version
	BootID        string
	CurrentSystem string // store path of /run/current-system
	BootedSystem  string // store path of /run/booted-system
	Profile       string // store path of the system profile
	Generation    int    // number of the system profile's generation
	Nix           string // version
	NixDisk       Disk   // the file system of /nix
	BootDisk      Disk   // the file system of /boot
	CPUs          int
	MemoryFree    int64 // bytes available
	FailedUnits   []string
	Sudo, Doas    string // paths
}

// Disk is the room on a file system, in bytes.
type Disk struct{ Free, Total int64 }

// factsScript only reads. Every line is a key and a value.
const factsScript = `
PATH=/run/wrappers/bin:$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH LC_ALL=C
f() { printf '%s %s\n' "$1" "$2"; }
f machine "$(uname -m)"
f os "$(uname -s)"
f kernel "$(uname -r)"
f hostname "$(uname -n)"
f user "$(id -un)"
f uid "$(id -u)"
f sudo "$(command -v sudo)"
f doas "$(command -v doas)"
[ -e /etc/NIXOS ] && f nixos 1
[ -r /run/current-system/system ] && f system "$(cat /run/current-system/system)"
[ -r /proc/sys/kernel/random/boot_id ] && f bootid "$(cat /proc/sys/kernel/random/boot_id)"
f current "$(readlink -f /run/current-system 2>/dev/null)"
f booted "$(readlink -f /run/booted-system 2>/dev/null)"
f profile "$(readlink -f /nix/var/nix/profiles/system 2>/dev/null)"
f generation "$(readlink /nix/var/nix/profiles/system 2>/dev/null)"
f nix "$(nix-store --version 2>/dev/null)"
f nixdisk "$(df -Pk /nix 2>/dev/null | tail -n 1)"
f bootdisk "$(df -Pk /boot 2>/dev/null | tail -n 1)"
f cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
[ -r /proc/meminfo ] && f memory "$(grep MemAvailable: /proc/meminfo)"
if [ -d /run/systemd/system ]; then
	f systemd "$(systemctl --version 2>/dev/null | head -n 1)"
	systemctl list-units --failed --plain --no-legend --no-pager --full 2>/dev/null | while read -r u _; do f failed "$u"; done
fi
f end 1
`

// Facts asks the host about itself. It changes nothing there.
func (h *Host) Facts(ctx context.Context) (Facts, error) {
	out, err := h.Output(ctx, Cmd{Script: factsScript})
	if err != nil {
		return Facts{}, err
	}
	f, err := parseFacts(out)
	if err != nil {
		return f, fault.New("cannot read what the host says about itself: %w", err).On(h.target.Name)
	}
	return f, nil
}

func parseFacts(out string) (Facts, error) {
	var f Facts
	end := false
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "machine":
			f.Machine = value
		case "os":
			f.OS = strings.ToLower(value)
		case "kernel":
			f.Kernel = value
		case "hostname":
			f.Hostname = value
		case "user":
			f.User = value
		case "uid":
			n, err := strconv.Atoi(value)
			if err != nil {
				return f, errors.New("no user id")
			}
			f.UID = n
		case "sudo":
			f.Sudo = value
		case "doas":
			f.Doas = value
		case "nixos":
			f.NixOS = true
		case "system":
			f.System = value
		case "bootid":
			f.BootID = value
		case "current":
			f.CurrentSystem = storePath(value)
		case "booted":
			f.BootedSystem = storePath(value)
		case "profile":
			f.Profile = storePath(value)
		case "generation":
			// system-42-link
			if s, ok := strings.CutSuffix(value, "-link"); ok {
				f.Generation, _ = strconv.Atoi(s[strings.LastIndexByte(s, '-')+1:])
			}
		case "nix":
			// nix-store (Nix) 2.24.10
			if w := strings.Fields(value); len(w) > 0 {
				f.Nix = w[len(w)-1]
			}
		case "nixdisk":
			f.NixDisk = parseDisk(value)
		case "bootdisk":
			f.BootDisk = parseDisk(value)
		case "cpus":
			f.CPUs, _ = strconv.Atoi(value)
		case "memory":
			// MemAvailable:    8061104 kB
			if w := strings.Fields(value); len(w) >= 2 {
				n, _ := strconv.ParseInt(w[1], 10, 64)
				f.MemoryFree = n << 10
			}
		case "systemd":
			// systemd 257 (257.9-1)
			if w := strings.Fields(value); len(w) >= 2 {
				v, _, _ := strings.Cut(w[1], ".")
				f.Systemd, _ = strconv.Atoi(v)
			}
		case "failed":
			if value != "" {
				f.FailedUnits = append(f.FailedUnits, value)
			}
		case "end":
			end = true
		}
	}
	if !end {
		return f, errors.New("the answer is incomplete")
	}
	if f.System == "" {
		f.System = nixSystem(f.Machine, f.OS)
	}
	return f, nil
}

func storePath(s string) string {
	if strings.HasPrefix(s, "/nix/store/") {
		return s
	}
	return ""
}

// parseDisk reads a line of df -Pk.
func parseDisk(line string) Disk {
	w := strings.Fields(line)
	// The device's name may hold blanks: count from the capacity, "42%".
	for i := 3; i < len(w); i++ {
		if !strings.HasSuffix(w[i], "%") {
			continue
		}
		total, err1 := strconv.ParseInt(w[i-3], 10, 64)
		free, err2 := strconv.ParseInt(w[i-1], 10, 64)
		if err1 == nil && err2 == nil {
			return Disk{Free: free << 10, Total: total << 10}
		}
	}
	return Disk{}
}

// nixSystem is Nix's name for a machine and an operating system of uname.
func nixSystem(machine, os string) string {
	switch machine {
	case "":
		return ""
	case "amd64":
		machine = "x86_64"
	case "arm64":
		machine = "aarch64"
	case "i386", "i586":
		machine = "i686"
	case "armv8l":
		machine = "armv7l"
	case "ppc64le":
		machine = "powerpc64le"
	}
	return machine + "-" + os
}
