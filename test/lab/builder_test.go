package lab

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"godwit/test/images"
)

// TestBuilderArchive loads the archives as godwit does and speaks the first
// words of both of Nix's protocols with a container of each.
func TestBuilderArchive(t *testing.T) {
	ctx := containers(t)
	for arch, machine := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		t.Run(arch, func(t *testing.T) {
			path := value(images.BuilderArchive(ctx, arch, io.Discard))(t)
			if _, err := os.Stat(path); err != nil {
				t.Fatal(err)
			}
			loaded := value(docker(ctx, "load", "--input", path))(t)
			_, image, ok := strings.Cut(loaded, "Loaded image: ")
			if !ok {
				t.Fatalf("docker load printed %q", loaded)
			}
			if got := value(docker(ctx, "image", "inspect", "--format", "{{.Architecture}}", image))(t); got != arch {
				t.Errorf("the image says that it is for %s", got)
			}
			id := value(docker(ctx, "run", "--detach", "--init", "--label", labelRun+"="+RunID(),
				"--label", labelOwner+"="+owner(), "--network", "none", image, "sleep", "infinity"))(t)
			t.Cleanup(func() { _, _ = docker(context.Background(), "rm", "-f", "-v", id) })
			if got := value(docker(ctx, "exec", id, "uname", "-m"))(t); got != machine {
				t.Errorf("the builder runs on %s", got)
			}
			if got := value(docker(ctx, "exec", id, "sh", "-c", "echo 1 >/tmp/x && nix-store --add /tmp/x && getent group nixbld"))(t); !strings.Contains(got, "nixbld10") {
				t.Errorf("the builder's store and build users: %s", got)
			}
			for _, c := range []struct {
				argv         []string
				hello, reply uint64
			}{
				{[]string{"nix-daemon", "--stdio"}, 0x6e697863, 0x6478696f},
				{[]string{"nix-store", "--serve", "--write"}, 0x390c9deb, 0x5452eecb},
			} {
				quick, cancel := context.WithTimeout(ctx, 30*time.Second)
				cmd := exec.CommandContext(quick, "docker", append([]string{"exec", "-i", id}, c.argv...)...)
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// The input stays open: Nix gives up when its client hangs up.
				reply := make([]byte, 8)
				err = binary.Write(stdin, binary.LittleEndian, []uint64{c.hello, 0x122})
				if err == nil {
					_, err = io.ReadFull(stdout, reply)
				}
				stdin.Close()
				_ = cmd.Wait()
				cancel()
				if err != nil || binary.LittleEndian.Uint64(reply) != c.reply {
					t.Errorf("%v answered %x: %v", c.argv, reply, err)
				}
			}
		})
	}
}
