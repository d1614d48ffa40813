package nixtest

import (
	"os/exec"
	"testing"
	"time"
)

// Delete removes a path from this machine's store; args are further ones of nix-store
// --delete. A process of Nix that has just worked with the path may live a moment longer,
// and holds it.
func Delete(t testing.TB, path string, args ...string) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		out, err := exec.Command("nix-store", append(append([]string{"--delete"}, args...), path)...).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v: %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
