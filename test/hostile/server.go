// Package hostile is an ssh server for tests that does what no good host does: it
// falls silent at any stage, talks without end, closes its outputs and stays, keeps
// its end open, fills all it says with escape sequences. It listens on the loopback
// address, accepts every key, and knows godwit's way to run commands (package ssh).
//
// A good host stands behind it where a test needs one that works up to the moment at
// which it turns bad: a host of the lab (Behind), or nothing but a login that answers
// as the first connection expects (the zero value). No command of a client is ever run
// on this machine.
//
//	s := hostile.Start(t, hostile.Host{Command: func(c *hostile.Command) {
//		if c.Is("df -Pk") { c.Silent(); return }
//		c.Good()
//	}})
//	pool.Host(ssh.Target{Host: "127.0.0.1", Port: s.Port}) // with -F s.ConfigFile
//
// Kinds lists what hosts can do wrong, for tests that try all of it.
package hostile

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Host is what the server does. The zero value is a host that can be logged in to,
// tells who the user is, and has no other command.
type Host struct {
	// Connect gets each new connection before a word of ssh is spoken; false when it
	// has dealt with it (the connection is closed when it returns).
	Connect func(c net.Conn) bool
	// Banner is sent before the login; Banners may send as many as it likes.
	Banner  string
	Banners func(send func(string) error)
	// Login is asked when a key is offered; it may wait for the end of ctx, and an error
	// refuses the key.
	Login func(ctx context.Context) error
	// Session is asked for each new session; false leaves it without an answer.
	Session func() bool
	// Command gets each command; nil is (*Command).Good.
	Command func(c *Command)
	// Behind makes the command that runs line on a good host, with its standard
	// streams: an ssh to a host of the lab. User is who logged in.
	Behind func(ctx context.Context, user, line string) *exec.Cmd
}

// Server is a running one.
type Server struct {
	Port         int
	Dir          string // holds everything below
	IdentityFile string // a private key; any other does, too
	KnownHosts   string // holds its host key
	ConfigFile   string // an ssh_config that uses these files and nothing of the user's
	HostKey      string // its public host key, as in known_hosts

	host     Host
	config   *ssh.ServerConfig
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	conns    sync.WaitGroup
	open     atomic.Int64
	accepted atomic.Int64
	commands atomic.Int64
}

// Start starts a server, which ends with the test.
func Start(t testing.TB, h Host) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{
		Dir: dir, host: h,
		IdentityFile: filepath.Join(dir, "id"),
		KnownHosts:   filepath.Join(dir, "known_hosts"),
		ConfigFile:   filepath.Join(dir, "ssh_config"),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	signer, err := ssh.NewSignerFromKey(hostKey)
	check(t, err)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(key, "hostile")
	check(t, err)
	s.config = &ssh.ServerConfig{
		PreAuthConnCallback: func(c ssh.ServerPreAuthConn) {
			if h.Banners != nil {
				go h.Banners(c.SendAuthBanner)
			}
		},
	}
	if h.Banner != "" {
		s.config.BannerCallback = func(ssh.ConnMetadata) string { return h.Banner }
	}
	s.config.AddHostKey(signer)
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s.Port = s.listener.Addr().(*net.TCPAddr).Port
	s.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	check(t, os.WriteFile(s.IdentityFile, pem.EncodeToMemory(block), 0o600))
	check(t, os.WriteFile(s.KnownHosts, fmt.Appendf(nil, "[127.0.0.1]:%d %s\n", s.Port, s.HostKey), 0o600))
	check(t, os.WriteFile(s.ConfigFile, fmt.Appendf(nil, `Host *
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  IdentityFile %s
  IdentitiesOnly yes
  IdentityAgent none
`, s.KnownHosts, s.IdentityFile), 0o600))
	s.conns.Go(s.accept) // counted, so that nothing begins after the wait for the end
	t.Cleanup(func() {
		s.cancel()
		s.listener.Close()
		s.conns.Wait()
	})
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal("hostile: ", err)
	}
}

// Connections is how many TCP connections are open now.
func (s *Server) Connections() int { return int(s.open.Load()) }

// Accepted is how many TCP connections there were so far.
func (s *Server) Accepted() int { return int(s.accepted.Load()) }

// Commands is how many commands were asked for.
func (s *Server) Commands() int { return int(s.commands.Load()) }

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.open.Add(1)
		s.accepted.Add(1)
		s.conns.Go(func() {
			defer s.open.Add(-1)
			stop := context.AfterFunc(s.ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			s.serve(c)
		})
	}
}

func (s *Server) serve(c net.Conn) {
	if s.host.Connect != nil && !s.host.Connect(c) {
		return
	}
	config := *s.config
	ctx, gone := context.WithCancel(s.ctx)
	defer gone()
	config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		if s.host.Login == nil {
			return nil, nil
		}
		return nil, s.host.Login(ctx)
	}
	conn, channels, requests, err := ssh.NewServerConn(noticed{c, gone}, &config)
	if err != nil {
		return
	}
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer gone()
	go ssh.DiscardRequests(requests) // answers keepalives, as a living host does
	for ch := range channels {
		if ch.ChannelType() != "session" {
			ch.Reject(ssh.UnknownChannelType, "")
			continue
		}
		if s.host.Session != nil && !s.host.Session() {
			continue
		}
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { s.session(ctx, conn.User(), channel, requests) })
	}
}

func (s *Server) session(ctx context.Context, user string, channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		if r.Type != "exec" {
			r.Reply(r.Type == "env", nil)
			continue
		}
		var asked struct{ Line string }
		if ssh.Unmarshal(r.Payload, &asked) != nil {
			r.Reply(false, nil)
			continue
		}
		s.commands.Add(1)
		c := newCommand(ctx, s, user, asked.Line, channel, r)
		go ssh.DiscardRequests(requests)
		if s.host.Command != nil {
			s.host.Command(c)
		} else {
			c.Good()
		}
		c.Exit(0) // where it did not end in another way
		return
	}
}

// noticed tells when its client has gone.
type noticed struct {
	net.Conn
	gone func()
}

func (n noticed) Read(b []byte) (int, error) {
	k, err := n.Conn.Read(b)
	if err != nil {
		n.gone()
	}
	return k, err
}

// Wait waits until the client has gone away, or the test has ended.
func Wait(c net.Conn) { io.Copy(io.Discard, c) }

// errRefused is an answer to a login.
var errRefused = errors.New("hostile: no")
