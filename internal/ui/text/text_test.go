package text

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestSize(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1, "1 B"}, {999, "999 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"},
		{2202010, "2.1 MiB"}, {67 << 20, "67 MiB"}, {310 << 20, "310 MiB"},
		{999 << 20, "999 MiB"}, {1000 << 20, "0.98 GiB"}, {1 << 30, "1.0 GiB"}, {-5, "0 B"},
		{1<<63 - 1, "8.0 EiB"},
	} {
		if got := Size(c.n); got != c.want {
			t.Errorf("Size(%d) = %q, want %q", c.n, got, c.want)
		}
	}
	if got := SizeOf(61<<20, 148<<20); got != "61/148 MiB" {
		t.Error(got)
	}
	if got := SizeOf(61<<20, 0); got != "61 MiB" {
		t.Error(got)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 paths", 1: "1 path", 2: "2 paths"} {
		if got := Count(n, "path"); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func TestElapsed(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0ms"}, {420 * time.Millisecond, "420ms"}, {999 * time.Millisecond, "1.0s"},
		{9200 * time.Millisecond, "9.2s"}, {9960 * time.Millisecond, "10s"}, {59600 * time.Millisecond, "1m 00s"},
		{64 * time.Second, "1m 04s"}, {3599600 * time.Millisecond, "1h 00m"}, {127 * time.Minute, "2h 07m"},
		{76 * time.Hour, "3d 04h"}, {-time.Second, "0ms"},
	} {
		if got := Elapsed(c.d); got != c.want {
			t.Errorf("Elapsed(%v) = %q, want %q", c.d, got, c.want)
		}
	}
	if Ticking(900*time.Millisecond) != "" || Ticking(61*time.Second) != "1m 01s" || Ticking(7900*time.Millisecond) != "7s" {
		t.Error("Ticking")
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s    string
		w    int
		want string
	}{
		{"hello", 5, "hello"}, {"hello", 4, "hel…"}, {"hello", 1, "…"}, {"hello", 0, ""},
		{"世界世界", 8, "世界世界"}, {"世界世界", 7, "世界世…"}, {"世界世界", 6, "世界…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"}, {"👨‍👩‍👧x", 2, "…"}, {"👨‍👩‍👧", 2, "👨‍👩‍👧"},
	} {
		if got := Cut(c.s, c.w, "…"); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.s, c.w, got, c.want)
		}
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"\x1b[31mred\x1b[0m", "red"},
		{"a\tb", "a       b"},
		{"10%\r20%\r100%\r\n", "100%"},
		{"bell\a and \b nul\x00", "bell and  nul"},
		{"\x1b]0;title\x07x", "x"}, {"\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "link"},
		{"\x1b]never ended", `\u001b]never ended`},
		{"\x1b(Bx\x1b", `x\u001b`}, {"bad \xff utf8", "bad \ufffd utf8"},
		{"rtl \u202egnp.exe", `rtl \u202egnp.exe`}, {"c1 \u009b31mred \u009d0;t", `c1 red \u009d0;t`},
		{"web\u200b1 \u2066x\u2069 \ufeff\U000e0041\ufdd0", `web\u200b1 \u2066x\u2069 \ufeff\udb40\udc41\ufdd0`}, {"👨\u200d👩 می\u200cخواهم \u0601", "👨\u200d👩 می\u200cخواهم \u0601"},
		{"two\nlines", "two lines"}, {"   ", "   "}, {"\x1b[0m  \x1b[0m", ""},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	for _, long := range []string{"é", "x", "\x1b", "\x1b[31m", "\u202e", "\t", " "} {
		got := Clean(strings.Repeat(long, 1<<20))
		if len(got) > MaxLine {
			t.Errorf("%q: not bounded: %d", long, len(got))
		}
		if got != "" && !strings.HasSuffix(got, " more)") {
			t.Errorf("%q: does not say that it was cut: …%q", long, got[max(0, len(got)-40):])
		}
	}
	if got := Clean(strings.Repeat("x", 66<<10)); !strings.HasSuffix(got, "x… (62 KiB more)") {
		t.Errorf("…%s", got[len(got)-40:])
	}
}

func TestLines(t *testing.T) {
	if got := Lines("a\x1b[1m \r\nb\n\n", 10); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	got := Lines(strings.Repeat("x\n", 96)+"a\nb\nc\nd\n", 5)
	if want := []string{"x", "x", "… (95 lines left out)", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m \u009b1;2m\x1b]0;x")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if Hidden(r) {
				t.Fatalf("%q has the control character %U", got, r)
			}
		}
		if len(got) > MaxLine {
			t.Fatalf("%d bytes", len(got))
		}
		if Clean(got) != got {
			t.Fatalf("not stable: %q then %q", got, Clean(got))
		}
		if w := Width(Cut(got, 20, "…")); w > 20 {
			t.Fatalf("cut to %d columns", w)
		}
	})
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  []string
	}{
		{"short", 40, []string{"short"}},
		{"needs aarch64-linux, which this machine cannot build", 30, []string{"needs aarch64-linux, which", "this machine cannot build"}},
		{"a /nix/store/0123456789012345678901234567890 b", 20, []string{"a", "/nix/store/0123456789012345678901234567890", "b"}},
		{"too narrow to be worth it at all", 10, []string{"too narrow to be worth it at all"}},
	} {
		if got := Wrap(c.s, c.width); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d: %q", c.s, c.width, got)
		}
	}
}
