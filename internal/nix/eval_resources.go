package nix

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"godwit/internal/bounded"
)

// machine is what evaluation may use of this machine.
type machine struct {
	cores int
	free  uint64 // bytes of memory that can be had without swapping; 0: not known
}

func resources() machine { return machine{cores: runtime.GOMAXPROCS(0), free: freeMemory()} }

// Memory of one evaluating process with the real NixOS: 0.67 GB for five hosts,
// 1.34 GB for ten (a lower bound: over a stub package set, Nix 2.8).
const (
	workerMemory = 1 << 30
	hostMemory   = 256 << 20
	// Nix itself starts with a heap of up to 384 MiB (its initGC); less is of no use.
	minHeap = 512 << 20
	maxHeap = 4 << 30
)

// plan says how many processes evaluate hosts, and with which first heap. A
// heap that need not grow saves a third of the time, and all of them together
// never ask for more than a quarter of what is free.
func plan(hosts, limit int, m machine) (workers int, heap uint64) {
	workers = min(max(m.cores, 1), hosts)
	if limit > 0 {
		workers = min(workers, limit)
	}
	if m.free > 0 {
		workers = min(workers, max(1, int(m.free/workerMemory)))
	}
	workers = max(workers, 1)
	heap = min(m.free/4/uint64(workers), maxHeap, minHeap+hostMemory*uint64((hosts+workers-1)/workers))
	if heap < minHeap {
		heap = 0
	}
	return workers, heap
}

// freeMemory asks the system this program runs on, whatever Nix builds for:
// /proc/meminfo where there is one (and the cgroup's limit), vm_stat on macOS.
func freeMemory() uint64 {
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		free := parseMeminfo(b)
		limit, err1 := readUint("/sys/fs/cgroup/memory.max")
		used, err2 := readUint("/sys/fs/cgroup/memory.current")
		if err1 == nil && err2 == nil && limit > used {
			free = min(free, limit-used)
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
func parseMeminfo(b []byte) uint64 {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) >= 2 && f[0] == "MemAvailable:" {
			kb, _ := strconv.ParseUint(f[1], 10, 64)
			return kb << 10
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
