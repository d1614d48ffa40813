// Command termshot runs a command on a terminal of its own and draws what it
// left there, scrollback included, as an SVG.
//
//	go run ./internal/tools/termshot -o docs/img/deploy.svg -width 100 -- godwit deploy network.nix switch
//
// With -cast the session is also written as an asciicast (version 2); with
// -from a recorded one is drawn and nothing is run.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"godwit/internal/tools/vt"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "termshot:", err)
		os.Exit(1)
	}
}

// recording is an asciicast in memory.
type recording struct {
	Version int               `json:"version"`
	Width   int               `json:"width"`
	Height  int               `json:"height"`
	Command string            `json:"command,omitempty"`
	Title   string            `json:"title,omitempty"`
	Env     map[string]string `json:"env,omitempty"`

	output []chunk
}

type chunk struct {
	at   float64
	data string
}

func run(args []string) error {
	fs := flag.NewFlagSet("termshot", flag.ContinueOnError)
	out := fs.String("o", "", "SVG file to write")
	cast := fs.String("cast", "", "asciicast file to write")
	from := fs.String("from", "", "asciicast file to draw, instead of running a command")
	width := fs.Int("width", 100, "columns")
	height := fs.Int("height", 40, "rows; what scrolls off is drawn as well")
	title := fs.String("title", "", "title of the window")
	prompt := fs.String("prompt", "$ ", "prompt in front of the command's own line; with '' that line is left out")
	shown := fs.String("show", "", "command line to show, when it is not the one that runs")
	interactive := fs.Bool("i", false, "pass stdin on to the command")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var rec *recording
	var err error
	switch {
	case *from != "":
		rec, err = load(*from)
	case fs.NArg() > 0:
		rec = &recording{Version: 2, Width: *width, Height: *height, Command: words(fs.Args()), Title: *title,
			Env: map[string]string{"TERM": "xterm-256color"}}
		if *shown != "" {
			rec.Command = *shown
		}
		if *prompt != "" {
			rec.output = append(rec.output, chunk{0, "\x1b[2m" + *prompt + "\x1b[0m\x1b[1m" + rec.Command + "\x1b[0m\r\n"})
		}
		var in io.Reader
		if *interactive {
			in = os.Stdin
		}
		err = rec.record(fs.Args(), in)
	default:
		return errors.New("name a command after --, or a recording with -from")
	}
	if err != nil {
		return err
	}
	if *title != "" {
		rec.Title = *title
	}
	if *cast != "" {
		if err := os.WriteFile(*cast, rec.marshal(), 0o644); err != nil {
			return err
		}
	}
	screen := vt.New(rec.Width, rec.Height)
	for _, c := range rec.output {
		_, _ = io.WriteString(screen, c.data)
	}
	if len(screen.Unknown) > 0 {
		fmt.Fprintf(os.Stderr, "termshot: sequences that were not understood: %q\n", screen.Unknown)
	}
	svg := draw(screen.All(), rec.Width, rec.Title)
	if *out == "" {
		_, err := os.Stdout.WriteString(svg)
		return err
	}
	return os.WriteFile(*out, []byte(svg), 0o644)
}

// record runs a command on a pty until its output ends.
func (r *recording) record(args []string, in io.Reader) error {
	cmd := exec.Command(args[0], args[1:]...)
	// A plain terminal in which nothing asks for plain output.
	for _, kv := range os.Environ() {
		switch k, _, _ := strings.Cut(kv, "="); k {
		case "TERM", "CI", "NO_COLOR", "COLUMNS", "LINES", "TMUX", "STY":
		default:
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color")
	begin := time.Now()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(r.Height), Cols: uint16(r.Width)})
	if err != nil {
		return err
	}
	defer f.Close()
	if in != nil {
		go func() { _, _ = io.Copy(f, in) }()
	}
	buf := make([]byte, 32<<10)
	kept := 0 // the beginning of a character that has not ended
	for {
		n, err := f.Read(buf[kept:])
		n += kept
		whole := n
		for i := 1; i <= min(utf8.UTFMax, n); i++ {
			if c := buf[n-i]; utf8.RuneStart(c) {
				if !utf8.FullRune(buf[n-i : n]) {
					whole = n - i
				}
				break
			}
		}
		if whole > 0 {
			r.output = append(r.output, chunk{time.Since(begin).Seconds(), strings.ToValidUTF8(string(buf[:whole]), "\ufffd")})
		}
		kept = copy(buf, buf[whole:n])
		if err != nil { // on Linux EIO, when the last writer is gone
			break
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "termshot:", args[0], "ended with", exit)
		return nil
	}
	return err
}

func (r *recording) marshal() []byte {
	var b strings.Builder
	head, _ := json.Marshal(r)
	b.Write(head)
	b.WriteByte('\n')
	for _, c := range r.output {
		line, _ := json.Marshal([]any{float64(int64(c.at*1e6)) / 1e6, "o", c.data})
		b.Write(line)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

func load(name string) (*recording, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<26)
	if !sc.Scan() {
		return nil, fmt.Errorf("%s is empty", name)
	}
	r := &recording{}
	if err := json.Unmarshal(sc.Bytes(), r); err != nil || r.Version != 2 || r.Width < 1 || r.Height < 1 || r.Width > 1000 || r.Height > 1000 {
		return nil, fmt.Errorf("%s is not an asciicast of version 2", name)
	}
	for n := 2; sc.Scan(); n++ {
		var line []json.RawMessage
		var c chunk
		var kind string
		if json.Unmarshal(sc.Bytes(), &line) != nil || len(line) != 3 || json.Unmarshal(line[0], &c.at) != nil ||
			json.Unmarshal(line[1], &kind) != nil || json.Unmarshal(line[2], &c.data) != nil {
			return nil, fmt.Errorf("%s:%d: not an event of an asciicast", name, n)
		}
		if kind == "o" {
			r.output = append(r.output, c)
		}
	}
	return r, sc.Err()
}

// words joins arguments as a person would type them.
func words(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n\"'`$&|;<>()*?[]#~\\!{}") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out[i] = a
	}
	return strings.Join(out, " ")
}
