package ssh

import (
	"context"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/cpu"
)

const (
	aesGCM = "aes128-gcm@openssh.com"
	chacha = "chacha20-poly1305@openssh.com"
)

// aesHere tells whether this machine has instructions for AES and GCM.
var aesHere = func() bool {
	switch runtime.GOARCH {
	case "amd64":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ
	case "arm64":
		// Every Mac with an ARM processor; cpu does not look on macOS.
		return runtime.GOOS == "darwin" || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
	}
	return false
}

// PreferAES puts AES-GCM before ChaCha20 in a list of ciphers (separated by commas,
// as `ssh -G` prints it) and tells whether that changed it. No cipher is added: what
// the list does not allow stays forbidden.
//
// OpenSSH prefers ChaCha20, whose Poly1305 it computes without vector instructions:
// a GiB costs half a second more on each end than with AES-GCM where the processor
// has instructions for that (bench/push).
func PreferAES(ciphers string) (string, bool) {
	list := strings.Split(ciphers, ",")
	from, to := slices.Index(list, aesGCM), slices.Index(list, chacha)
	if from < 0 || to < 0 || from < to {
		return ciphers, false
	}
	list = slices.Insert(slices.Delete(list, from, from+1), to, aesGCM)
	return strings.Join(list, ","), true
}

// ciphers is what a pool knows of the ciphers of its configuration.
type ciphers struct {
	sync.Once
	builtin string // of ssh where nobody configures any; empty when it does not say
	common  string // of every host; empty where they may differ
}

// configured gives the ciphers that ssh is configured to use with h. Where no file
// of the configuration names any, one question to ssh does for all hosts.
func (h *Host) configured(ctx context.Context) (mine, builtin string) {
	p := h.pool
	value := func(args ...string) (ciphers, said string) {
		// An error leaves it empty, and every connection as it is.
		said, _ = p.configuration(ctx, args, func(key, value string) {
			if key == "ciphers" {
				ciphers = value
			}
		})
		return ciphers, said
	}
	args := h.args("", false, "true")
	p.ciphers.Do(func() {
		p.ciphers.builtin, _ = value("-F", "none", "localhost")
		common, said := value(append([]string{"-v"}, args...)...)
		if noFileSays(said, anyCiphers) {
			p.ciphers.common = common
		}
	})
	if p.ciphers.common != "" {
		return p.ciphers.common, p.ciphers.builtin
	}
	mine, _ = value(args...)
	return mine, p.ciphers.builtin
}

// An Include may name a file for each host: "Include conf.d/%h".
var anyCiphers = regexp.MustCompile(`(?i)ciphers|include.*%`)

// cipherArgs are options for a connection to a host that costs less with AES: where
// both ends can be taken to have the instructions, and neither a configuration nor
// an option of the user says which ciphers to use. Of ARM boards many have none
// (Raspberry Pi 4 and older), so that only x86_64 counts there.
func (h *Host) cipherArgs(ctx context.Context) []string {
	h.mu.Lock()
	system := h.system
	h.mu.Unlock()
	if !strings.HasPrefix(system, "x86_64-") || !aesHere() {
		return nil
	}
	// Less than ssh itself may take.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	mine, builtin := h.configured(ctx)
	if mine == "" || mine != builtin {
		return nil
	}
	better, ok := PreferAES(mine)
	if !ok {
		return nil
	}
	return []string{"-o", "Ciphers=" + better}
}
