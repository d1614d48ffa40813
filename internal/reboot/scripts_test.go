package reboot

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"godwit/internal/hostscript"
	"godwit/internal/profile/nixos"
)

var shells = []string{"dash", "bash"}

// sample is a reboot's variables below root.
func sample(root, loader string) variables {
	v := places()
	for k, path := range v {
		v[k] = root + path
	}
	maps.Copy(v, variables{"ID": "20260101T000000-abcdef", "NEW": "/nix/store/n-nixos", "OLD": "/nix/store/o-nixos", "PROFILE": root + "/profiles/system",
		"LINK": "system-1-link", "LOADER": loader, "ACTION": "boot", "LIMIT": "60", "LOADER_MAX": "2", "STARTED": "1", "META": "", "BESIDE_SH": "", "BESIDE_MAX": "0"})
	return v
}

func composed(t *testing.T) map[string]string {
	t.Helper()
	v := sample("", "lab")
	out := map[string]string{}
	for name, make := range map[string]func() (string, error){
		"once.sh": v.target, "probe.sh": v.probe,
		"go.sh":     func() (string, error) { return v.send("go", "") },
		"attach.sh": func() (string, error) { return v.attach("back", "no", "") },
		"back.sh":   func() (string, error) { return v.send("back", "checks failed: it's \"odd\"; $(x)"[:13]) },
	} {
		text, err := make()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = text
	}
	return out
}

func TestScripts(t *testing.T) {
	for name, script := range composed(t) {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, sh := range shells {
			if out, err := exec.Command(sh, "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%s -n %s: %s", sh, name, out)
			}
			// Cut off anywhere, nothing of it runs.
			for cut := 10; cut < strings.LastIndex(script, "}"); cut += len(script)/8 + 1 {
				dir := t.TempDir()
				cmd := exec.Command(sh, "-s")
				cmd.Dir, cmd.Env = dir, []string{"PATH=" + dir}
				cmd.Stdin = strings.NewReader(strings.Replace(script[:cut], "{\n", "{\necho ran >ran\n", 1))
				_ = cmd.Run()
				if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
					t.Errorf("%s: %s cut at %d ran", sh, name, cut)
				}
			}
		}
		if testing.Short() {
			continue
		}
		if out, err := exec.Command("shellcheck", "-s", "sh", "-e", "SC2034,SC2154,SC2317,SC2329", file).CombinedOutput(); err != nil {
			t.Errorf("shellcheck %s: %v\n%s", name, err, out)
		}
	}
	if _, err := (variables{"REASON": "it's"}).text(); err == nil {
		t.Error("a quote passes")
	}
}

