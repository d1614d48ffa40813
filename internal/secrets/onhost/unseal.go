//go:build linux

package onhost

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"godwit/internal/bounded"
	"godwit/internal/identity"
	"godwit/internal/secrets/bundle"
)

// maxSecret bounds the plaintext of one secret, in bytes.
const maxSecret = 64 << 20

// unseal decrypts all entries, in memory. The error has a line for each that does not
// open; the others are given all the same.
func unseal(b *bundle.Bundle) ([]opened, error) {
	if len(b.Entries) == 0 {
		return nil, nil
	}
	ids, err := identities(b.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("the key of the machine cannot be read: %w", err)
	}
	var out []opened
	var errs []error
	for _, e := range b.Entries {
		plain, err := decrypt(e.Age, ids)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret '%s' does not open with the key of this machine, %s: %w", e.Name, b.KeyFile, err))
			continue
		}
		out = append(out, opened{e, plain})
	}
	return out, errors.Join(errs...)
}

func decrypt(text []byte, ids []age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(text), ids...)
	if err != nil {
		return nil, err
	}
	return bounded.ReadAll(r, "it", maxSecret)
}

// identities reads the private key of the machine. An ssh key opens what was encrypted to
// it in either of the two forms that people use.
func identities(file string) ([]age.Identity, error) {
	text, err := readSmall(file, 1<<20)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if !bytes.HasPrefix(text, []byte("-----BEGIN")) {
		return age.ParseIdentities(bytes.NewReader(text))
	}
	return identity.SSHIdentities(text)
}

// readSmall reads a file of root's, up to a limit.
func readSmall(at string, limit int64) ([]byte, error) {
	f, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || !mine(info) {
		return nil, fmt.Errorf("%s is not a file that belongs to root", at)
	}
	return bounded.ReadAll(io.Reader(f), at, limit)
}

// readAny reads a file below a folder in which only root can change something; whoever
// owns the file.
func readAny(at string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(at, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded.ReadAll(io.Reader(f), at, limit)
}
