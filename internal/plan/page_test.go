package plan

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/closure"
)

func TestTreemap(t *testing.T) {
	var changes []closure.Change
	for i := range 100 {
		changes = append(changes, closure.Change{Name: fmt.Sprint(i), Delta: int64((i - 50) * 1000)})
	}
	tiles := treemap(changes, 600, 240)
	if len(tiles) != maxTiles {
		t.Errorf("%d tiles", len(tiles))
	}
	area := 0.0
	for _, b := range tiles {
		area += b.w * b.h
		if b.x < 0 || b.y < 0 || b.x+b.w > 600.001 || b.y+b.h > 240.001 || b.w <= 0 || b.h <= 0 {
			t.Errorf("%s is at %v %v %v %v", b.change.Name, b.x, b.y, b.w, b.h)
		}
	}
	if math.Abs(area-600*240) > 1 {
		t.Errorf("the tiles cover %v", area)
	}
	if first, last := tiles[0], tiles[len(tiles)-1]; first.w*first.h < last.w*last.h {
		t.Error("the biggest change has not the biggest tile")
	}
	if treemap(nil, 1, 1) != nil || treemap([]closure.Change{{Name: "x"}}, 1, 1) != nil {
		t.Error("tiles of nothing")
	}
}

// TestPageHostile: no text that others wrote changes what the page is made of, and nothing in it
// leads elsewhere.
func TestPageHostile(t *testing.T) {
	render := func(p *Plan) string {
		t.Helper()
		b, err := p.Page(now)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	plain := render(sample())
	for _, s := range []string{"kernel-change", "nginx", "<svg viewBox", "default-src 'none'", "would run", "<details open>"} {
		if !strings.Contains(plain, s) {
			t.Errorf("the page has no %s", s)
		}
	}
	want := shape(render(hostile("plain")))
	for _, s := range hostileWords {
		got := render(hostile(s))
		// The label is in an attribute of its own only where it fits; what fits depends on sizes alone.
		if shape(got) != want {
			t.Errorf("%q changes the page", s)
		}
		for _, bad := range []string{"<script", "<link", "<iframe", "<img", "<a ", "javascript:", "onerror", "\x1b", "\x00"} {
			if strings.Contains(strings.ToLower(got), bad) && !strings.Contains(strings.ToLower(s), bad) {
				t.Errorf("%q: the page has %q", s, bad)
			}
		}
	}
}

// TestPageInBrowser opens a page of hostile names in a real browser, which would ask the test for
// anything that the page loads.
func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a browser")
	}
	browser, err := exec.LookPath("chromium-headless-shell")
	if err != nil {
		t.Fatalf("%v: test/setup.sh installs it", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var asked atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			c.Close()
		}
	}()
	p := hostile(`"><script>document.title='x'</script><img src=http://evil.example/x onerror=alert(1)>`)
	b, err := p.Page(now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "plan.html")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	// Without script is how it is read anyway: there is none, and its policy lets none run.
	cmd := exec.Command(browser, "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--user-data-dir="+filepath.Join(dir, "browser"),
		"--proxy-server=http://"+l.Addr().String(), "--dump-dom", "file://"+file)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	kill := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	err = cmd.Run()
	kill.Stop()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	dom := out.String()
	if n, want := strings.Count(dom, "<details"), len(p.Hosts); n != want {
		t.Errorf("%d hosts of %d", n, want)
	}
	for _, bad := range []string{"<script", "<img", "<title>x</title>"} {
		if strings.Contains(dom, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if !strings.Contains(dom, "&lt;script&gt;") || !strings.Contains(dom, "4 hosts change") {
		t.Errorf("the page lacks its words:\n%.2000s", dom)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the page asked the network %d times", n)
	}
}
