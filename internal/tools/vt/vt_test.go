package vt

import "testing"

func TestScreen(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"text", "hello\r\nworld", "hello\nworld"},
		{"wrap", "1234567890abc", "1234567890\nabc"},
		{"wrap is late", "1234567890\r\nabc", "1234567890\nabc"},
		{"no wrap", "\x1b[?7l1234567890abc", "123456789c"},
		{"wide at the edge", "123456789世", "123456789\n世"},
		{"wide overwritten", "世\rx", "x"},
		{"combining", "e\u0301x", "e\u0301x"},
		{"erase", "abc\x1b[2D\x1b[K", "a"},
		{"up and erase below", "a\r\nb\r\nc\x1b[1A\r\x1b[J", "a"},
		{"scroll", "1\r\n2\r\n3\r\n4\r\n5", "1\n2\n3\n4\n5"},
		{"position", "\x1b[2;3Hx", "\n  x"},
		{"insert line", "a\r\nb\x1b[1;1H\x1b[Lc", "c\na\nb"},
		{"osc", "\x1b]0;title\x07x\x1b]8;;u\x1b\\y", "xy"},
		{"alternate", "a\x1b[?1049hb\x1b[?1049lc", "ac"},
		{"tab", "a\tb", "a       b"},
	} {
		s := New(10, 4)
		// Byte by byte: sequences and characters may be cut anywhere.
		for i := range len(c.in) {
			_, _ = s.Write([]byte{c.in[i]})
		}
		if got := s.AllText(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	s := New(10, 4)
	_, _ = s.Write([]byte("\x1b[1;38;5;200mx\x1b[0;48;2;1;2;3my\x1b[m"))
	if st := s.Lines[0][0].Style; !st.Bold || st.FG != 200 {
		t.Error(st)
	}
	if st := s.Lines[0][1].Style; st.Bold || st.BG != RGB(1, 2, 3) {
		t.Error(st)
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("a\x1b[2;1H世\x1b[3P\x1b[4@\x1b[L\x1b[M\x1b[2;3r\x1b[S\x1b[T\x1bM\x1b[9X"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := New(7, 3)
		_, _ = s.Write(in)
		if s.X < 0 || s.X >= s.W || s.Y < 0 || s.Y >= s.H || len(s.Lines) != s.H {
			t.Fatal("the cursor left the screen", s.X, s.Y)
		}
		for _, l := range s.Lines {
			if len(l) != s.W {
				t.Fatal("a line of another width")
			}
		}
		_ = s.AllText()
	})
}
