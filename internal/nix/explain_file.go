package nix

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/regular"
)

// Repositories hold files that are encrypted until somebody unlocks them, and
// read files that are not in the repository at all. What Nix says of these (a
// syntax error in line 1, an undefined variable) sends people the wrong way.

// ciphertexts are how encrypted files begin, and who opens them.
var ciphertexts = []struct{ begin, tool, open string }{
	{"\x00GITCRYPT\x00", "git-crypt", "unlock the repository first: git-crypt unlock"},
	{"age-encryption.org/v1\n", "age", "an encrypted file cannot be evaluated: its secret goes to the host, and is read there"},
	{"-----BEGIN AGE ENCRYPTED FILE-----", "age", "an encrypted file cannot be evaluated: its secret goes to the host, and is read there"},
	{"-----BEGIN PGP MESSAGE-----", "gpg", "decrypt it first: gpg --decrypt"},
	{"$ANSIBLE_VAULT;", "ansible-vault", "decrypt it first: ansible-vault decrypt"},
	{"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "fetch what it stands for first: git lfs pull"},
}

// unreadable gives the way in which a file is not what its name says, and what to
// do; both are empty for any other file.
func unreadable(file string) (is, hint string) {
	if !filepath.IsAbs(file) {
		return "", ""
	}
	f, err := regular.Open(file)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return "", ""
	}
	for _, c := range ciphertexts {
		if !bytes.HasPrefix(head, []byte(c.begin)) {
			continue
		}
		if c.tool == "Git LFS" {
			return "is a pointer of Git LFS's, not the file itself", c.open
		}
		return "is encrypted (" + c.tool + ")", c.open
	}
	return "", ""
}

// ignored tells whether git leaves the file out of the repository on purpose.
func ignored(file string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Status 0: ignored; 1: not; 128: no work tree.
	return exec.CommandContext(ctx, "git", "-C", filepath.Dir(file), "check-ignore", "--quiet", "--", filepath.Base(file)).Run() == nil
}

// unreadableFile answers a failure that comes from a file being encrypted; nil for
// all others. m[1], when it is there, is the file that Nix names.
func unreadableFile(t *trace, m []string) *fault.Error {
	file := t.at.file
	if len(m) > 1 && m[1] != "" {
		file = m[1]
	}
	is, hint := unreadable(file)
	if is == "" {
		return nil
	}
	return fault.New("%s %s", short(file), is).Hint("%s", fault.Raw(hint))
}

// missingFile answers a path that does not exist.
func missingFile(t *trace, file string) *fault.Error {
	f := say(t.own(), "there is no file %s", short(file))
	if filepath.IsAbs(file) && !strings.HasPrefix(file, "/nix/store/") && ignored(file) {
		f.Hint("git ignores it: it is not in the repository, and must be brought to this machine or generated first")
	}
	return f
}
