package e2e

import (
	"strings"
	"testing"
)

// TestPowerCutDuringCopy is the host after a power cut in the middle of a copy:
// the mark of the copy names another boot, and a file that Nix holds for whole is
// empty (test/realboot sees that happen; a container shares its kernel's boot).
func TestPowerCutDuringCopy(t *testing.T) {
	web := host(t, "web")
	w := newWorld(t, web)
	const mark = "/nix/var/nix/godwit-copying"
	top, all := w.blobs(3, 1, false)
	push := []string{"push", "--store-path", top, "--to", "web"}
	hollow := func(mentioned string) string {
		for _, p := range all {
			if strings.Contains(p, mentioned) {
				on(t, web, "chmod u+w "+p+"; : > "+p)
				return p
			}
		}
		t.Fatalf("no path is called %s: %s", mentioned, all)
		return ""
	}
	older := func() { on(t, web, "echo another-boot 0 > "+mark) }

	// The mark goes when the copy is whole, also when there is nothing to copy.
	older()
	w.run(push...).exits(0).saysNot("lost power")
	if left := on(t, web, "ls -d "+mark+" 2>/dev/null || echo gone"); left != "gone" {
		t.Errorf("after the copy there is still %s", left)
	}
	w.run(push...).exits(0)
	if left := on(t, web, "ls -d "+mark+" 2>/dev/null || echo gone"); left != "gone" {
		t.Errorf("after a copy of nothing there is still %s", left)
	}

	// What is damaged is taken away with what refers to it, and copied again.
	forget(t, web, all...)
	older()
	on(t, web, "cp "+mark+" /tmp/mark; cp -p "+mark+" /tmp/mark")
	w.run(push...).exits(0)
	on(t, web, "rm -f /nix/var/nix/gcroots/godwit-pushed*; cp -p /tmp/mark "+mark)
	bad := hollow("-blob-1")
	hollow("-blob-2")
	w.run(push...).exits(0).says("lost power during an earlier copy, which damaged 2 paths:")
	if got := valid(t, web, all); len(got) != len(all) {
		t.Errorf("of %d paths these are whole: %s", len(all), got)
	}
	on(t, web, "nix-store --verify-path "+bad)

	// What cannot be verified is not passed over.
	on(t, web, "cp -p /tmp/mark "+mark+"; printf '#!/bin/sh\nexit 1\n' >/tmp/find; chmod +x /tmp/find; mount --bind /tmp/find $(readlink -f $(command -v find))")
	w.run(push...).exits(3).says("cannot be verified there", "nix-store --verify --check-contents --repair && rm "+mark)
	on(t, web, "umount -l $(readlink -f $(command -v find)); rm /tmp/find")
	w.run(push...).exits(0)

	// What is in use cannot go away: said, and the mark stays for the next time.
	on(t, web, "cp -p /tmp/mark "+mark)
	bad = hollow("-blob-2") // the root of the push holds it
	w.run(push...).exits(3).says("the host lost power during a copy", bad, "nix-store --verify --check-contents --repair")
	if left := on(t, web, "cat "+mark); !strings.Contains(left, "another-boot") {
		t.Errorf("the mark is %q", left)
	}
	on(t, web, "rm -f /nix/var/nix/gcroots/godwit-pushed* /tmp/mark")
	w.run(push...).exits(0).says("which damaged 1 path:")
	if got := valid(t, web, all); len(got) != len(all) {
		t.Errorf("of %d paths these are whole: %s", len(all), got)
	}
	on(t, web, "rm -f /nix/var/nix/gcroots/godwit-pushed*")
}
