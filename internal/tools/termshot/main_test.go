package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShot runs a real program on a pty, keeps the recording, and draws the
// same picture from it.
func TestShot(t *testing.T) {
	dir := t.TempDir()
	svg, cast, again := filepath.Join(dir, "a.svg"), filepath.Join(dir, "a.cast"), filepath.Join(dir, "b.svg")
	script := `printf '\033[1;32m✓\033[0m web1  <switched> & 世界 e\314\201\r\n'; i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; printf 'gone\r\033[K\033[7mreverse\033[0m \033[48;5;200mpink\033[m\n\n\n'; exit 3`
	err := run([]string{"-o", svg, "-cast", cast, "-width", "60", "-height", "10", "-title", "a <title>", "-show", "x", "--", "sh", "-c", script})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(svg)
	got := string(b)
	for _, want := range []string{">✓<", "&lt;switched&gt; &amp;", ">世<", ">e\u0301<", ">line 0<", ">line 29<", ">reverse<", "#ff00d7", "a &lt;title&gt;", `class="f2 b"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the picture", want)
		}
	}
	if strings.Contains(got, "gone") {
		t.Error("what was erased is drawn")
	}
	d := xml.NewDecoder(strings.NewReader(got))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := run([]string{"-o", again, "-from", cast}); err != nil {
		t.Fatal(err)
	}
	if b2, _ := os.ReadFile(again); string(b2) != got {
		t.Error("the recording gives another picture")
	}
	if err := run([]string{"-from", svg}); err == nil {
		t.Error("a picture is taken for a recording")
	}
}

func TestWords(t *testing.T) {
	if got, want := words([]string{"godwit", "deploy", "--on", "web*", "it's", ""}), `godwit deploy --on 'web*' 'it'\''s' ''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
