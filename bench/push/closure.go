package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
)

// exporter writes the stream of `nix-store --import`: for every path the number
// 1, its NAR, a magic, the path, its references, its deriver and the number 0.
type exporter struct {
	w *bufio.Writer
	n int
}

func (e *exporter) uint(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	e.w.Write(b[:])
}

func (e *exporter) string(s string) {
	e.uint(uint64(len(s)))
	e.w.WriteString(s)
	for n := len(s); n%8 != 0; n++ {
		e.w.WriteByte(0)
	}
}

// path writes a path with one file of size bytes, half of them text that
// compresses well and half random, as programs roughly do; or all random.
func (e *exporter) path(name string, size int64, random bool, refs []string) string {
	e.n++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s-%d-%d", name, e.n, size))
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	hash := make([]byte, 32)
	for i := range hash {
		hash[i] = digits[sum[i]&31]
	}
	p := "/nix/store/" + string(hash) + "-" + name
	e.uint(1)
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		e.string(s)
	}
	e.uint(uint64(size))
	noise := rand.NewChaCha8(sum)
	block := make([]byte, 4096)
	for left := size; left > 0; {
		noise.Read(block)
		if !random {
			for i := range block[:2048] {
				block[i] = "movq %rax, %rbx\n"[i%16]
			}
		}
		n := min(left, int64(len(block)))
		e.w.Write(block[:n])
		left -= n
	}
	for n := size; n%8 != 0; n++ {
		e.w.WriteByte(0)
	}
	e.string(")")
	e.uint(0x4558494e)
	e.string(p)
	e.uint(uint64(len(refs)))
	for _, r := range refs {
		e.string(r)
	}
	e.string("")
	e.uint(0)
	return p
}

// makeClosure fills the store under root and gives the top of its closure: small
// paths in chains, some of 8 MiB, and a top that refers to all.
func makeClosure(root string, small, big int, bigSize int64, random bool) (string, error) {
	cmd := exec.Command("nix-store", "--import")
	cmd.Env = append(os.Environ(), "NIX_REMOTE=local?root="+root)
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	e := &exporter{w: bufio.NewWriterSize(in, 1<<20)}
	var all []string
	last := ""
	for k := range small {
		var refs []string
		if k%25 != 0 {
			refs = append(refs, last)
		}
		last = e.path(fmt.Sprintf("small-%d", k), 200+int64(k%50)*30, random, refs)
		all = append(all, last)
	}
	for k := range big {
		all = append(all, e.path(fmt.Sprintf("big-%d", k), bigSize, random, nil))
	}
	top := e.path("top", 100, random, all)
	e.uint(0)
	if err := e.w.Flush(); err != nil && err != io.ErrClosedPipe {
		return "", err
	}
	in.Close()
	return top, cmd.Wait()
}
