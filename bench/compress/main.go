// Command compress measures what ssh's compression gains a push over links of
// several rates: a real host of the lab behind a TCP proxy, data that systems
// are made of (programs, libraries, scripts, texts of this machine).
//
//	go run ./bench/compress -rates 10,50,100,200,400,0
//
// bench/compress/measure.sh has the CPU side of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"godwit/test/lab"
)

func main() {
	log.SetFlags(0)
	rates := flag.String("rates", "10,50,100,200,400,0", "Mbit/s to the host, 0 is without limit")
	modes := flag.String("modes", "off,on,auto", "what --compress gets")
	megabytes := flag.Int("mb", 48, "about so much data")
	flag.Parse()
	if err := run(*rates, *modes, int64(*megabytes)*1e6); err != nil {
		log.Fatal(err)
	}
}

func run(rates, modes string, bytes int64) (err error) {
	dir, err := os.MkdirTemp("", "bench-compress-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	h, err := lab.Start(ctx, lab.Spec{Name: "compress", Dir: filepath.Join(dir, "lab")})
	if err != nil {
		return err
	}
	defer func() { _ = h.Remove(ctx) }()
	godwit := filepath.Join(dir, "godwit")
	if out, err := exec.Command("go", "build", "-o", godwit, "godwit/cmd/godwit").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	paths, total, err := data(dir, bytes)
	if err != nil {
		return err
	}
	p, err := newProxy(h.Port)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "ssh_config")
	known := filepath.Join(dir, "known")
	if err := os.WriteFile(known, fmt.Appendf(nil, "[127.0.0.1]:%d %s\n", p.port, h.HostKey), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, "Host far\n  HostName 127.0.0.1\n  Port %d\n  User root\n  IdentityFile %s\n  UserKnownHostsFile %s\n  IdentitiesOnly yes\n  IdentityAgent none\n",
		p.port, h.Identity, known), 0o600); err != nil {
		return err
	}
	fmt.Printf("%d paths, %.1f MB\n%10s", len(paths), float64(total)/1e6, "Mbit/s")
	for _, m := range strings.Split(modes, ",") {
		fmt.Printf("%26s", m)
	}
	fmt.Println()
	for _, rate := range strings.Split(rates, ",") {
		mbit, err := strconv.ParseFloat(rate, 64)
		if err != nil {
			return err
		}
		p.set(mbit)
		fmt.Printf("%10s", rate)
		for _, mode := range strings.Split(modes, ",") {
			if r := h.Exec(ctx, "rm -f /nix/var/nix/gcroots/godwit-pushed*; nix-store --delete "+strings.Join(paths, " ")+" >/dev/null 2>&1; true"); !r.OK() {
				return fmt.Errorf("cannot empty the host: %s", r)
			}
			args := []string{"push", "--compress", mode, "--to", "far"}
			for _, x := range paths {
				args = append(args, "--store-path", x)
			}
			before := p.up.Load()
			t0 := time.Now()
			cmd := exec.Command(godwit, args...)
			cmd.Env = append(os.Environ(), "SSH_CONFIG_FILE="+config, "CI=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("godwit: %w\n%s", err, out)
			}
			cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			fmt.Printf("%8.1f s %5.1f MB %5.1f s", time.Since(t0).Seconds(), float64(p.up.Load()-before)/1e6, cpu.Seconds())
		}
		fmt.Println()
	}
	fmt.Println("(time, bytes on the wire, CPU seconds of godwit and its ssh on this machine)")
	return nil
}

// data puts files of this machine into its store, 4 MB to a path.
func data(dir string, bytes int64) (paths []string, total int64, err error) {
	list, err := exec.Command("sh", "-c", `find /usr/lib/*-linux-gnu /usr/lib/git-core /usr/share/perl /usr/lib/python3* /usr/share/doc -type f -size +2k -size -8M 2>/dev/null | sort | awk 'NR % 5 == 0'`).Output()
	if err != nil {
		return nil, 0, err
	}
	seed := time.Now().String()
	tree, part := "", int64(0)
	flush := func() error {
		if tree == "" {
			return nil
		}
		out, err := exec.Command("nix-store", "--add", tree).Output()
		if err != nil {
			return fmt.Errorf("nix-store --add: %w", err)
		}
		paths = append(paths, strings.TrimSpace(string(out)))
		tree, part = "", 0
		return nil
	}
	for k, f := range strings.Fields(string(list)) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if tree == "" {
			tree = filepath.Join(dir, fmt.Sprintf("part-%d", len(paths)))
			if err := os.Mkdir(tree, 0o755); err != nil {
				return nil, 0, err
			}
			if err := os.WriteFile(filepath.Join(tree, "seed"), []byte(seed), 0o644); err != nil {
				return nil, 0, err
			}
		}
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprintf("%d-%s", k, filepath.Base(f))), b, 0o644); err != nil {
			return nil, 0, err
		}
		part += int64(len(b))
		total += int64(len(b))
		if part > 4e6 {
			if err := flush(); err != nil {
				return nil, 0, err
			}
		}
		if total > bytes {
			break
		}
	}
	return paths, total, flush()
}

// proxy is a TCP way to a port of this machine that carries a bounded rate.
type proxy struct {
	port int
	up   atomic.Int64

	mu   sync.Mutex
	mbit float64
	free time.Time
}

func newProxy(to int) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
			if err != nil {
				c.Close()
				continue
			}
			go func() {
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					p.up.Add(int64(n))
					time.Sleep(p.book(n))
					if _, werr := s.Write(b[:n]); werr != nil || err != nil {
						break
					}
				}
				s.Close()
				c.Close()
			}()
			go func() { _, _ = io.Copy(c, s); c.Close(); s.Close() }()
		}
	}()
	return p, nil
}

func (p *proxy) set(mbit float64) {
	p.mu.Lock()
	p.mbit = mbit
	p.mu.Unlock()
}

func (p *proxy) book(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mbit == 0 {
		return 0
	}
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) * 8 / p.mbit * 1000))
	return time.Until(p.free)
}
