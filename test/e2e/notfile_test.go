package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNoRegularFile puts a FIFO, a pipe of a shell, a socket, a device and a folder where godwit
// reads a file that somebody names: each is refused at once, and said to be what it is.
func TestNoRegularFile(t *testing.T) {
	turn(t)
	w := newWorld(t)
	net1 := w.fleetOf("", map[string]string{"web": amd64 + `deployment.secrets.k = { source = "k"; destination = "/root/k"; };`})
	w.file("k", "secret")
	fifo := filepath.Join(w.dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(w.dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for kind, path := range map[string]string{"a pipe": fifo, "a device": "/dev/zero", "a directory": w.dir, "a socket": filepath.Join(w.dir, "socket")} {
		config := filepath.Join(w.dir, "config "+kind)
		if err := os.MkdirAll(filepath.Join(config, "godwit"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(config, "godwit", "config.toml")); err != nil {
			t.Fatal(err)
		}
		secret := w.fleetOf("", map[string]string{"web": amd64 + `deployment.secrets.k = { source = "` + path + `"; destination = "/root/k"; };`})
		type try struct {
			what string
			env  []string
			args []string
		}
		tries := []try{
			{"secret", nil, []string{"upload-secrets", secret}},
			{"secret in a plan", nil, []string{"plan", secret, "switch", "--upload-secrets"}},
			{"ssh configuration", []string{"SSH_CONFIG_FILE=" + path}, []string{"exec", net1, "true"}},
			{"ssh key", []string{"SSH_IDENTITY_FILE=" + path}, []string{"exec", net1, "true"}},
			{"config.toml", []string{"XDG_CONFIG_HOME=" + config}, []string{"build", net1}},
			{"image", nil, []string{"build", "--image-file", path, net1}},
		}
		if kind != "a directory" { // which is searched for a configuration: TestDirectory
			tries = append(tries,
				try{"deployment file", nil, []string{"build", path}},
				try{"deployment file or plan", nil, []string{"deploy", path, "switch"}},
				try{"plan alone", nil, []string{"deploy", path}})
		}
		for _, c := range tries {
			t.Run(c.what+" is "+kind, func(t *testing.T) {
				w := w.as(t)
				r := w.runEnv(c.env, c.args...).exits(1)
				if !strings.Contains(r.stderr, "it is "+kind+", not a regular file") && !(kind == "a directory" && strings.Contains(r.stderr, "is a directory")) {
					t.Errorf("it does not say that it is %s:\n%s", kind, r.stderr)
				}
				if r.took > 20*time.Second {
					t.Errorf("it took %s", r.took)
				}
			})
		}
	}
	// A file behind a redirection is one.
	if r := w.start(t.Context(), nil, "hosts", "/dev/stdin").wait(); r.code != 1 || !strings.Contains(r.stderr, "/dev/stdin") {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
}

// TestDirectory: a directory stands for the configuration in it, and one without any
// is named as such.
func TestDirectory(t *testing.T) {
	turn(t)
	w := newWorld(t)
	w.fleetOf("", map[string]string{"web": amd64})
	w.run("hosts", w.dir).exits(0).outs("web")
	empty := t.TempDir()
	for _, args := range [][]string{{"build", empty}, {"deploy", empty, "switch"}, {"deploy", empty}} {
		w.run(args...).exits(1).says(empty)
	}
}
