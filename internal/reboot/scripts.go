package reboot

import (
	"embed"
	"encoding/base64"
	"maps"

	"godwit/internal/hostscript"
	"godwit/internal/profile/nixos"
)

//go:embed scripts/*.sh
var scriptFiles embed.FS

func part(name string) string {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err) // embedded: cannot happen outside a broken build
	}
	return string(b)
}

// variables stand before a script.
type variables hostscript.Variables

func (v variables) text() (string, error) { return hostscript.Variables(v).Text() }

// places are where things are on a host. Tests of the scripts move them.
func places() variables {
	return variables{
		"RUN": "/run/godwit", "STATE": "/var/lib/godwit", "GCROOTS": "/nix/var/nix/gcroots",
		"CURRENT": "/run/current-system", "BOOTED": "/run/booted-system", "BOOTID": "/proc/sys/kernel/random/boot_id",
		"BOOT": "/boot", "EFI": "/sys/firmware/efi/efivars", "UNITS": "/etc/systemd/system.control", "SWITCH_LOCK": nixos.SwitchLock,
		"BESIDE": BesideFolder,
	}
}

// target is the script that stays on the host: its verbs are go, tries, keep,
// back, watch, tidied and attach.
func (v variables) target() (string, error) {
	with := maps.Clone(v)
	delete(with, "BESIDE_SH") // in a file of its own
	head, err := with.text()
	if err != nil {
		return "", err
	}
	return hostscript.Compound(head, hostscript.Real, hostscript.Uptime, nixos.Switching, hostscript.PushedDone, part("words"), part("loader"), part("watch"), part("verbs"), part("main")), nil
}

// send is the script that is sent for a verb: go, trying, keep, back or look.
func (v variables) send(verb, reason string) (string, error) {
	target, err := v.target()
	if err != nil {
		return "", err
	}
	with := maps.Clone(v)
	with["VERB"], with["REASON"] = verb, reason
	if verb != "go" {
		with["BESIDE_SH"] = ""
	}
	head, err := with.text()
	if err != nil {
		return "", err
	}
	head += "ONCE_SH='" + base64.StdEncoding.EncodeToString([]byte(target)) + "'\n"
	return hostscript.Compound(head, hostscript.Real, hostscript.Uptime, nixos.Switching, hostscript.PushedDone, part("words"), part("loader"), part("watch"), part("verbs"), hostscript.RoomOf, part("start")), nil
}

// attach is the script of somebody who does not know the reboot: a verb for the
// one that is pending, or for the one with that id.
func (v variables) attach(verb, reason, id string) (string, error) {
	with := maps.Clone(v)
	with["VERB"], with["REASON"], with["WANT"], with["ID"] = verb, reason, id, "none"
	head, err := with.text()
	return hostscript.Compound(head, hostscript.Real, hostscript.Uptime, nixos.Switching, hostscript.PushedDone, part("words"), part("attach")), err
}

// probe is the script that tells what boot loader a host has.
func (v variables) probe() (string, error) {
	with := maps.Clone(v)
	with["ID"], with["PROFILE"] = "probe", ""
	head, err := with.text()
	return hostscript.Compound(head, hostscript.Real, hostscript.Uptime, nixos.Switching, hostscript.PushedDone, part("words"), part("loader"), "loader_probe"), err
}
