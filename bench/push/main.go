// Command push measures how fast closures travel: godwit beside nix-copy-closure
// and nix copy, over real ssh, with round-trip times and rates of a proxy.
//
//	go run ./bench/push -rtt 50ms -tools godwit,ssh-ng,copy-closure,ssh
//	go run ./bench/push -rtt 50ms -hosts 10 -tools godwit
//	go run ./bench/push -rtt 50ms -from builder -tools godwit,ssh-ng
//	go run ./bench/push -rate 10 -small 0 -big 1 -tools godwit,ssh-ng
//	go run ./bench/push -small 0 -big 4 -big-size 256 -tools godwit,ssh-ng
//	go run ./bench/push -repeat 5 -tools godwit,godwit=/tmp/push-before
//
// godwit=FILE is this program as another commit has it (go build -o FILE ./bench/push).
//
// Every host is an sshd of its own on the loopback with a store of its own under
// a temporary folder. It needs root, sshd, ssh and Nix.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/event"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

type host struct {
	name string
	dir  string // root of its store
	port int    // of sshd
	// keeper is the process that runs sshd.
	keeper int
	via    *proxy
}

type bench struct {
	dir   string
	hosts []*host
	src   string // root of the local source store
	from  *host  // the builder, or nil
	top   string
	ssh   []string
}

func main() {
	log.SetFlags(0)
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "-child":
			child(os.Args[2])
			return
		case "-sshd":
			keeper(os.Args[2])
			return
		}
	}
	rtt := flag.Duration("rtt", 0, "round-trip time to every host")
	rate := flag.Float64("rate", 0, "Mbit/s of every host's wire, 0 is without limit")
	hosts := flag.Int("hosts", 1, "hosts")
	from := flag.String("from", "local", "local or builder (behind the same delay)")
	small := flag.Int("small", 600, "small paths")
	big := flag.Int("big", 8, "big paths")
	bigSize := flag.Float64("big-size", 8, "MiB of a big path")
	random := flag.Bool("random", true, "contents that do not compress")
	compress := flag.Bool("compress", false, "ssh -C for godwit")
	tools := flag.String("tools", "godwit,ssh-ng,copy-closure,ssh", "what to measure, first to last")
	slow := flag.Float64("slow", 0, "Mbit/s of the first host's wire only")
	noop := flag.Bool("noop", true, "measure once more with everything there")
	repeat := flag.Int("repeat", 1, "times; the best counts")
	under := flag.String("dir", "", "folder for all stores; on a file system that is quick to make files, such as tmpfs (default: the system's for temporary files)")
	flag.Parse()

	dir, err := os.MkdirTemp(*under, "bench-")
	check(err)
	defer remove(dir)
	b := &bench{dir: dir, src: filepath.Join(dir, "src")}
	check(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key")))
	check(run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "hostkey")))
	check(copyFile(filepath.Join(dir, "key.pub"), filepath.Join(dir, "authorized")))
	b.ssh = []string{"-F", "none", "-i", filepath.Join(dir, "key"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "BatchMode=yes"}
	_ = os.MkdirAll("/run/sshd", 0o755)

	t0 := time.Now()
	b.top, err = makeClosure(b.src, *small, *big, int64(*bigSize*(1<<20)), *random)
	check(err)
	infos, err := store.Closure(context.Background(), store.Local(nil, "local?root="+b.src), []string{b.top})
	check(err)
	bytes := int64(0)
	for _, i := range infos {
		bytes += i.NarSize
	}
	fmt.Printf("%d paths, %.1f MB, made in %s; rtt %s, rate %g Mbit/s, %d hosts, from %s, random %v, ssh -C %v\n",
		len(infos), float64(bytes)/1e6, time.Since(t0).Round(time.Millisecond), *rtt, *rate, *hosts, *from, *random, *compress)
	if *rate > 0 {
		fmt.Printf("bytes/rate: %.2f s\n", float64(bytes)*8/(*rate*1e6))
	}
	if *from == "builder" {
		b.from = b.startHost("builder", b.src, *rtt, *rate*1e6/8)
	}
	for k := range *hosts {
		name := fmt.Sprintf("h%d", k)
		r := *rate
		if k == 0 && *slow > 0 {
			r = *slow
		}
		b.hosts = append(b.hosts, b.startHost(name, filepath.Join(dir, name), *rtt, r*1e6/8))
	}
	// The tools take turns, so that what else the machine does hits all of them.
	list := strings.Split(*tools, ",")
	best := make([]result, len(list))
	all := make([][]string, len(list))
	again := make([]string, len(list))
	for round := range *repeat {
		for k, tool := range list {
			for _, h := range b.hosts {
				remove(h.dir)
			}
			r := b.measure(tool, *compress)
			if round == 0 || r.seconds < best[k].seconds {
				best[k] = r
			}
			all[k] = append(all[k], fmt.Sprintf("%.2f", r.seconds))
			if round < *repeat-1 {
				continue
			}
			for _, h := range b.hosts {
				if err := verify(h.dir, b.top); err != nil {
					fmt.Printf("  %s: %s: %v\n", tool, h.name, err)
				}
			}
			if *noop {
				again[k] = fmt.Sprintf("  no-op %.2f s", b.measure(tool, *compress).seconds)
			}
		}
	}
	per := float64(bytes) / (1 << 30) * float64(*hosts)
	for k, tool := range list {
		r := best[k]
		line := fmt.Sprintf("%-14s %8.2f s  x%-6.2f", tool, r.seconds, r.seconds/best[0].seconds)
		if *repeat > 1 {
			line += "  of " + strings.Join(all[k], " ")
		}
		line += again[k] + fmt.Sprintf("  CPU for a GiB and host: %.2f s here, %.2f s there", r.here/per, r.there/per)
		if b.from != nil {
			line += fmt.Sprintf(", %.2f s at the builder", r.source/per)
		}
		fmt.Println(line + r.note)
	}
	stopAll()
}

