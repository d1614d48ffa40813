package builder

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"godwit/internal/builder/machines"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/regular"
	"godwit/internal/scratch"
	"godwit/internal/ssh"
	"godwit/internal/store"
	"godwit/internal/ui/text"
)

// Numbers of Nix's worker protocol (src/libstore/worker-protocol.hh). 1.35 is
// announced: it has no features to agree on, and is what Lix is frozen at.
const (
	workerMagic1  = 0x6e697863
	workerMagic2  = 0x6478696f
	workerVersion = 1<<8 | 35
	stderrNext    = 0x6f6c6d67
	stderrLast    = 0x616c7473
	stderrError   = 0x63787470

	serveMagic1  = 0x390c9deb
	serveMagic2  = 0x5452eecb
	serveVersion = 2<<8 | 7
)

// Hello is what a Nix daemon says of itself.
type Hello struct {
	Protocol int    // minor number of worker protocol 1
	Nix      string // version; "" before 2.4 (protocol 1.33)
	Trusted  int    // 1 yes, 2 no, 0 not known
}

// workerHello speaks the beginning of the worker protocol, as far as a daemon
// that is ready gets, and nothing more.
func workerHello(rw io.ReadWriter) (Hello, error) {
	var h Hello
	var b []byte
	for _, n := range []uint64{workerMagic1, workerVersion, 0, 0} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	// The whole of our side in one flight: the server reads in order.
	r, magic, err := opening(rw, b)
	if err != nil {
		return h, err
	}
	if magic != workerMagic2 {
		return h, notNix(magic, r)
	}
	v, err := readUint(r)
	if err != nil {
		return h, err
	}
	if v>>8 != 1 {
		return h, fmt.Errorf("it speaks protocol %d.%d", v>>8, v&0xff)
	}
	h.Protocol = int(v & 0xff)
	agreed := min(h.Protocol, workerVersion&0xff)
	if agreed >= 33 {
		if h.Nix, err = readString(r, 1024); err != nil {
			return h, err
		}
	}
	if agreed >= 35 {
		t, err := readUint(r)
		if err != nil {
			return h, err
		}
		h.Trusted = int(t)
	}
	for range 1000 {
		switch tag, err := readUint(r); {
		case err != nil:
			return h, err
		case tag == stderrLast:
			return h, nil
		case tag == stderrNext:
			if _, err := readString(r, 1<<20); err != nil {
				return h, err
			}
		case tag == stderrError:
			return h, errors.New("it refused the connection")
		default:
			return h, fmt.Errorf("unexpected message %#x", tag)
		}
	}
	return h, errors.New("it does not stop sending")
}

// opening writes our first words and reads the server's magic number. What is
// not Nix may say something and be gone before we have written: what it said
// tells more than that our words found no reader.
func opening(rw io.ReadWriter, words []byte) (*bufio.Reader, uint64, error) {
	_, unheard := rw.Write(words)
	r := bufio.NewReader(rw)
	magic, err := readUint(r)
	switch {
	case err == nil:
		return r, magic, nil
	case unheard != nil:
		err = unheard
	}
	return r, 0, fmt.Errorf("it said nothing: %w", err)
}

// serveHello is the handshake of `nix-store --serve`.
func serveHello(rw io.ReadWriter) error {
	var b []byte
	for _, n := range []uint64{serveMagic1, serveVersion} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	r, magic, err := opening(rw, b)
	if err != nil {
		return err
	}
	if magic != serveMagic2 {
		return notNix(magic, r)
	}
	v, err := readUint(r)
	if err == nil && v>>8 != 2 {
		err = fmt.Errorf("it speaks protocol %d.%d", v>>8, v&0xff)
	}
	return err
}

// notNix is the error when something other than Nix answered; most often a
// shell's start file that prints.
func notNix(first uint64, r *bufio.Reader) error {
	b := binary.LittleEndian.AppendUint64(nil, first)
	rest := make([]byte, 200)
	if n := r.Buffered(); n > 0 {
		n, _ := io.ReadFull(r, rest[:min(n, len(rest))])
		b = append(b, rest[:n]...)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return fmt.Errorf("something other than Nix answered: %q", text.Clean(line))
}

func readUint(r io.Reader) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

func readString(r io.Reader, limit uint64) (string, error) {
	n, err := readUint(r)
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("a text of %d bytes", n)
	}
	b := make([]byte, (n+7)/8*8)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

type streamRW struct{ *store.Stream }

func (s streamRW) Read(p []byte) (int, error)  { return s.Stdout.Read(p) }
func (s streamRW) Write(p []byte) (int, error) { defer crash.Catch(); return s.Stdin.Write(p) }

// greet runs hello over a stream within limit, and ends the stream. A failure
// comes with what the program wrote to stderr.
func greet[T any](ctx context.Context, s *store.Stream, limit time.Duration, hello func(io.ReadWriter) (T, error)) (T, error) {
	type answer struct {
		t   T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer crash.Catch()
		t, err := hello(streamRW{s})
		done <- answer{t, err}
	}()
	var a answer
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a = <-done:
	case <-timer.C:
		a.err = fmt.Errorf("no answer within %s", limit)
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	if a.err == nil {
		s.Stdin.Close()
	}
	// A daemon ends by itself when its input does; a second for that.
	ended := make(chan struct{})
	go func() {
		defer crash.Catch()
		if a.err == nil {
			_, _ = io.Copy(io.Discard, s.Stdout)
		}
		if s.Wait != nil {
			_ = s.Wait()
		}
		close(ended)
	}()
	if a.err == nil {
		select {
		case <-ended:
		case <-time.After(time.Second):
		}
	} else {
		// stderr may still be on its way when the program has died.
		select {
		case <-ended:
		case <-time.After(200 * time.Millisecond):
		}
	}
	s.Kill()
	<-ended
	if a.err != nil && ctx.Err() == nil && s.Stderr != nil {
		if text := lastLine(s.Stderr()); text != "" {
			a.err = errors.New(text)
		}
	}
	return a.t, a.err
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if l := text.Clean(lines[i]); l != "" && !strings.HasPrefix(l, "warning:") {
			return strings.TrimPrefix(l, "error: ")
		}
	}
	return ""
}

