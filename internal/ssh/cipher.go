package ssh

import (
	"context"
	"runtime"
	"slices"
	"strings"
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
	mine := h.configured(ctx).ciphers
	if mine == "" || mine != h.pool.builtin(ctx) {
		return nil
	}
	better, ok := PreferAES(mine)
	if !ok {
		return nil
	}
	return []string{"-o", "Ciphers=" + better}
}
