package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDirect lets one host, as an ssh builder, send to another past this
// machine.
func TestDirect(t *testing.T) {
	own := hosts(t, "web", "spare")
	web, spare := own[0], own[1]
	w := newWorld(t, web, spare)
	_, all := w.blobs(3, 2, false)
	w.run("push", "--store-path", "./result", "--to", "root@web").exits(0)
	// Both can use this address: this machine and the builder.
	address := on(t, spare, "hostname -I | cut -d ' ' -f 1")
	known := w.file("known-direct", address+" "+spare.HostKey+"\n")
	config := filepath.Join(w.dir, "ssh_config")
	old, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(old, fmt.Sprintf("\nHost %s\n  IdentityFile %s\n  UserKnownHostsFile %s\n  IdentitiesOnly yes\n", address, spare.Identity, known)...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(spare.Identity)
	if err != nil {
		t.Fatal(err)
	}
	const home = "d=$(getent passwd nobodyuser | cut -d: -f6)/.ssh; "
	takeKey := func() { on(t, web, home+"rm -rf $d") }
	giveKey := func() {
		on(t, web, home+fmt.Sprintf("mkdir -p $d; cat >$d/id_ed25519 <<'E'\n%sE\nchmod 700 $d; chmod 600 $d/*; chown -R nobodyuser $d", key))
	}
	t.Cleanup(func() {
		takeKey()
		on(t, web, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
	})
	push := func(env []string, more ...string) result {
		t.Helper()
		args := append([]string{"push", "--store-path", "./result", "--from", "ssh://nobodyuser@web", "--to", "deploy@" + address}, more...)
		r := w.runEnv(env, args...).exits(0)
		if got := valid(t, spare, all); len(got) != len(all) {
			t.Errorf("spare has %d of %d paths:\n%s", len(got), len(all), r.stderr)
		}
		if n := sent(t, r, address); n != len(all) && !slices.Contains(more, "--json") {
			t.Errorf("%d paths copied, want %d:\n%s", n, len(all), r.stderr)
		}
		on(t, spare, "test -L /nix/var/nix/gcroots/godwit-pushed")
		forget(t, spare, all...)
		return r
	}
	const direct, cannot = ", directly from ssh://nobodyuser@web", "cannot send to this host by itself"

	takeKey()
	push(nil, "--direct").saysNot(direct).says(cannot, "Permission denied", "sending through this machine")

	// It has a key, and only this machine knows the host's.
	giveKey()
	push(nil, "--direct").says(direct).saysNot(cannot)
	// auto gives the builder two seconds, which a machine that runs other tests may not have at once.
	for try := 1; ; try++ {
		if r := push(nil).saysNot(cannot); strings.Contains(r.stderr, direct) {
			break
		} else if try == 10 {
			t.Fatalf("auto never went the direct way:\n%s", r.stderr)
		}
	}
	r := push(nil, "--direct", "--json")
	bytes := 0
	if _, rest, ok := strings.Cut(r.stdout+r.stderr, `"direct":"`); ok {
		_, _ = fmt.Sscanf(rest, "%d", &bytes)
	}
	if bytes < 6<<20 || !strings.Contains(r.stdout+r.stderr, `"relayed":"0"`) {
		t.Errorf("%d bytes went directly:\n%s%s", bytes, r.stdout, r.stderr)
	}
	push(nil, "--direct=off").saysNot(direct, cannot)
	if left := on(t, web, home+"ls -A $d; ls -A /tmp | grep '^tmp\\.' || true"); left != "id_ed25519" {
		t.Errorf("left on the builder: %q", left)
	}

	// Nobody knows the host's key: what this machine is told to let pass is not
	// let pass there.
	push([]string{"SSH_SKIP_HOST_KEY_CHECK=1"}, "--direct").saysNot(direct).says(cannot, "Host key verification failed")

	takeKey()
	push(nil).saysNot(direct, cannot) // auto says nothing
}
