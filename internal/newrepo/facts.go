// Package newrepo writes a repository to begin with: a flake or a plain deployment file, with
// an example or with running NixOS machines in it. What machines say of themselves is data:
// it is read strictly, and what is written from it is quoted.
package newrepo

import (
	"bytes"
	"context"
	_ "embed" // facts.sh
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

//go:embed facts.sh
var factsScript string

// Facts are what a running NixOS says of itself.
type Facts struct {
	At       fleet.Destination // how it was reached, with the user that it let in
	Name     string            // host name
	Version  string            // of NixOS: "25.11.20251128.abc"; empty: unknown
	Revision string            // of nixpkgs, 40 hexadecimal digits; empty: unknown
	State    string            // system.stateVersion; empty: unknown
	HostKeys []string          // "ssh-ed25519 AAAA..."
	Wheel    bool              // the user is in the group wheel
	Sudo     bool              // the user becomes root without a password
	Login    []string          // public keys that the configuration lets the user in with
	Loader   Loader
	Hardware Hardware
	// Notes are for the person: what could not be read, or was left out.
	Notes []string
}

// Loader is the boot loader of a host.
type Loader struct {
	Kind        string // "systemd-boot", "grub", "extlinux", "none"; empty: unknown
	Devices     []string
	EFI         bool
	Variables   bool // boot.loader.efi.canTouchEfiVariables
	AsRemovable bool
	MountPoint  string // of the EFI system partition
}

var (
	hostName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	userName  = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	release   = regexp.MustCompile(`^[0-9]{2}\.[0-9]{2}$`)
	version   = regexp.MustCompile(`^[0-9]{2}\.[0-9]{2}[A-Za-z0-9.+_-]{0,80}$`)
	commit    = regexp.MustCompile(`"nixpkgsRevision"\s*:\s*"([0-9a-f]{40})"`)
	publicKey = regexp.MustCompile(`^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,2}`)
	stated    = regexp.MustCompile(`^\s*system\.stateVersion\s*=\s*(?:lib\.mkDefault\s+)?"([0-9]{2}\.[0-9]{2})"\s*;`)
	optioned  = regexp.MustCompile(`^\s*"([0-9]{2}\.[0-9]{2})"\s*$`)
)

// Read asks a running NixOS, over one command that changes nothing.
func Read(ctx context.Context, conn host.Conn, at fleet.Destination) (*Facts, error) {
	out, err := conn.Output(ctx, host.Cmd{Script: factsScript, Name: "the inspection of the machine", MaxOutput: 1 << 20})
	if err != nil {
		return nil, fault.New("cannot read what the machine is: %w", fault.Reason(err)).On(at.Host).Because(err)
	}
	f, err := parse(out, at)
	if err != nil {
		return nil, fault.New("%w", err).On(at.Host)
	}
	return f, nil
}

// answer is what the script printed, by name.
type answer map[string][]string

func (a answer) first(name string, fits *regexp.Regexp) string {
	if len(a[name]) > 0 && fits.MatchString(a[name][0]) {
		return a[name][0]
	}
	return ""
}

func (a answer) said(name, word string) bool { return slices.Contains(a[name], word) }

func parse(out string, at fleet.Destination) (*Facts, error) {
	_, out, begun := strings.Cut("\n"+out, "\n::godwit facts\n")
	out, _, ended := strings.Cut(out, "\n::godwit end")
	if !begun || !ended {
		return nil, fault.New("its answer is cut off").Hint("what the login shell prints must not stop scripts: try ssh with the command 'true'")
	}
	a := answer{}
	for _, l := range strings.Split(out, "\n") {
		if name, value, ok := strings.Cut(l, " "); ok && strings.TrimSpace(value) != "" {
			a[name] = append(a[name], strings.TrimRight(value, " \t\r"))
		}
	}
	if !a.said("nixos", "yes") && !slices.ContainsFunc(a["os"], func(s string) bool { return strings.Trim(s, `ID="`) == "nixos" }) {
		return nil, fault.New("it does not run NixOS").Hint("install NixOS on it first; init --from reads a machine that runs")
	}
	f := &Facts{At: at, Name: a.first("name", hostName), Version: strings.Fields(strings.Join(a["version"], " ") + " -")[0]}
	if f.Name == "" {
		return nil, fault.New("it gives no host name, or one that a host cannot have")
	}
	if !version.MatchString(f.Version) {
		f.Version = ""
		f.note("it does not say which NixOS it runs: look at the line of nixpkgs before the first plan")
	}
	if m := commit.FindStringSubmatch(strings.Join(a["revision"], " ")); m != nil {
		f.Revision = m[1]
	}
	if f.At.User == "" {
		f.At.User = a.first("user", userName)
	}
	if !userName.MatchString(f.At.User) {
		return nil, fault.New("it does not say the user that it let in").Hint("write USER@%s", at.Host)
	}
	if uid := a.first("uid", regexp.MustCompile(`^[1-9][0-9]{0,2}$`)); uid != "" {
		f.note("%s is a system user there (uid %s), and users/%s.nix makes a normal one of it: write isSystemUser and its group in place of that", f.At.User, uid, f.At.User)
	}
	f.Wheel = slices.Contains(strings.Fields(strings.Join(a["groups"], " ")), "wheel")
	f.Sudo = a.said("can", "sudo")
	f.HostKeys, f.Login = keys(a["hostkey"]), keys(a["login"])
	if len(f.Login) < len(a["login"]) {
		f.note("users/%s.nix leaves out keys with options, and what is no key: look at authorizedKeys of the host's own configuration", f.At.User)
	}
	f.state(a)
	f.hardware(a)
	f.loader(a)
	return f, nil
}

func (f *Facts) note(format string, args ...any) {
	f.Notes = append(f.Notes, fmt.Sprintf(format, args...))
}

// keys are the public keys of lines, without comments and options.
func keys(lines []string) (out []string) {
	for _, l := range lines {
		if k := publicKey.FindString(l); len(k) > 60 && len(k) < 4000 && len(out) < 100 {
			out = append(out, k)
		}
	}
	return out
}

// state is system.stateVersion, if all that say it say the same.
func (f *Facts) state(a answer) {
	var all []string
	take := func(lines []string, fits *regexp.Regexp) {
		for _, l := range lines {
			if m := fits.FindStringSubmatch(l); m != nil && !slices.Contains(all, m[1]) {
				all = append(all, m[1])
			}
		}
	}
	option := a["option"] // "Value:" and its value, then the default and more
	if i := slices.Index(option, "Value:"); i >= 0 && i+1 < len(option) {
		take(option[i+1:i+2], optioned)
	}
	if len(all) == 0 {
		take(a["state"], stated)
	}
	if len(all) == 1 {
		f.State = all[0]
		return
	}
	f.note("system.stateVersion is not known: write it into hosts/%s.nix, as the configuration says that the host was installed with", f.Name)
}

func (f *Facts) hardware(a answer) {
	found := false
	if text := strings.Join(a["hardware"], "\n"); text != "" {
		h, left, err := generated(text)
		if err == nil && h.Platform != "" {
			found = true
			f.Hardware = h
			for _, name := range left {
				f.note("hardware/%s.nix leaves out what nixos-generate-config says of %q", f.Name, name)
			}
		} else {
			f.note("what nixos-generate-config says was not understood (%v): file systems are those of /etc/fstab", err)
		}
	}
	if !found {
		f.Hardware = seen(a, f)
	}
	if a["container"] != nil && !a.said("container", "none") {
		f.Hardware.Container = true
	}
	if !f.Hardware.Container && !slices.ContainsFunc(f.Hardware.FileSystems, func(s FileSystem) bool { return s.At == "/" }) {
		f.note("the root file system is not known: write fileSystems.\"/\" into hardware/%s.nix", f.Name)
	}
	f.note("hardware and login are all that was read of it: its services, network and further users belong into hosts/%s.nix before the first deploy (see /etc/nixos there)", f.Name)
}

// Modules that an initrd needs for disks and keyboards, where they are loaded.
var ofDisks = strings.Fields(`ahci ata_piix ehci_pci hv_storvsc megaraid_sas mmc_block mpt3sas mptspi nvme ohci_pci sata_nv
	sd_mod sdhci_pci sdhci_acpi sr_mod uas uhci_hcd usb_storage usbhid virtio_blk virtio_pci virtio_scsi virtio_mmio vmd vmw_pvscsi
	xen_blkfront xhci_hcd xhci_pci`)

// seen is the hardware by /etc/fstab, or else by what is mounted, and by the modules that are loaded.
func seen(a answer, f *Facts) (h Hardware) {
	h.DHCP = true
	if p := a.first("machine", regexp.MustCompile(`^[a-z0-9_]{2,20}$`)) + "-linux"; platform.MatchString(p) {
		h.Platform = p
	} else {
		f.note("the platform is not known: write nixpkgs.hostPlatform into hardware/%s.nix", f.Name)
		h.Platform = "unknown"
	}
	for _, m := range a["module"] {
		if slices.Contains(ofDisks, m) && !slices.Contains(h.Available, m) {
			h.Available = append(h.Available, m)
		}
	}
	slices.Sort(h.Available)
	h.FileSystems, h.Swap = table(a["fstab"])
	if len(h.FileSystems) == 0 {
		h.FileSystems, _ = table(a["mounts"])
		for i := range h.FileSystems { // options of a mount are no configuration
			h.FileSystems[i].Options = nil
		}
	}
	for _, fs := range h.FileSystems {
		if strings.HasPrefix(fs.Device, "/dev/mapper/") {
			f.note("%s is on %s: if that is encrypted, write boot.initrd.luks.devices into hardware/%s.nix", fs.At, fs.Device, f.Name)
		}
	}
	return h
}

var escape = regexp.MustCompile(`\\[0-7]{3}`)

// table reads lines of fstab or /proc/mounts: disks alone, each place once.
func table(lines []string) (list []FileSystem, swap []string) {
	for _, l := range lines {
		w := strings.Fields(l)
		if strings.HasPrefix(l, "#") || len(w) < 4 || len(list) > 100 || len(swap) > 100 {
			continue
		}
		for i := range w {
			w[i] = escape.ReplaceAllStringFunc(w[i], func(s string) string {
				n, err := strconv.ParseUint(s[1:], 8, 8)
				if err != nil {
					return s
				}
				return string(rune(n))
			})
		}
		fs := FileSystem{At: w[1], Device: w[0], Type: w[2]}
		for old, dir := range map[string]string{"LABEL=": "/dev/disk/by-label/", "UUID=": "/dev/disk/by-uuid/", "PARTUUID=": "/dev/disk/by-partuuid/", "PARTLABEL=": "/dev/disk/by-partlabel/"} {
			if rest, ok := strings.CutPrefix(fs.Device, old); ok {
				fs.Device = dir + rest
			}
		}
		disk := strings.HasPrefix(fs.Device, "/dev/") || fs.Type == "zfs" || fs.Type == "nfs" || fs.Type == "nfs4" || fs.Type == "tmpfs" && fs.At == "/"
		if fs.Type == "swap" && disk {
			swap = append(swap, fs.Device)
			continue
		}
		if o := strings.Split(w[3], ","); !slices.Equal(o, []string{"defaults"}) {
			fs.Options = o
		}
		place := strings.HasPrefix(fs.At, "/") && fs.At != "/nix/store" && !strings.HasPrefix(fs.At, "/etc/") && !strings.HasPrefix(fs.At, "/run/") && !strings.HasPrefix(fs.At, "/var/lib/docker/")
		if !disk || !place || !printable(strings.Join(append(fs.Options, fs.At, fs.Device, fs.Type), "")) ||
			slices.ContainsFunc(list, func(x FileSystem) bool { return x.At == fs.At }) {
			continue
		}
		list = append(list, fs)
	}
	return list, swap
}

func (f *Facts) loader(a answer) {
	l := &f.Loader
	l.EFI, l.Variables = a.said("efi", "yes"), a.said("efivars", "yes")
	installer := strings.Join(a["installer"], "")
	switch {
	case f.Hardware.Container:
		l.Kind = "none"
	case strings.Contains(installer, "install-grub"):
		l.Kind = "grub"
	case strings.Contains(installer, "systemd-boot"):
		l.Kind = "systemd-boot"
	case strings.Contains(installer, "extlinux"):
		l.Kind = "extlinux"
	case len(a["boot"]) == 1: // what is in /boot, where it is one alone
		l.Kind = map[string]string{"loader/entries": "systemd-boot", "grub/grub.cfg": "grub", "extlinux/extlinux.conf": "extlinux"}[a["boot"][0]]
	}
	for _, fs := range f.Hardware.FileSystems {
		if fs.Type == "vfat" && (fs.At == "/efi" || strings.HasPrefix(fs.At, "/boot")) {
			l.MountPoint = fs.At
		}
	}
	if l.Kind == "grub" {
		l.grub([]byte(strings.Join(a["grub"], "\n")))
		if len(l.Devices) == 0 {
			f.note("the disk of GRUB is not known: write boot.loader.grub.device into hosts/%s.nix", f.Name)
		}
	}
	if l.Kind == "" {
		f.note("the boot loader is not known: write boot.loader into hosts/%s.nix", f.Name)
	}
}

// grub reads the settings that NixOS gives to what installs GRUB.
func (l *Loader) grub(text []byte) {
	var x struct {
		Attrs []struct {
			Name   string `xml:"name,attr"`
			String struct {
				Value string `xml:"value,attr"`
			} `xml:"string"`
			Bool struct {
				Value string `xml:"value,attr"`
			} `xml:"bool"`
			List []struct {
				Value string `xml:"value,attr"`
			} `xml:"list>string"`
		} `xml:"attrs>attr"`
	}
	if len(text) == 0 || xml.NewDecoder(bytes.NewReader(text)).Decode(&x) != nil {
		if l.EFI {
			l.Devices = []string{"nodev"} // as everybody has it there
		}
		return
	}
	for _, a := range x.Attrs {
		switch a.Name {
		case "devices":
			for _, d := range a.List {
				if printable(d.Value) && (strings.HasPrefix(d.Value, "/dev/") || d.Value == "nodev") {
					l.Devices = append(l.Devices, d.Value)
				}
			}
		case "canTouchEfiVariables":
			l.Variables = a.Bool.Value == "true"
		case "efiInstallAsRemovable":
			l.AsRemovable = a.Bool.Value == "true"
		}
	}
}
