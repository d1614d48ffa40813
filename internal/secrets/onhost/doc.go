// Package onhost is what a host does with its secrets: it keeps releases of ciphertext,
// opens one with the key of the machine, and puts the plaintext where only memory is.
// The program godwit-secrets is all of it; it comes with each release, and
// internal/profile/secrets calls it.
//
// Plaintext is never in an argument, the environment, the output or a file on a disk. It
// is written below /run/godwit/secrets.d alone, a file system in memory in which nobody
// but root can change anything, so no user of the host can make root write somewhere
// else. A destination elsewhere is a link that leads there.
package onhost

// Name is the program's, and that of the unit that runs it.
const Name = "godwit-secrets"

// State is the folder of releases on a host, of root alone:
//
//	ID/bundle.json      a release: its ciphertext (bundle.Bundle)
//	ID/godwit-secrets   the program that came with it
//	programs/SUM-godwit-secrets   the same program, by its SHA-256
//	secrets             a link: what the next boot uses, by way of secrets-N-link
//	godwit-secrets      a link: the program that the next boot runs
//	uses                lines SYSTEM ID: which system of the host goes with which release
//	once                the same of a system that is booted once, and not kept yet
const State = "/var/lib/godwit/secrets"