// answersNix says hello to a builder from Nix's configuration: directly, and
// where that fails for a reason that Nix's daemon need not share (root has keys
// and known hosts of its own; nix-darwin's linux-builder key is root's alone),
// by letting Nix build a trivial derivation for the builder's system.
func answersNix(ctx context.Context, tool *nix.Tool, m machines.Machine) error {
	err := probeMachine(ctx, tool, m)
	if err == nil || ctx.Err() != nil || os.Getuid() == 0 || !daemonMayDiffer(err) {
		return err
	}
	if err2 := probeThroughNix(ctx, tool, m); err2 != nil {
		return fmt.Errorf("%w; and Nix itself cannot build on it", err)
	}
	return nil
}

// daemonMayDiffer tells whether a failed hello depends on who says it.
func daemonMayDiffer(err error) bool {
	if errors.Is(err, fs.ErrPermission) {
		return true
	}
	text := err.Error()
	for _, s := range []string{"Permission denied", "Host key verification failed", "host key", "Could not resolve hostname", "Too many authentication failures"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// nixWait bounds a trivial build; a builder that is a virtual machine may have to boot.
const nixWait = 60 * time.Second

// probeThroughNix builds a trivial derivation for the first system of m that
// this machine does not build itself.
func probeThroughNix(ctx context.Context, tool *nix.Tool, m machines.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, nixWait)
	defer cancel()
	config, err := tool.Config(ctx)
	if err != nil {
		return err
	}
	system := ""
	for _, s := range m.Systems {
		if !config.Builds(s) {
			system = s
			break
		}
	}
	if system == "" {
		return errors.New("it builds nothing that this machine does not")
	}
	expr := fmt.Sprintf(`derivation { name = "godwit-hello"; system = %q; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; salt = "%d"; requiredSystemFeatures = %q; }`,
		system, time.Now().UnixNano(), strings.Join(m.Mandatory, " "))
	drv, err := tool.Output(ctx, "nix-instantiate", "-E", expr)
	if err != nil {
		return err
	}
	_, err = tool.Output(ctx, "nix-store", "--realise", strings.TrimSpace(string(drv)), "--option", "substitute", "false")
	return err
}

// machineWait bounds the hello of a configured builder.
const machineWait = 10 * time.Second

// probeMachine says hello to a builder from Nix's configuration, with the
// program, the key and the host key that Nix would use. It is done as the
// person who runs godwit; a Nix daemon connects as root, whose ssh may know
// other hosts and keys.
func probeMachine(ctx context.Context, tool *nix.Tool, m machines.Machine) error {
	if !strings.HasPrefix(m.URI, "ssh") {
		return nil // local stores and the like: Nix opens them itself
	}
	u, err := machines.ParseStoreURI(m.URI)
	if err != nil {
		return err
	}
	if u.Key == "" {
		u.Key = m.Key
	}
	if u.Key != "" {
		// ssh itself only warns about a key that it cannot read and goes on to
		// be refused; the reason is worth more than the refusal.
		if f, err := regular.Open(u.Key); err != nil {
			return fmt.Errorf("its key %s cannot be read: %w", u.Key, fault.Reason(err))
		} else {
			f.Close()
		}
	}
	args := append(ssh.Guards("ssh"), "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
		"-o", "ControlMaster=no", "-o", "ControlPath=none")
	if u.Key != "" {
		args = append(args, "-i", u.Key)
	}
	if m.HostKey != "" {
		dir, err := scratch.New("hello-")
		if err != nil {
			return err
		}
		defer func() { _ = dir.Remove() }()
		file := filepath.Join(dir.Path, "known_hosts")
		name := u.Host
		if u.Port != 0 && u.Port != 22 {
			name = "[" + u.Host + "]:" + strconv.Itoa(u.Port) + "," + u.Host
		}
		if err := os.WriteFile(file, []byte(name+" "+m.HostKey+"\n"), 0o600); err != nil {
			return err
		}
		args = append(args, "-o", "UserKnownHostsFile="+file)
	}
	if u.Port != 0 {
		args = append(args, "-p", strconv.Itoa(u.Port))
	}
	more, err := ssh.NixArgs(os.Getenv)
	if err != nil {
		return err
	}
	args = append(args, more...)
	if u.User != "" {
		args = append(args, "-l", u.User)
	}
	args = append(args, "--", u.Host)
	if u.Scheme == "ssh-ng" {
		args = append(args, "nix-daemon", "--stdio")
	} else {
		args = append(args, "nix-store", "--serve", "--write")
	}
	s, err := store.FromCmd(m.URI, func(ctx context.Context, _ bool) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "ssh", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return cmd
	}).Dial(ctx, true)
	if err != nil {
		return err
	}
	if u.Scheme == "ssh-ng" {
		_, err = greet(ctx, s, machineWait, workerHello)
	} else {
		_, err = greet(ctx, s, machineWait, func(rw io.ReadWriter) (struct{}, error) { return struct{}{}, serveHello(rw) })
	}
	return err
}
