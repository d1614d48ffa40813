package leash_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/leash"
)

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("GODWIT_LEASH_TEST")
	if dir == "" {
		os.Exit(m.Run())
	}
	var release []func()
	start := func(script string) int {
		c := exec.Command("/bin/sh", "-c", script)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			panic(err)
		}
		release = append(release, leash.Group(c.Process.Pid))
		return c.Process.Pid
	}
	plain, free := start("sleep 1000 & wait"), start("exec sleep 1000")
	// As a Nix that lost its interrupt, with a builder in a session of its own.
	builder := filepath.Join(dir, "builder")
	deaf := start("trap '' TERM; setsid sh -c 'echo $$ >\"$0.new\"; mv \"$0.new\" \"$0\"; sleep 1000; :' '" + builder + "' & while :; do sleep 1; done")
	for !exists(builder) {
		time.Sleep(10 * time.Millisecond)
	}
	release[1]()
	held, kept := filepath.Join(dir, "held by us"), filepath.Join(dir, "kept")
	for _, d := range []string{held, kept} {
		if err := os.Mkdir(d, 0o700); err != nil {
			panic(err)
		}
		if _, err := net.Listen("unix", d+"/m1"); err != nil {
			panic(err)
		}
	}
	letGo := leash.Sockets(kept)
	leash.Sockets(held)
	letGo()
	fmt.Println(plain, deaf, free)
	time.Sleep(time.Hour)
}

// What is held ends with a process that is killed; what was let go stays.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "GODWIT_LEASH_TEST="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	var plain, deaf, free int
	if _, err := fmt.Sscan(line, &plain, &deaf, &free); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-free, syscall.SIGKILL) })
	text, _ := os.ReadFile(filepath.Join(dir, "builder"))
	builder, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-builder, syscall.SIGKILL) })
	time.Sleep(200 * time.Millisecond)
	_ = c.Process.Kill()
	c.Wait()
	for end := time.Now().Add(20 * time.Second); alive(plain) || alive(deaf) || alive(builder) || exists(dir+"/held by us"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("plain %v, deaf %v, its builder %v, its directory %v still there", alive(plain), alive(deaf), alive(builder), exists(dir+"/held by us"))
		}
	}
	if !alive(free) || !exists(dir+"/kept/m1") {
		t.Error("what was let go went, too")
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// alive tells whether a process group has a process that is no zombie.
func alive(pgid int) bool {
	out, _ := exec.Command("ps", "-A", "-o", "pgid=,stat=").Output()
	for l := range strings.Lines(string(out)) {
		var g int
		var stat string
		if n, _ := fmt.Sscan(l, &g, &stat); n == 2 && g == pgid && !strings.HasPrefix(stat, "Z") {
			return true
		}
	}
	return false
}
