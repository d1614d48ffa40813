package ship

import (
	"crypto/sha256"
	"debug/elf"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/regular"
	"godwit/internal/secrets/onhost"
)

// programs has what programs.sh built, if it was run before this was.
//
//go:embed programs
var programs embed.FS

// program is what runs on a host of an architecture.
type program struct {
	text []byte
	sum  string // its SHA-256
}

// architectures are Go's names of what `uname -m` says.
var architectures = map[string]string{"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

// maxProgram bounds a program, in bytes.
const maxProgram = 128 << 20

// programFor finds the program for a host whose `uname -s -m` is given: beside godwit
// itself, in what godwit was built with, or godwit itself where it can run there.
func programFor(uname string) (program, error) {
	system, machine, _ := strings.Cut(uname, " ")
	arch := architectures[machine]
	if system != "Linux" || arch == "" {
		return program{}, fault.New("secrets that rest on a host need Linux on x86_64 or aarch64 there, and it is %s", uname).
			Hint("give the host its secrets in deployment.secrets, which are pushed at each deployment")
	}
	name := onhost.Name + "-linux-" + arch
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return program{}, fmt.Errorf("godwit cannot find its own program: %w", err)
	}
	beside := filepath.Dir(self)
	for _, at := range []string{filepath.Join(beside, name), filepath.Join(beside, "..", "libexec", "godwit", name)} {
		text, err := read(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return named(text), err
	}
	if text, err := programs.ReadFile("programs/" + name); err == nil {
		return named(text), nil
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == arch && static(self) {
		text, err := read(self)
		return named(text), err
	}
	return program{}, fault.New("this godwit has no program that decrypts secrets on linux/%s", arch).
		Detail(fmt.Sprintf("looked for %s beside %s and in ../libexec/godwit, and in godwit itself", name, self)).
		Hint("CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -o %s godwit/cmd/%s, in godwit's source", arch, filepath.Join(beside, name), onhost.Name)
}

func named(text []byte) program {
	sum := sha256.Sum256(text)
	return program{text, hex.EncodeToString(sum[:])}
}

func read(at string) ([]byte, error) {
	f, err := regular.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded.ReadAll(f, at, maxProgram)
}

// static tells whether a program needs nothing else of a host: NixOS has no loader where
// others look for it.
func static(at string) bool {
	f, err := elf.Open(at)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