// TestGoInAnotherBoot: a host that is back before the answer to go was read is asked
// again, and begins nothing then.
func TestGoInAnotherBoot(t *testing.T) {
	for _, sh := range shells {
		root := t.TempDir()
		v := sample(root, "lab")
		v["ASKED"] = "one"
		if err := os.MkdirAll(filepath.Dir(v["BOOTID"]), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(v["BOOTID"], []byte("two\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		script, err := v.send("go", "")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(sh, "-s")
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "boot two\n") || !strings.HasSuffix(string(out), "end\n") {
			t.Errorf("%s: %v\n%s", sh, err, out)
		}
		if _, err := os.Stat(v["RUN"]); err == nil {
			t.Errorf("%s: it began in another boot:\n%s", sh, out)
		}
	}
}

// TestLoaderHangs: a boot loader that hangs is killed with its children, also
// when all of them ignore SIGTERM, and nothing of the watchdog stays.
func TestLoaderHangs(t *testing.T) {
	for i, sh := range shells {
		t.Run(sh, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			// Of this run and shell alone.
			limit := fmt.Sprint(73020 + i + 10*os.Getpid())
			put(t, root, "sys/bin/switch-to-configuration", "#!/bin/sh\ntrap '' TERM\nsleep 7301 &\necho $! >"+root+"/child\nwait\n")
			put(t, root, "ok/bin/switch-to-configuration", "#!/bin/sh\nexit \"$(cat "+root+"/rc)\"\n")
			put(t, root, "rc", "4")
			for _, name := range []string{"sys", "ok"} {
				if err := os.Chmod(filepath.Join(root, name, "bin/switch-to-configuration"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			// The output ends only when nobody holds it any more.
			says := func(words, want string) {
				t.Helper()
				if got := loaderRun(t, sh, root, "trap '' HUP PIPE TERM; "+words, nil); got != want {
					t.Errorf("%s: %q, not %q", words, got, want)
				}
			}
			// A process that was killed is there until it gets its turn, and in /proc until somebody has reaped it.
			alive := "grep -qs '^State:[[:space:]]*[A-WY]' /proc/$(cat " + root + "/child)/status"
			says("stc "+root+"/sys; echo $? $stc_why; n=0; while "+alive+" && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; "+alive+" && echo alive", "137 killed; its limit is 2s")
			says("LOADER_MAX="+limit+"; stc "+root+"/ok; echo $? $stc_why; n=0; while pgrep -f '^sleep "+limit+"$' >/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; pgrep -f '^sleep "+limit+"$'", "4 exit 4")
			put(t, root, "rc", "0")
			says("LOADER_MAX="+limit+"; stc "+root+"/ok; echo $?", "0")
			// Somebody else's switch is waited for: seen, and only met.
			put(t, root, "met/bin/switch-to-configuration", "#!/bin/sh\nif rm "+root+"/taken; then echo Could not acquire lock; exit 11; fi 2>/dev/null\necho set\n")
			if err := os.Chmod(filepath.Join(root, "met/bin/switch-to-configuration"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, root, "taken", "")
			logged := `mkdir -p "$D"; exec 3>&1 >>"$D/log" 2>&1; LOADER_MAX=20; `
			says(logged+"stc "+root+"/met; echo $? $stc_why >&3; cat $D/log >&3", "0 exit 0\nCould not acquire lock\ngodwit: waiting for another switch-to-configuration to end\nset")
			put(t, root, "run/nixos/switch-to-configuration.lock", "")
			taken := `until ! flock -n "$SWITCH_LOCK" true; do sleep 0.05; done; `
			says(logged+`flock "$SWITCH_LOCK" sleep 2 3>&- & `+taken+`stc `+root+`/ok; echo $? >&3; grep -c 'waiting for another .* (process [0-9]* flock)' "$D/log" >&3`, "0\n1")
			says(logged+`LOADER_MAX=1; flock -F "$SWITCH_LOCK" sleep 60 3>&- & `+taken+`stc `+root+`/ok; echo $? $stc_why >&3; kill -9 $!`, "75 another switch-to-configuration did not end within 1s")
		})
	}
}

// TestHolderAmongMany: who holds the lock is seen on a host on which many locks come and
// go, which move the entries of /proc/locks.
func TestHolderAmongMany(t *testing.T) {
	root := t.TempDir()
	lock := func(name string) (take, leave func()) {
		put(t, root, name, "")
		f, err := os.Open(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		how := func(how int) func() {
			return func() {
				if err := syscall.Flock(int(f.Fd()), how); err != nil {
					t.Error(err)
				}
			}
		}
		return how(syscall.LOCK_EX), how(syscall.LOCK_UN)
	}
	take, _ := lock("run/nixos/switch-to-configuration.lock")
	take()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 2 {
		var turns [100][2]func()
		for n := range turns {
			turns[n][0], turns[n][1] = lock(fmt.Sprint("others/", i, "-", n))
		}
		wg.Go(func() {
			for n := 0; ; n = (n + 1) % len(turns) {
				select {
				case <-done:
					return
				default:
				}
				turns[n][0]()
				turns[(n+len(turns)/2)%len(turns)][1]()
			}
		})
	}
	for _, sh := range shells {
		got := loaderRun(t, sh, root, `n=0 missed=0; while [ $n -lt 60 ]; do n=$((n + 1)); switch_holder >/dev/null || missed=$((missed + 1)); done; switch_holder; echo "missed $missed"`, nil)
		if want := fmt.Sprintf("%d reboot.test\nmissed 0", os.Getpid()); got != want {
			t.Errorf("%s: %q, not %q", sh, got, want)
		}
	}
	close(done)
	wg.Wait()
}

// loaderRun runs words of the loader seam below root, with programs of its own.
func loaderRun(t *testing.T, sh, root, words string, programs map[string]string) string {
	t.Helper()
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	head, err := sample(root, "").text()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, "-s")
	cmd.Stdin = strings.NewReader(hostscript.Compound(head, hostscript.Real, hostscript.Uptime, nixos.Switching, part("words"), part("loader"), "PATH="+bin+":$PATH", words))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("%s: %v", words, err)
	}
	return strings.TrimSpace(string(out))
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The forms of real loaders: what bootctl and install-grub.pl write.
func TestLoaders(t *testing.T) {
	for _, sh := range shells {
		t.Run(sh, func(t *testing.T) {
			root := t.TempDir()
			says := func(words, want string, programs map[string]string) {
				t.Helper()
				if got := loaderRun(t, sh, root, words, programs); got != want {
					t.Errorf("%s: %q, not %q", words, got, want)
				}
			}
			says("loader_probe", "- the system that runs there has no switch-to-configuration", nil)
			put(t, root, "run/current-system/bin/switch-to-configuration", "")
			if err := os.Chmod(filepath.Join(root, "run/current-system/bin/switch-to-configuration"), 0o755); err != nil {
				t.Fatal(err)
			}
			says("loader_probe", "- no boot loader was found that can boot an entry once", nil)
			put(t, root, "boot/extlinux/extlinux.conf", "")
			says("loader_probe", "- extlinux cannot boot an entry once", nil)

			put(t, root, "boot/grub/grub.cfg", "set default=0\n")
			says("loader_probe", "- this GRUB menu does not read next_entry", nil)
			put(t, root, "boot/grub/grub.cfg", `
if [ "${next_entry}" ]; then
  set default="${next_entry}"
  set next_entry=
  save_env next_entry
fi
menuentry "NixOS" --class nixos --unrestricted {
  linux ($drive1)//kernels/x init=/nix/store/o-nixos/init loglevel=4
}
submenu "NixOS - All configurations" --class submenu {
menuentry "NixOS - Configuration 1 (2026-01-01 - 26.05)" --class nixos {
  linux ($drive1)//kernels/x init=/nix/store/o-nixos/init loglevel=4
}
menuentry "NixOS - Configuration 2 (2026-01-02 - 26.05) - special" --class nixos {
  linux ($drive1)//kernels/x init=/nix/store/n-nixos/specialisation/special/init loglevel=4
}
menuentry "NixOS - Configuration 2 (2026-01-02 - 26.05)" --class nixos {
  linux ($drive1)//kernels/x init=/nix/store/n-nixos/init
  initrd ($drive1)//kernels/y
}
}
`)
			grub := map[string]string{
				"grub-reboot":  `[ "$1" = --boot-directory=` + root + `/boot ] && echo "next_entry=$2" >` + root + `/env`,
				"grub-editenv": `case $2 in list) cat ` + root + `/env ;; unset) echo "next_entry=" >` + root + `/env ;; esac`,
				"stat":         `echo ext2/ext3`,
				"df":           `printf 'Filesystem\n/dev/vda1 1 1 1\n'`,
			}
			says("loader_probe", "grub", grub)
			entry := "NixOS - All configurations>NixOS - Configuration 2 (2026-01-02 - 26.05)"
			says("grub_entry /nix/store/n-nixos", entry, nil)
			says("grub_entry /nix/store/o-nixos", "NixOS", nil)
			says("grub_entry /nix/store/x-nixos", "", nil)
			says(fmt.Sprintf("grub_once '%s' && cat %s/env; grub_clear; cat %s/env", entry, root, root), "next_entry="+entry+"\nnext_entry=", nil)
			says("loader_probe", "- GRUB cannot write to the file system of "+root+"/boot, so it would not forget the entry",
				map[string]string{"df": `printf 'Filesystem\n/dev/mapper/vg-boot 1 1 1\n'`})
			says("loader_probe", "- GRUB cannot write to the file system of "+root+"/boot, so it would not forget the entry",
				map[string]string{"stat": "echo btrfs"})

			// systemd-boot comes first; UTF-16 after four bytes of attributes.
			put(t, root, "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", "\x06\x00\x00\x00"+strings.Join(strings.Split("systemd-boot 257.6", ""), "\x00")+"\x00")
			bootctl := map[string]string{"bootctl": `case "$*" in
*list) printf '%s' '[{"type":"type1","source":"esp","id":"nixos-generation-1.conf","path":"/boot/loader/entries/nixos-generation-1.conf","title":"NixOS","machineId":"x","options":"init=/nix/store/o-nixos/init loglevel=4","linux":"/EFI/nixos/k.efi","initrd":["/EFI/nixos/i.efi"],"isDefault":true},{"type":"type1","source":"esp","id":"nixos-2k.conf","path":"/boot/loader/entries/nixos-2k.conf","title":"NixOS (special)","options":"init=/nix/store/n-nixos/specialisation/special/init"},{"type":"type1","source":"esp","id":"nixos-3f.conf","path":"/boot/loader/entries/nixos-3f+3.conf","options":"init=/nix/store/n-nixos/init loglevel=4","initrd":["a","b"]}]' ;;
set-oneshot*) echo "oneshot <$2>" ;;
esac`}
			says("loader_probe", "sdboot", bootctl)
			says("sdboot_entry /nix/store/n-nixos", "nixos-3f.conf", nil)
			says("sdboot_entry /nix/store/o-nixos", "nixos-generation-1.conf", nil)
			says("sdboot_entry /nix/store/x-nixos", "", nil)
			says("sdboot_once nixos-3f.conf; sdboot_clear", "oneshot <nixos-3f.conf>\noneshot <>", nil)

			put(t, root, "boot/loader/default", "/nix/store/o-nixos\n")
			put(t, root, "boot/loader/entries/nixos-generation-2", "/nix/store/n-nixos\n")
			says("loader_probe", "lab", nil)
			says("lab_once $(lab_entry /nix/store/n-nixos); cat "+root+"/boot/loader/oneshot; lab_clear; ls "+root+"/boot/loader", "/nix/store/n-nixos\ndefault\nentries", nil)
		})
	}
}
