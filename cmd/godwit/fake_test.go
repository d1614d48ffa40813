package main

import (
	"fmt"
	"os"
	"slices"

	"godwit/internal/nix/nixtest"
)

// ssh stands for OpenSSH, as nixtest does for Nix, for the fleet that a script's fleet.json
// describes.

const ciphers = "ciphers chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes128-ctr\n"

func ssh(fl nixtest.Fleet, args []string) (string, int) {
	if slices.Equal(args, []string{"-V"}) {
		fmt.Fprintln(os.Stderr, "OpenSSH_9.9p1 fake, OpenSSL 3.0")
		return "", 0
	}
	if slices.Equal(args, []string{"-G", "-F", "none", "localhost"}) { // what is built in
		return "hostname localhost\nuser root\nport 22\n" + ciphers, 0
	}
	for address, how := range fl.SSH {
		if slices.Contains(args, address) {
			if slices.Contains(args, "-G") {
				return "hostname " + address + "\nuser root\nport 22\n" + ciphers, 0
			}
			fmt.Fprintf(os.Stderr, "ssh: connect to host %s port 22: %s\n", address, how)
			return "", 255
		}
	}
	nixtest.Unknown("no such host")
	return "", 1
}
