package hostile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Command is one command that a client asked for: the fixed line that makes a shell
// on the host, and what came on its standard input.
type Command struct {
	Line string // the fixed line, with sudo or doas in it
	User string // who logged in

	server  *Server
	ctx     context.Context // ends with the connection
	channel ssh.Channel
	request *ssh.Request
	in      *bufio.Reader
	first   []byte // lines that were read of in
	accept  sync.Once
	ended   sync.Once
	started bool
}

var marked = regexp.MustCompile(`echo; echo (godwit-[0-9a-f]+) \$\$;`)

// prelude begins the line that holds a command (package ssh).
const prelude = "_n=$("

func newCommand(ctx context.Context, s *Server, user, line string, channel ssh.Channel, r *ssh.Request) *Command {
	c := &Command{Line: line, User: user, server: s, ctx: ctx, channel: channel, request: r}
	c.in = bufio.NewReaderSize(channel, 64<<10)
	return c
}

// Mark is the word between a shell's greeting and a command's own output.
func (c *Command) Mark() string {
	if m := marked.FindStringSubmatch(c.Line); m != nil {
		return m[1]
	}
	return ""
}

// Elevated tells whether the command asks for root with sudo or doas.
func (c *Command) Elevated() bool { return !strings.HasPrefix(c.Line, "exec /bin/sh -c ") }

// Accept answers that the command is being run. What follows does that by itself.
func (c *Command) Accept() {
	c.accept.Do(func() {
		if c.request.WantReply {
			c.request.Reply(true, nil)
		}
	})
}

// Refuse answers that there are no commands here.
func (c *Command) Refuse() { c.accept.Do(func() { c.request.Reply(false, nil) }) }

// Script is the line that the client sends to be run: line breaks in it stand as
// '"$_n"'. It waits for that line; empty where none comes.
func (c *Command) Script() string {
	c.Accept()
	for {
		if lines := strings.SplitAfter(string(c.first), "\n"); len(lines) > 1 {
			if last := lines[len(lines)-2]; strings.HasPrefix(last, prelude) {
				return last
			}
		}
		line, err := c.in.ReadBytes('\n')
		c.first = append(c.first, line...)
		if err != nil {
			return ""
		}
	}
}

// Eat drops what was read of the input so far, as something does that reads it before
// the command is there.
func (c *Command) Eat() { c.first = nil }

// Is tells whether the script holds one of the words.
func (c *Command) Is(words ...string) bool {
	s := c.Script()
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// IsLogin tells whether it is the session that a connection is opened with.
func (c *Command) IsLogin() bool { return c.Is("echo greeting") }

// Stdout is the command's output.
func (c *Command) Stdout() io.Writer { c.Accept(); return c.channel }

// Stderr is its other output.
func (c *Command) Stderr() io.Writer { c.Accept(); return c.channel.Stderr() }

// Begin says on both outputs that the command's own output follows, as a shell does.
func (c *Command) Begin() {
	if !c.started {
		c.started = true
		fmt.Fprintf(c.Stdout(), "\n%s 4711\n", c.Mark())
		fmt.Fprintf(c.Stderr(), "\n%s\n", c.Mark())
	}
}

// Exit ends the command.
func (c *Command) Exit(code int) {
	c.ended.Do(func() {
		c.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
		c.channel.Close()
	})
}

// Silent says nothing until the client has gone away.
func (c *Command) Silent() {
	c.Accept()
	go io.Copy(io.Discard, c.in)
	<-c.ctx.Done()
}

// CloseOutputs closes both outputs, and stays.
func (c *Command) CloseOutputs() {
	c.Accept()
	c.channel.CloseWrite()
	c.Silent()
}

// Endless writes text to w until the client has gone away.
func (c *Command) Endless(w io.Writer, text string) {
	go io.Copy(io.Discard, c.in)
	endless(c.ctx, text, func(b []byte) error { _, err := w.Write(b); return err })
}

// flood is how much of an endless text comes without a pause, in bytes: what a reader
// without a limit would show by. The rest comes slowly, or the machine would do
// nothing else for as long as anybody reads.
const flood = 96 << 20

// endless sends text until that fails.
func endless(ctx context.Context, text string, send func([]byte) error) {
	b := []byte(strings.Repeat(text, 1+32<<10/len(text)))
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	for sent := 0; ctx.Err() == nil && send(b) == nil; sent += len(b) {
		if sent > flood {
			<-pace.C
		}
	}
}

// Good does what was asked, as a good host would.
func (c *Command) Good() { c.Rewritten(nil) }

// Rewritten does what was asked, and has rewrite change each line of both outputs
// that comes after the mark.
func (c *Command) Rewritten(rewrite func(line string) string) {
	c.Accept()
	var out, errs io.Writer = c.channel, c.channel.Stderr()
	if rewrite != nil {
		o, e := &rewriter{w: out, mark: c.Mark(), rewrite: rewrite}, &rewriter{w: errs, mark: c.Mark(), rewrite: rewrite}
		defer o.flush()
		defer e.flush()
		out, errs = o, e
	}
	if c.server.host.Behind == nil {
		c.alone()
		return
	}
	run := c.server.host.Behind(c.ctx, c.User, c.Line)
	in, err := run.StdinPipe()
	if err != nil {
		panic(err)
	}
	run.Stdout, run.Stderr = out, errs
	if err := run.Start(); err != nil {
		panic(err)
	}
	go func() {
		in.Write(c.first)
		io.Copy(in, c.in)
		in.Close()
	}()
	err = run.Wait()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if rewrite != nil {
		out.(*rewriter).flush()
		errs.(*rewriter).flush()
	}
	c.Exit(code)
}

// alone answers for a host that has nothing behind it: it can be logged in to.
func (c *Command) alone() {
	if !c.IsLogin() {
		c.Begin()
		io.WriteString(c.Stderr(), "sh: not found\n")
		c.Exit(127)
		return
	}
	c.LogIn()
	io.Copy(io.Discard, c.in)
}

// LogIn answers the session that a connection is opened with.
func (c *Command) LogIn() {
	c.Begin()
	io.WriteString(c.Stdout(), "uid=1000(deploy) gid=100(users) groups=100(users)\nos Linux\nsudo /usr/bin/sudo\ndoas \ngreeting\n\nready\n")
}

// rewriter changes lines after the mark.
type rewriter struct {
	w       io.Writer
	mark    string
	rewrite func(string) string
	begun   bool
	line    []byte
}

func (r *rewriter) Write(p []byte) (int, error) {
	r.line = append(r.line, p...)
	for {
		line, rest, ok := strings.Cut(string(r.line), "\n")
		if !ok {
			return len(p), nil
		}
		r.line = []byte(rest)
		if err := r.put(line + "\n"); err != nil {
			return 0, err
		}
	}
}

func (r *rewriter) put(line string) error {
	if r.begun {
		line = r.rewrite(line)
	} else if strings.HasPrefix(line, r.mark) {
		r.begun = true
	}
	_, err := io.WriteString(r.w, line)
	return err
}

func (r *rewriter) flush() {
	if len(r.line) > 0 {
		r.put(string(r.line))
		r.line = nil
	}
}
