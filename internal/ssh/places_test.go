package ssh_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
	"godwit/test/leftover"
)

// TestFewOpenFiles runs many hosts, some of which do not answer, in a process that may
// have few files open: all others answer, soon, and what there is too little of is said
// once.
func TestFewOpenFiles(t *testing.T) {
	const good, holes, files = 40, 12, 128
	if config := os.Getenv("GODWIT_TEST_FEW"); config != "" {
		fewOpenFiles(t, config)
		return
	}
	if testing.Short() {
		t.Skip("logs in 90 times")
	}
	t.Parallel()
	s := sshtest.Start(t)
	silent := silentPort(t)
	c := exec.Command("/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, files), "sh", os.Args[0], "-test.run=^TestFewOpenFiles$", "-test.v")
	c.Env = append(os.Environ(), "GODWIT_TEST_FEW="+s.ConfigFile, fmt.Sprintf("GODWIT_TEST_PORTS=%d %d %d %d", s.Port, silent, good, holes))
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), fmt.Sprintf("a process may have %d files open here", files)); n != 1 {
		t.Errorf("said %d times that files are few", n)
	}
}

func fewOpenFiles(t *testing.T, config string) {
	var port, silent, good, holes int
	_, _ = fmt.Sscan(os.Getenv("GODWIT_TEST_PORTS"), &port, &silent, &good, &holes)
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: config, ConnectTimeout: 10 * time.Second, // for 52 logins at once
		Sink: event.SinkFunc(func(e event.Event) { fmt.Println(e.Text, e.Hints) })})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	most := 0
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				d, _ := os.ReadDir("/proc/self/fd")
				most = max(most, len(d))
			}
		}
	}()
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered, failed := 0, 0
	var last time.Duration
	for i := range good + holes {
		t1 := ssh.Target{Name: fmt.Sprint("host", i), Host: "127.0.0.1", Port: silent}
		bad := i < holes // in front
		if !bad {
			t1.Port = port
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			h := pool.Host(t1)
			var err error
			for range 2 { // a second command may find its connection gone to others
				if err = h.Run(ctx, host.Cmd{Script: "sleep 0.1"}); err != nil {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case bad && host.KindOf(err) == host.Timeout:
				failed++
			case !bad && err == nil:
				answered++
				last = time.Since(begun)
			default:
				t.Errorf("%s: %v", t1.Name, err)
			}
		})
	}
	wg.Wait()
	close(stop)
	<-stopped
	pool.Close()
	t.Logf("%d answered, the last after %.1f s; %d did not; %d files open at most", answered, last.Seconds(), failed, most)
	if answered != good || failed != holes {
		t.Error("not all")
	}
}

// TestKilledWithHostThatStays kills a process in every way that leaves it no time, while
// a host keeps its end of each session open: no ssh is left, and no socket.
func TestKilledWithHostThatStays(t *testing.T) {
	if config := os.Getenv("GODWIT_TEST_STAYS"); config != "" {
		p, err := ssh.NewPool(ssh.Options{ConfigFile: config, Elevate: ssh.ElevateNone})
		if err != nil {
			t.Fatal(err)
		}
		var port int
		_, _ = fmt.Sscan(os.Getenv("GODWIT_TEST_PORT"), &port)
		h := p.Host(ssh.Target{Name: "web1", Host: "127.0.0.1", Port: port})
		if err := h.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, fresh := range []bool{false, true} {
			go func() { _ = h.Run(t.Context(), host.Cmd{Script: "x", Fresh: fresh, Limit: host.NoLimit}) }()
		}
		time.Sleep(time.Hour)
	}
	t.Parallel()
	s, _, _ := hostileHost(t, stays)
	runtime, err := os.MkdirTemp("/tmp", "gw")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(runtime)
	c := exec.Command(os.Args[0], "-test.run=^TestKilledWithHostThatStays$")
	c.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtime, "GODWIT_TEST_STAYS="+s.ConfigFile, fmt.Sprintf("GODWIT_TEST_PORT=%d", s.Port))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); s.Commands() < 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d commands", s.Commands())
		}
	}
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	c.Wait()
	begun := time.Now()
	for {
		left, err := leftover.Processes(s.ConfigFile)
		if err != nil {
			t.Fatal(err)
		}
		dirs, _ := os.ReadDir(runtime)
		if left == "" && len(dirs) == 0 && s.Connections() == 0 {
			break
		}
		if time.Since(begun) > 15*time.Second {
			t.Fatalf("left: %d connections, %v\n%s", s.Connections(), dirs, left)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("nothing left after %.1f s", time.Since(begun).Seconds())
}