func (b *bench) startHost(name, dir string, rtt time.Duration, rate float64) *host {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	conf := filepath.Join(b.dir, name+".sshd")
	check(os.WriteFile(conf, fmt.Appendf(nil, `Port %d
ListenAddress 127.0.0.1
HostKey %s/hostkey
AuthorizedKeysFile %s/authorized
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
MaxStartups 200
SetEnv NIX_REMOTE=local?root=%s PATH=%s
`, port, b.dir, b.dir, dir, os.Getenv("PATH")), 0o600))
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, "-sshd", conf)
	endWithUs(cmd)
	check(cmd.Start())
	started = append(started, cmd)
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	p, err := newProxy(fmt.Sprintf("127.0.0.1:%d", port), rtt, rate)
	check(err)
	return &host{name: name, dir: dir, port: port, keeper: cmd.Process.Pid, via: p}
}

var started []*exec.Cmd

func stopAll() {
	for _, c := range started {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

// job is what the child process does: a process of its own, so that its memory
// and its CPU time can be told.
type job struct {
	Src   string     // root of the local store, or
	From  []string   // ssh words up to the program
	Hosts [][]string // ssh words up to the program
	Top   string
}

type answer struct {
	Seconds float64
	Peak    string
	CPU     float64
	Errors  []string
	Each    []float64
	// Sending is the time from the first byte of a NAR on: all hosts connected,
	// and asked what they have.
	Sending float64
}

func sshEndpoint(name string, words []string) store.Endpoint {
	return store.Command(name, func(write bool) []string { return append(append([]string{}, words...), store.Serve(write)...) })
}

func child(in string) {
	var j job
	check(json.Unmarshal([]byte(in), &j))
	src := store.Local(nil, "local?root="+j.Src)
	if len(j.From) > 0 {
		src = sshEndpoint("builder", j.From)
	}
	var dests []store.Dest
	for k, w := range j.Hosts {
		dests = append(dests, store.Dest{Endpoint: sshEndpoint(fmt.Sprintf("h%d", k), w), Roots: []string{j.Top}})
	}
	t0 := time.Now()
	var a answer
	var first time.Time
	var once sync.Once
	sink := event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Progress {
			once.Do(func() { first = time.Now() })
		}
	})
	for _, r := range store.Copy(context.Background(), src, dests, store.Options{}, sink) {
		if r.Err != nil {
			a.Errors = append(a.Errors, r.Err.Error())
		}
		a.Each = append(a.Each, r.Duration.Seconds())
	}
	a.Seconds = time.Since(t0).Seconds()
	if !first.IsZero() {
		a.Sending = time.Since(first).Seconds()
	}
	a.Peak = peak()
	var self syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	a.CPU = float64(self.Utime.Nano()+self.Stime.Nano()) / 1e9
	_ = json.NewEncoder(os.Stdout).Encode(a)
	reap() // they end by themselves, and their CPU seconds count
}

func (b *bench) words(h *host, compress bool) []string {
	w := append([]string{"ssh", "-T"}, b.ssh...)
	if h != b.from { // godwit does not know what processor an ssh builder has
		w = append(w, b.cipher()...)
	}
	// As internal/ssh does: one connection for all that goes to a host. The first
	// session makes it, within the time that is measured.
	w = append(w, "-o", "ControlMaster=auto", "-o", "ControlPersist=1", "-o", "ControlPath="+filepath.Join(b.dir, h.name+".ctl"))
	if compress {
		w = append(w, "-C")
	}
	return append(w, "-p", strconv.Itoa(h.via.port()), "root@127.0.0.1")
}

// cipher is what internal/ssh asks for where a host is x86_64.
func (b *bench) cipher() []string {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	out, err := exec.Command("ssh", append([]string{"-G"}, append(b.ssh, "x")...)...).Output()
	check(err)
	for line := range strings.Lines(string(out)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "ciphers "); ok {
			if better, changed := ssh.PreferAES(list); changed {
				return []string{"-o", "Ciphers=" + better}
			}
		}
	}
	return nil
}

