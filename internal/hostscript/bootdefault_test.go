package hostscript

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBootDefault runs the script on the files of boot loaders, under each shell.
// Systems must be there to count, so those of the test are folders of its own.
func TestBootDefault(t *testing.T) {
	const (
		a = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-nixos-system-a"
		b = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-nixos-system-b"
	)
	bootctl := func(text string) string {
		return "#!/bin/sh\n[ \"$*\" = 'list --json=short --no-pager' ] || exit 9\ncat <<'END'\n" + text + "\nEND\n"
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		call  string
		want  string
	}{
		{name: "nothing", call: "boot_default"},
		{name: "lab", files: map[string]string{"boot/loader/default": a + "\n"}, call: "boot_files", want: a},
		{name: "systemd-boot's files", files: map[string]string{"boot/loader/loader.conf": "timeout 5\ndefault nixos-generation-2.conf\nconsole-mode keep\n",
			"boot/loader/entries/nixos-generation-1.conf": "title x\noptions init=" + a + "/init root=x\n",
			"boot/loader/entries/nixos-generation-2.conf": "title NixOS\nlinux /EFI/x\noptions root=fstab init=" + b + "/init loglevel=4\n"}, call: "boot_files", want: b},
		{name: "a pattern", files: map[string]string{"efi/loader/loader.conf": "default nixos-*\n", "efi/loader/entries/nixos-generation-1.conf": "options init=" + a + "/init\n"}, call: "boot_files", want: a},
		{name: "no such entry", files: map[string]string{"boot/loader/loader.conf": "default @saved\n"}, call: "boot_files"},
		{name: "grub", files: map[string]string{"boot/grub/grub.cfg": "menuentry {\n linux ($drive1)//kernels/x init=" + a + "/init loglevel=4\n}\nsubmenu {\n linux x init=" + b + "/init\n}\n"}, call: "boot_files", want: a},
		{name: "extlinux", files: map[string]string{"boot/extlinux/extlinux.conf": "DEFAULT nixos-default\n  APPEND init=" + a + "/init x\n"}, call: "boot_files", want: a},
		{name: "systemd-boot itself", files: map[string]string{"boot/loader/default": a + "\n",
			"bin/bootctl": bootctl(`[{"type":"type1","id":"g-1.conf","options":"init=` + a + `/init","isReported":true,"isDefault":false},{"id":"g-2.conf","options":"init=` + b + `/init loglevel=4","isReported":true,"isDefault":true,"isSelected":true}]`)},
			call: "boot_default", want: b},
		{name: "systemd-boot that does not know", files: map[string]string{"boot/loader/default": a + "\n", "bin/bootctl": bootctl("not json")}, call: "boot_default", want: a},
		{name: "as the profile", files: map[string]string{"store/a/x": ""}, call: `boot_differs "$ROOT/store/a" "$ROOT/profile"`},
		{name: "its specialisation", files: map[string]string{"store/a/specialisation/s/x": ""}, call: `boot_differs "$ROOT/store/a/specialisation/s" "$ROOT/profile"`},
		{name: "another", files: map[string]string{"store/b/x": ""}, call: `boot_differs "$ROOT/store/b" "$ROOT/profile"`, want: "ROOT/store/b"},
		{name: "gone", call: `boot_differs "$ROOT/store/c" "$ROOT/profile"`},
		{name: "not known", call: `boot_differs "" "$ROOT/profile"`},
		{name: "not readable", call: `boot_differs "?" "$ROOT/profile"`, want: "?"},
	} {
		for _, shell := range []string{"dash", "bash"} {
			root, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(root, "store/a"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("store/a", filepath.Join(root, "profile")); err != nil {
				t.Fatal(err)
			}
			script := BootDefault
			for _, place := range []string{"/boot", "/efi"} {
				script = strings.ReplaceAll(script, " "+place, " "+root+place)
			}
			cmd := exec.Command(shell, "-euc", "ROOT="+root+"\n"+script+"\n"+c.call)
			cmd.Env = []string{"PATH=" + filepath.Join(root, "bin") + ":" + os.Getenv("PATH")}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if got := strings.ReplaceAll(strings.TrimSpace(string(out)), root, "ROOT"); err != nil || got != c.want || stderr.Len() > 0 {
				t.Errorf("%s, %s: %q, want %q (%v) %s", shell, c.name, got, c.want, err, stderr.String())
			}
		}
	}
}
