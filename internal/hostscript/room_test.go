package hostscript

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func sh(t *testing.T, shell, script string, args ...string) string {
	t.Helper()
	out, err := exec.Command(shell, append([]string{"-c", RoomOf + script, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestRoomOf(t *testing.T) {
	for _, shell := range []string{"dash", "bash"} {
		r, err := ParseRoom(sh(t, shell, `room_of "$1"`, t.TempDir()))
		if err != nil || r.Bytes <= 0 || r.Inodes == 0 {
			t.Errorf("%s: %+v, %v", shell, r, err)
		}
		// A file system of which nobody counts the inodes.
		if got := sh(t, shell, `stat() { echo "4096 25 0 0"; }; room_of /`); got != "100 -" {
			t.Errorf("%s: %q", shell, got)
		}
		if got := sh(t, shell, `stat() { echo "4096 25 65536 0"; }; room_of /`); got != "100 0" {
			t.Errorf("%s: %q", shell, got)
		}
		// A stat that knows no file systems, or is none of GNU's.
		for _, stat := range []string{"return 1", "echo -c; return 1", `echo "? ? ? ?"`} {
			if got := sh(t, shell, `stat() { `+stat+`; }; room_of /`); !regexp.MustCompile(`^[1-9][0-9]* -$`).MatchString(got) {
				t.Errorf("%s: %s: %q", shell, stat, got)
			}
		}
		if got := sh(t, shell, `room_of /no/such/folder`); got != "" {
			t.Errorf("%s: %q", shell, got)
		}
	}
	for said, want := range map[string]Room{"10 20": {10 << 10, 20}, "10 -": {10 << 10, -1}, "0 0": {0, 0}} {
		if r, err := ParseRoom(said); err != nil || r != want {
			t.Errorf("%q: %+v, %v", said, r, err)
		}
	}
	for _, said := range []string{"", "10", "x 1", "1 x", "1 2 3"} {
		if r, err := ParseRoom(said); err == nil {
			t.Errorf("%q: %+v", said, r)
		}
	}
}

// TestOwnIDs: what the kernel says of a shell is what id says.
func TestOwnIDs(t *testing.T) {
	for _, shell := range []string{"dash", "bash"} {
		if got, want := sh(t, shell, `own_ids; echo "$own_uid $own_gid"`), sh(t, shell, `echo "$(id -u) $(id -g)"`); got != want {
			t.Errorf("%s: %q, want %q", shell, got, want)
		}
	}
}

func TestOwnFolder(t *testing.T) {
	for mode, want := range map[os.FileMode]string{0o700: "own", 0o755: "own", 0o775: "own", 0o777: "not", 0o777 | os.ModeSticky: "not", 0o750 | os.ModeSetgid: "own", 0o722: "not"} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		for _, shell := range []string{"dash", "bash"} {
			if got := sh(t, shell, `if own_folder "$1"; then echo own; else echo not; fi`, dir); got != want {
				t.Errorf("%s: %v: %s", shell, mode, got)
			}
			if got := sh(t, shell, `own_ids() { own_uid=$(id -u) own_gid=4711; }; if own_folder "$1"; then echo own; else echo not; fi`, dir); got != want && mode != 0o775 || mode == 0o775 && got != "not" {
				t.Errorf("%s: %v and another group: %s", shell, mode, got)
			}
			if got := sh(t, shell, `own_ids() { own_uid=4711 own_gid=4711; }; if own_folder "$1"; then echo own; else echo not; fi`, dir); got != "not" {
				t.Errorf("%s: of somebody else: %s", shell, got)
			}
			if got := sh(t, shell, `if own_folder "$1/none"; then echo own; else echo not; fi`, dir); got != "not" {
				t.Errorf("%s: not there: %s", shell, got)
			}
		}
	}
}
