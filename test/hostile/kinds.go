package hostile

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Dirt is what must never reach a terminal as it is: escape sequences that paint,
// retitle, ask the terminal or ring its bell, a carriage return and a backspace that
// overwrite, C1 controls in UTF-8 and as bytes, marks that turn the direction of text.
const Dirt = "\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[6n\x1bc\x07\rover\b\b\u009b31mc1\u009d0;t\u009c\x9b1m\u202eevil\u202c\u2066x\u2069\u200f\x00\x7f"

// Dirty tells what of Dirt is in a text, in words; empty for none. Of ESC only colour
// (SGR), which the program itself writes, is let pass with colours.
func Dirty(text string, colours bool) string {
	for name, s := range map[string]string{
		"BEL": "\x07", "BS": "\b", "NUL": "\x00", "DEL": "\x7f", "CSI of C1": "\u009b", "OSC of C1": "\u009d",
		"right-to-left override": "\u202e", "right-to-left mark": "\u200f", "isolate": "\u2066",
	} {
		if strings.Contains(text, s) {
			return name
		}
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\r':
			if i+1 == len(text) || text[i+1] != '\n' {
				return "CR"
			}
		case 0x1b:
			if !colours || !sgr(text[i:]) {
				return fmt.Sprintf("ESC in %.20q", text[i:])
			}
		}
	}
	return ""
}

func sgr(s string) bool {
	if !strings.HasPrefix(s, "\x1b[") {
		return false
	}
	end := strings.TrimLeft(s[2:], "0123456789;")
	return strings.HasPrefix(end, "m")
}

// long is a line of about a hundred bytes: it is the bytes without end that a reader must not keep, and what each
// line of them costs to tell is as little as it can be.
func long(words string) string { return words + strings.Repeat(" and so on", 9) + "\n" }

// Kind is one way to be hostile.
type Kind struct {
	Name string
	// Alone is a host that does it, with no good host behind.
	Alone Host
	// Login tells that it happens while godwit connects: no command gets further.
	Login bool
}

// command makes the kinds that behave until a command that is not the login.
func command(do func(c *Command)) Host {
	return Host{Command: func(c *Command) {
		if c.IsLogin() {
			c.Good()
			return
		}
		do(c)
	}}
}

// login makes the kinds whose first session is bad already.
func login(do func(c *Command)) Host { return Host{Command: do} }

func silentLogin(ctx context.Context) error { <-ctx.Done(); return errRefused }

