package secrets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/host"
)

// tap keeps what goes to the host and what comes back.
type tap struct {
	host.Conn
	in, out bytes.Buffer
	line    string
}

func (r *tap) Run(ctx context.Context, c host.Cmd) error {
	r.line = c.Script + strings.Join(c.Args, " ")
	c.Stdin = io.TeeReader(c.Stdin, &r.in)
	c.Stdout = io.MultiWriter(c.Stdout, &r.out)
	return r.Conn.Run(ctx, c)
}

func compared(t *testing.T, r host.Conn, list ...fleet.Secret) string {
	t.Helper()
	all, err := Compare(t.Context(), r, fleet.Host{Name: "web1", Secrets: list})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range all {
		out = append(out, c.Name+"="+strings.Join(append([]string{c.Result}, c.Differs...), ","))
	}
	return strings.Join(out, " ")
}

// TestCompare: a comparison says what an upload then does, and changes nothing.
func TestCompare(t *testing.T) {
	w := newWorld(t)
	a, b, e := w.secret("a", "hunter2"), w.secret("b", strings.Repeat("x", 1<<20)+"\x00\xff"), w.secret("empty", "")
	odd := w.secret("odd", "x")
	odd.Destination = filepath.Join(w.dir, ` a "b" $HOME \ 'c`)
	if got := compared(t, w.r, b, a, e, odd); got != "a=new b=new empty=new odd=new" {
		t.Errorf("before: %s", got)
	}
	if got := w.files(); got != "" {
		t.Fatalf("comparing left\n%s", got)
	}
	if _, err := w.upload(Options{}, a, b, e, odd); err != nil {
		t.Fatal(err)
	}
	if got := compared(t, w.r, a, b, e, odd); got != "a=unchanged b=unchanged empty=unchanged odd=unchanged" {
		t.Errorf("after: %s", got)
	}

	a = w.secret("a", "hunter3") // of the same length
	b = w.secret("b", "shorter")
	e.Permissions = "440"
	odd.User, odd.Group, odd.Permissions = "nobody", "nogroup", "04755"
	link, dir := w.secret("link", "x"), w.secret("dir", "x")
	if err := os.Symlink("nowhere", link.Destination); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.Destination, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := compared(t, w.r, a, b, e, odd, link, dir); got != "a=changed,content b=changed,content dir=changed,kind empty=changed,mode link=changed,kind odd=changed,owner,mode" {
		t.Errorf("changed: %s", got)
	}
	// What it says of a number is what chown makes of it.
	n := w.secret("a", "hunter2")
	n.User, n.Group = "0", "0"
	if os.Getuid() == 0 {
		if got := compared(t, w.r, n); got != "a=unchanged" {
			t.Errorf("owner by number: %s", got)
		}
	}
	if got := compared(t, w.r); got != "" {
		t.Errorf("no secrets: %s", got)
	}
}

// TestCompareTellsNothing: neither contents nor sums that could be looked up
// travel, and a key is never used twice.
func TestCompareTellsNothing(t *testing.T) {
	w := newWorld(t)
	a := w.secret("a", "hunter2")
	if _, err := w.upload(Options{}, a); err != nil {
		t.Fatal(err)
	}
	var all []string
	for range 2 {
		r := &tap{Conn: w.r}
		if got := compared(t, r, a); got != "a=unchanged" {
			t.Fatal(got)
		}
		both := r.in.String() + r.out.String() + r.line
		sum := sha256.Sum256([]byte("hunter2"))
		for _, bad := range []string{"hunter2", hex.EncodeToString(sum[:])} {
			if strings.Contains(both, bad) {
				t.Errorf("%q travelled:\n%s", bad, both)
			}
		}
		key, _, _ := strings.Cut(r.in.String(), "\n")
		if len(key) != 64 || strings.Contains(r.line, key) {
			t.Errorf("key %q, command line %q", key, r.line)
		}
		fields := strings.Fields(r.out.String())
		all = append(all, key, fields[len(fields)-2])
	}
	if all[0] == all[2] || all[1] == all[3] {
		t.Errorf("the same key or sum twice: %q", all)
	}
}

func TestCompareFails(t *testing.T) {
	w := newWorld(t)
	a := w.secret("a", "x")
	gone := a
	gone.From.File += "-gone"
	if _, err := Compare(t.Context(), w.r, fleet.Host{Name: "web1", Secrets: []fleet.Secret{gone}}); err == nil || !strings.Contains(err.Error(), "cannot read its source") {
		t.Errorf("no source: %v", err)
	}
	for n := range 70 { // cut off at each byte of the key and the number
		_, err := Compare(t.Context(), cutRunner{w.r, int64(n)}, fleet.Host{Name: "web1", Secrets: []fleet.Secret{a}})
		if err == nil || !strings.Contains(err.Error(), "cannot compare the secrets") {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, w.r, fleet.Host{Name: "web1", Secrets: []fleet.Secret{a}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
