package ssh_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
)

// kib reads a line of a file in /proc, in KiB.
func kib(file, name string) int {
	b, _ := os.ReadFile(file)
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// A host whose connection is open and idle costs this process less than a MiB, and
// its ssh process little that is not shared.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("logs in 40 times, while nothing else runs")
	}
	const n = 40
	s := sshtest.Start(t)
	pool, err := ssh.NewPool(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	connect := func(i int) {
		target := s.Target(fmt.Sprint("host", i))
		h := pool.Host(target)
		if err := h.Connect(ctx(t)); err != nil {
			t.Fatal(err)
		}
		if err := h.Run(ctx(t), host.Cmd{Argv: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
	}
	connect(0)
	heap := func() int {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int((m.HeapInuse + m.StackInuse) >> 10)
	}
	before := heap()
	for i := 1; i <= n; i++ {
		connect(i)
	}
	time.Sleep(200 * time.Millisecond)
	own := (heap() - before) / n
	private, processes := 0, 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		args, _ := os.ReadFile(d + "/cmdline")
		if strings.Contains(string(args), s.ConfigFile) && strings.HasPrefix(string(args), "ssh\x00") || strings.Contains(string(args), s.ConfigFile) && strings.Contains(string(args), "/ssh\x00") {
			processes++
			private += kib(d+"/smaps_rollup", "Private_Dirty")
		}
	}
	t.Logf("per idle host: %d KiB here, %d KiB of ssh's own (%d processes)", own, private/max(1, processes), processes)
	if processes < n {
		t.Fatalf("%d ssh processes for %d hosts", processes, n)
	}
	if own > 256 || own+private/processes > 2<<10 {
		t.Error("too much")
	}
}
