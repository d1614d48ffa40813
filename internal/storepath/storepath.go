// Package storepath reads the paths of Nix's store. Whatever comes from outside
// (a saved plan, a host, Nix's output, the command line) and is to reach Nix or
// a host as a store path passes Check or CheckDrv first.
package storepath

import (
	"fmt"
	"path"
	"strings"
)

// dir is where a host's store is. Other stores of this machine may be elsewhere.
const dir = "/nix/store/"

// Alphabet is Nix's base 32: no e, o, t, u (src/libutil/base-nix-32.hh).
const Alphabet = "0123456789abcdfghijklmnpqrsvwxyz"

const (
	hashLen = 32
	maxName = 211 // StorePath::MaxPathLen
)

// Check tells whether p is a store path, <dir>/<32 characters>-<name>, as
// checkName and StorePath in src/libstore/path.cc would have it. Nothing behind
// the name, and no way around by "..", is taken.
func Check(p string) error {
	folder, base := path.Split(p)
	if len(folder) < 2 || folder[0] != '/' || path.Clean(folder)+"/" != folder || !plain(folder) || !object(base) {
		return fmt.Errorf("%q is not a store path", p)
	}
	return nil
}

// plain tells whether a folder has only characters that mean nothing to a shell, in a
// log or to a terminal.
func plain(folder string) bool {
	for i := range len(folder) {
		switch c := folder[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("/+-._?=@:~,%", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// CheckDrv is Check for the path of a derivation.
func CheckDrv(p string) error {
	if Check(p) != nil || !strings.HasSuffix(p, ".drv") {
		return fmt.Errorf("%q is not the store path of a derivation", p)
	}
	return nil
}

// object tells whether base is <32 characters>-<name>.
func object(base string) bool {
	if len(base) < hashLen+2 || len(base) > hashLen+1+maxName || base[hashLen] != '-' {
		return false
	}
	for i := range hashLen {
		if strings.IndexByte(Alphabet, base[i]) < 0 {
			return false
		}
	}
	for i := hashLen + 1; i < len(base); i++ {
		switch c := base[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("+-._?=", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Cut takes a path in /nix/store apart: the store path, and what follows it,
// without the slash. ok is false for a path elsewhere, and for one that is not
// written in the shortest way.
func Cut(p string) (top, inside string, ok bool) {
	rest, found := strings.CutPrefix(p, dir)
	base, inside, _ := strings.Cut(rest, "/")
	if !found || path.Clean(p) != p || !object(base) {
		return "", "", false
	}
	return dir + base, inside, true
}

// Top is the store path that p is in, or p itself when it is in none.
func Top(p string) string {
	if top, _, ok := Cut(p); ok {
		return top
	}
	return p
}

// Name is the name part of the store path that p is in ("linux-6.12.55"), or the
// last part of p when it is in none.
func Name(p string) string {
	if top, _, ok := Cut(p); ok {
		return top[len(dir)+hashLen+1:]
	}
	return path.Base(p)
}

// Short is a store path for people that can still be told from others of its
// name: "vddlm63p…-nixos-system-web-24.05".
func Short(p string) string {
	top, _, ok := Cut(p)
	if !ok {
		return p
	}
	return top[len(dir):][:8] + "…-" + Name(p)
}