// Kinds are all kinds, by the stage at which they turn bad.
var Kinds = []Kind{
	{Name: "silent after TCP", Login: true, Alone: Host{Connect: func(c net.Conn) bool { Wait(c); return false }}},
	{Name: "endless lines before the version", Login: true, Alone: Host{Connect: func(c net.Conn) bool {
		endless(context.Background(), "welcome to this host\r\n", func(b []byte) error { _, err := c.Write(b); return err })
		return false
	}}},
	{Name: "one byte a second before the version", Login: true, Alone: Host{Connect: func(c net.Conn) bool {
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return false
			}
			time.Sleep(time.Second)
		}
	}}},
	{Name: "silent after the version", Login: true, Alone: Host{Connect: func(c net.Conn) bool {
		io.WriteString(c, "SSH-2.0-hostile\r\n")
		Wait(c)
		return false
	}}},
	{Name: "closes before the version", Login: true, Alone: Host{Connect: func(c net.Conn) bool { return false }}},
	{Name: "silent at the login", Login: true, Alone: Host{Login: silentLogin}},
	{Name: "endless banners", Login: true, Alone: Host{
		Banners: func(send func(string) error) {
			endless(context.Background(), "welcome to this host\n", func(b []byte) error { return send(string(b)) })
		},
		Login: silentLogin,
	}},
	{Name: "refuses with a dirty banner", Login: true, Alone: Host{Banner: strings.ReplaceAll(Dirt, "\x00", "") + "\n", Login: func(context.Context) error { return errRefused }}},
	{Name: "no answer to a session", Login: true, Alone: Host{Session: func() bool { return false }}},
	{Name: "no answer to the first command", Login: true, Alone: login(func(c *Command) { <-c.ctx.Done() })},
	{Name: "refuses all commands", Login: true, Alone: login(func(c *Command) { c.Refuse(); <-c.ctx.Done() })},
	{Name: "silent after the login", Login: true, Alone: login((*Command).Silent)},
	{Name: "closed outputs after the login", Login: true, Alone: login((*Command).CloseOutputs)},
	{Name: "ends at once with dirty words", Login: true, Alone: login(func(c *Command) {
		io.WriteString(c.Stderr(), "This account is not available. "+Dirt+"\n")
		c.Exit(1)
	})},
	{Name: "endless line before the shell", Login: true, Alone: login(func(c *Command) { c.Endless(c.Stdout(), "welcome ") })},
	{Name: "endless lines before the shell", Login: true, Alone: login(func(c *Command) { c.Endless(c.Stdout(), long("welcome")) })},
	{Name: "endless lines before the shell on stderr", Login: true, Alone: login(func(c *Command) { c.Endless(c.Stderr(), long("welcome")) })},
	{Name: "first line of 100 KiB", Login: true, Alone: login(func(c *Command) {
		c.Begin()
		io.WriteString(c.Stdout(), strings.Repeat("x", 100<<10)+"\n")
		c.Silent()
	})},
	{Name: "silent after the mark", Login: true, Alone: login(func(c *Command) { c.Begin(); c.Silent() })},
	{Name: "closed outputs after the mark", Login: true, Alone: login(func(c *Command) { c.Begin(); c.CloseOutputs() })},
	{Name: "endless greeting lines", Login: true, Alone: login(func(c *Command) {
		c.Begin()
		io.WriteString(c.Stdout(), "uid=1000(deploy)\nos Linux\nsudo /usr/bin/sudo\ndoas \ngreeting\n")
		c.Endless(c.Stdout(), "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-system\n")
	})},
	{Name: "endless greeting line", Login: true, Alone: login(func(c *Command) {
		c.Begin()
		c.Endless(c.Stdout(), "x")
	})},

	{Name: "silent under sudo", Alone: command(func(c *Command) {
		if c.Elevated() {
			c.Silent()
			return
		}
		c.Good()
	})},
	{Name: "no answer to a command", Alone: command(func(c *Command) { <-c.ctx.Done() })},
	{Name: "silent in a command", Alone: command(func(c *Command) { c.Begin(); c.Silent() })},
	{Name: "closed outputs in a command", Alone: command(func(c *Command) { c.Begin(); c.CloseOutputs() })},
	{Name: "endless lines in a command", Alone: command(func(c *Command) { c.Begin(); c.Endless(c.Stdout(), long("generation of nothing")) })},
	{Name: "endless line in a command", Alone: command(func(c *Command) { c.Begin(); c.Endless(c.Stdout(), "x") })},
	{Name: "endless lines on stderr of a command", Alone: command(func(c *Command) { c.Begin(); c.Endless(c.Stderr(), long("warning")) })},
	{Name: "endless line on stderr of a command", Alone: command(func(c *Command) { c.Begin(); c.Endless(c.Stderr(), "x") })},
	{Name: "dirty words in a command", Alone: Host{Banner: strings.ReplaceAll(Dirt, "\x00", "") + "\n", Command: func(c *Command) {
		if c.IsLogin() {
			c.Good()
			return
		}
		if c.server.host.Behind == nil {
			c.Begin()
			io.WriteString(c.Stdout(), Dirt+"\n")
			io.WriteString(c.Stderr(), "failed: "+Dirt+"\n")
			c.Exit(3)
			return
		}
		c.Rewritten(func(line string) string { return strings.TrimSuffix(line, "\n") + Dirt + "\n" })
	}}},
}

// Named gives a kind by its name.
func Named(name string) Kind {
	for _, k := range Kinds {
		if k.Name == name {
			return k
		}
	}
	panic("hostile: there is no kind " + name)
}