// result is one run of a tool.
type result struct {
	seconds float64
	// CPU seconds of the tool with its ssh, of the hosts' sshd and Nix, and of
	// the builder's.
	here, there, source float64
	note                string
}

func (b *bench) measure(tool string, compress bool) result {
	var there, source float64
	count := func(sign float64) {
		for _, h := range b.hosts {
			there += sign * h.cpu()
		}
		if b.from != nil {
			source += sign * b.from.cpu()
		}
	}
	count(-1)
	var r result
	if name, other, _ := strings.Cut(tool, "="); name == "godwit" {
		r = b.godwit(other, compress)
	} else {
		r = b.nix(tool)
	}
	count(1)
	r.there, r.source = there, source
	return r
}

// cpu waits for the end of all connections and gives the CPU seconds that the
// host has spent on them so far.
func (h *host) cpu() float64 {
	for range 200 {
		if idle(h.keeper) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return cpuBelow(h.keeper)
}

// godwit copies with this program, or with other.
func (b *bench) godwit(other string, compress bool) result {
	t0 := time.Now()
	j := job{Src: b.src, Top: b.top}
	if b.from != nil {
		j.From = b.words(b.from, compress)
	}
	for _, h := range b.hosts {
		j.Hosts = append(j.Hosts, b.words(h, compress))
	}
	in, _ := json.Marshal(j)
	program, err := os.Executable()
	check(err)
	if other != "" {
		program = other
	}
	cmd := exec.Command(program, "-child", string(in))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	var a answer
	check(json.NewDecoder(out).Decode(&a))
	r := result{seconds: time.Since(t0).Seconds()}
	check(cmd.Wait())
	for _, e := range a.Errors {
		fmt.Println("  error:", e)
	}
	r.here = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	// The connections' masters are nobody's children.
	for _, h := range append(b.hosts, b.from) {
		if h == nil {
			continue
		}
		control := func(what string) string {
			out, _ := exec.Command("ssh", "-o", "ControlPath="+filepath.Join(b.dir, h.name+".ctl"), "-O", what, "x").CombinedOutput()
			return string(out)
		}
		var pid int
		if _, after, ok := strings.Cut(control("check"), "pid="); ok {
			_, _ = fmt.Sscanf(after, "%d", &pid)
		}
		r.here += cpuOf(pid)
		control("exit")
	}
	r.note = fmt.Sprintf("; sending %.2f s, peak %s, CPU %.2f s of godwit alone", a.Sending, a.Peak, a.CPU)
	if len(a.Each) > 1 {
		r.note += fmt.Sprintf("; hosts %.2f", a.Each)
	}
	return r
}

func (b *bench) nix(tool string) result {
	t0 := time.Now()
	var mu sync.Mutex
	var r result
	var wg sync.WaitGroup
	for _, h := range b.hosts {
		wg.Go(func() {
			var args []string
			store := "ssh"
			opts := append(append([]string{}, b.ssh...), "-p", strconv.Itoa(h.via.port()))
			switch tool {
			case "copy-closure":
				if b.from != nil {
					return
				}
				args = []string{"nix-copy-closure", "--to", "root@127.0.0.1", b.top}
			case "ssh-ng":
				store = "ssh-ng"
				fallthrough
			case "ssh":
				args = []string{"nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--to", store + "://root@127.0.0.1"}
				if b.from != nil {
					// One set of ssh options serves both: the hosts are told apart by name.
					args = append(args[:len(args)-1], store+"://"+h.name, "--from", store+"://builder")
					opts = append([]string{}, b.ssh...)
					opts[1] = b.config()
				}
				args = append(args, b.top)
			default:
				log.Fatalf("what is %q?", tool)
			}
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "NIX_REMOTE=local?root="+b.src, "NIX_SSHOPTS="+strings.Join(opts, " "))
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Printf("  %s: %v: %s\n", tool, err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			r.here += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		})
	}
	wg.Wait()
	r.seconds = time.Since(t0).Seconds()
	return r
}

// config writes an ssh configuration with a name for every host.
func (b *bench) config() string {
	p := filepath.Join(b.dir, "ssh_config")
	var s strings.Builder
	for _, h := range append([]*host{b.from}, b.hosts...) {
		fmt.Fprintf(&s, "Host %s\nHostName 127.0.0.1\nUser root\nPort %d\n", h.name, h.via.port())
	}
	check(os.WriteFile(p+h(s.String()), []byte(s.String()), 0o600))
	return p + h(s.String())
}

func h(s string) string { return fmt.Sprintf("-%d", len(s)) }

// verify lets Nix read everything that it says it has.
func verify(root, top string) error {
	env := append(os.Environ(), "NIX_REMOTE=local?root="+root)
	list := exec.Command("nix-store", "-qR", top)
	list.Env = env
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("the closure is not there: %w", err)
	}
	cmd := exec.Command("nix-store", append([]string{"--verify-path"}, strings.Fields(string(out))...)...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func remove(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}

func check(err error) {
	if err != nil {
		stopAll()
		log.Fatal(err)
	}
}
