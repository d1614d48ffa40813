package ssh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"godwit/internal/crash"
)

// Commands over a connection that stands are sessions of its master, which we ask for
// ourselves, as OpenSSH's PROTOCOL.mux says (version 4, since OpenSSH 5.6): an ssh for each
// would be a program to start that does no more. Where a master does not give one, ssh is
// started after all, which then says why, or finds another way.

// Messages of the protocol. Each is a packet: its length, then numbers of four bytes and
// strings with their length in front.
const (
	muxHello      uint32 = 0x00000001
	muxNewSession uint32 = 0x10000002
	muxExit       uint32 = 0x80000004
	muxOpened     uint32 = 0x80000006

	muxVersion   uint32 = 4
	muxPacketMax        = 256 << 10 // what a master takes, in bytes; its own are a few bytes, or a reason
)

// exitStatus is the status of a command, or 255 where the session ended without one, as
// an ssh ends.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitStatus) ExitCode() int { return int(e) }

// muxRequest is what is asked of a master.
type muxRequest struct {
	command string
	agent   bool     // the agent is forwarded
	env     []string // NAME=VALUE
	files   [3]*os.File
}

// packet makes one of numbers and strings.
func packet(parts ...any) []byte {
	b := make([]byte, 4)
	for _, p := range parts {
		switch p := p.(type) {
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// readPacket gives the numbers at the beginning of a packet.
func readPacket(r io.Reader) (numbers [3]uint32, err error) {
	var size uint32
	if err := binary.Read(r, binary.BigEndian, &size); err != nil {
		return numbers, err
	}
	if size > muxPacketMax {
		return numbers, fmt.Errorf("a packet of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return numbers, err
	}
	for i := range numbers {
		if len(b) >= 4 {
			numbers[i], b = binary.BigEndian.Uint32(b), b[4:]
		}
	}
	return numbers, nil
}

// muxSession is a session that was asked for.
type muxSession struct{ conn *net.UnixConn }

// openSession asks the master behind a socket for a session. The error is that of a
// master that gives none; then nothing has begun.
func openSession(ctx context.Context, socket string, q muxRequest) (*muxSession, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { defer crash.Catch(); conn.Close() })
	defer stop()
	if err := askSession(conn, q); err != nil {
		conn.Close()
		return nil, err
	}
	return &muxSession{conn}, nil
}

func askSession(conn *net.UnixConn, q muxRequest) error {
	if _, err := conn.Write(packet(muxHello, muxVersion)); err != nil {
		return err
	}
	is, err := readPacket(conn)
	if err != nil {
		return err
	}
	if is[0] != muxHello || is[1] != muxVersion {
		return fmt.Errorf("it speaks version %d", is[1])
	}
	const no, noEscape = uint32(0), uint32(0xffffffff)
	agent := no
	if q.agent {
		agent = 1
	}
	const id, terminal, x11, subsystem = no, no, no, no
	parts := []any{muxNewSession, id, "", terminal, x11, agent, subsystem, noEscape, "", q.command}
	for _, e := range q.env {
		parts = append(parts, e)
	}
	ask := packet(parts...)
	if len(ask) > muxPacketMax {
		return errors.New("it is too much for one packet")
	}
	if _, err := conn.Write(ask); err != nil {
		return err
	}
	for _, f := range q.files { // one at a time: so they are read
		if _, _, err := conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(f.Fd())), nil); err != nil {
			return err
		}
	}
	if is, err = readPacket(conn); err != nil {
		return err
	}
	if is[0] != muxOpened {
		return fmt.Errorf("it answered %#x", is[0])
	}
	return nil
}

// wait waits for the end of the session: nil for status 0, an exitStatus otherwise.
func (s *muxSession) wait() error {
	status := exitStatus(255)
	for {
		is, err := readPacket(s.conn)
		if err != nil { // the master closes it when all output has been written
			break
		}
		if is[0] == muxExit {
			status = exitStatus(is[2])
		}
	}
	s.conn.Close()
	if status == 0 {
		return nil
	}
	return status
}
