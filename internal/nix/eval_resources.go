package nix

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"godwit/internal/bounded"
)

// machine is what evaluation may use of this machine.
type machine struct {
	cores int
	free  uint64 // bytes of memory that can be had without swapping; 0: not known
}

func resources() machine { return machine{cores: runtime.GOMAXPROCS(0), free: freeMemory()} }

const (
	// firstGuess is what a process is taken to need until the first host was measured:
	// 0.67 GB with five hosts of the real NixOS (Nix 2.8, over a stub package set).
	firstGuess = 1 << 30
	hostMemory = 256 << 20
	// Nix itself starts with a heap of up to 384 MiB (its initGC); less is of no use.
	minHeap = 512 << 20
	maxHeap = 4 << 30
	// minReserve is always left free. More than that: an eighth of what was free at first.
	minReserve = 256 << 20
	// gaugeEvery is how often memory is looked at.
	gaugeEvery = 250 * time.Millisecond
)

// plan says how many processes may evaluate hosts at most, with how many to begin, and
// with which first heap. A heap that need not grow saves a third of the time, and
// all of them together never ask for more than a quarter of what is free.
func plan(hosts, limit int, m machine) (workers, begin int, heap uint64) {
	workers = min(max(m.cores, 1), hosts)
	if limit > 0 {
		workers = min(workers, limit)
	}
	workers = max(workers, 1)
	begin = workers
	if m.free > 0 {
		begin = min(workers, max(1, int(m.free/firstGuess)))
	}
	heap = min(m.free/4/uint64(begin), maxHeap, minHeap+hostMemory*uint64((hosts+begin-1)/begin))
	if heap < minHeap {
		heap = 0
	}
	return workers, begin, heap
}

// gauge measures the memory that evaluation takes while it goes on, and says how many
// processes there is room for. The pool's lock guards it.
type gauge struct {
	free  func() uint64         // as machine.free
	taken func(w *piece) uint64 // bytes that the process of a piece held at its most; 0: not known
	// begin is how many processes there may be before the first was measured; 0: any number.
	begin   int
	reserve uint64
	// first is the most that a process took for its first host, and growth the most
	// by which one grew over another host.
	first, growth uint64
}

func newGauge(begin int, free uint64) *gauge {
	return &gauge{free: freeMemory, taken: func(w *piece) uint64 { return processMemory(w.pid) }, begin: begin, reserve: max(minReserve, free/8)}
}

// measured takes what a process has taken when it is done with a host.
func (g *gauge) measured(w *piece) {
	now := g.taken(w)
	switch {
	case now == 0:
	case w.held == 0:
		g.first = max(g.first, now)
	case now > w.held:
		g.growth = max(g.growth, now-w.held)
	}
	w.held = max(w.held, now)
}

// room tells whether there is room for another process beside those that evaluate, or
// (with more false) for all of these to go on to their next hosts. What one that was
// begun will take for its first host is counted before it takes it.
func (g *gauge) room(active []*piece, more bool) bool {
	n := len(active)
	switch {
	case n == 0 || n == 1 && !more:
		return true
	case g.first == 0:
		return !more || g.begin == 0 || n < g.begin
	}
	free := g.free()
	need := g.reserve + uint64(n)*g.growth
	if more {
		need += g.first
	}
	for _, w := range active {
		if w.held == 0 {
			need += g.first - min(g.first, g.taken(w))
		}
	}
	return free == 0 || free >= need
}

// short tells whether memory is about to run out.
func (g *gauge) short() bool {
	free := g.free()
	return free > 0 && free < g.reserve/2
}

// processMemory is the most memory that a process held, in bytes; on systems without
// /proc what it holds now; 0 when that cannot be told.
func processMemory(pid int) uint64 {
	if pid <= 0 {
		return 0
	}
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status"); err == nil {
		return kilobytes(b, "VmHWM:")
	}
	if out, err := bounded.Output(exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)), "what ps prints", 64<<10); err == nil {
		kb, _ := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
		return kb << 10
	}
	return 0
}

// freeMemory asks the system this program runs on, whatever Nix builds for:
// /proc/meminfo where there is one (and the cgroup's limit), vm_stat on macOS.
func freeMemory() uint64 {
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		free := parseMeminfo(b)
		limit, err1 := readUint("/sys/fs/cgroup/memory.max")
		used, err2 := readUint("/sys/fs/cgroup/memory.current")
		if err1 == nil && err2 == nil {
			stat, _ := os.ReadFile("/sys/fs/cgroup/memory.stat")
			// The kernel gives back what it keeps of files.
			used -= min(used, kernelNumber(stat, "inactive_file")+kernelNumber(stat, "active_file"))
			free = min(free, max(limit, used+1)-used)
		}
		return free
	}
	if out, err := bounded.Output(exec.Command("vm_stat"), "what vm_stat prints", 64<<10); err == nil {
		return parseVMStat(out)
	}
	return 0
}

func readUint(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// parseMeminfo reads the line "MemAvailable:   23456789 kB".
func parseMeminfo(b []byte) uint64 { return kilobytes(b, "MemAvailable:") }

// kilobytes reads the line of a name in a file of /proc, and gives bytes.
func kilobytes(b []byte, name string) uint64 { return kernelNumber(b, name) << 10 }

// kernelNumber reads the line of a name in a file of the kernel's.
func kernelNumber(b []byte, name string) uint64 {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) >= 2 && f[0] == name {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// parseVMStat reads macOS's vm_stat: a page size in the first line, then counts
// of pages. Free, inactive, speculative and purgeable pages can be had.
func parseVMStat(b []byte) uint64 {
	page, pages := uint64(4096), uint64(0)
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		line := sc.Text()
		if _, rest, ok := strings.Cut(line, "page size of "); ok {
			size, _, _ := strings.Cut(rest, " ")
			if n, err := strconv.ParseUint(size, 10, 64); err == nil {
				page = n
			}
			continue
		}
		name, count, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch name {
		case "Pages free", "Pages inactive", "Pages speculative", "Pages purgeable":
			n, _ := strconv.ParseUint(strings.Trim(count, " ."), 10, 64)
			pages += n
		}
	}
	return page * pages
}
