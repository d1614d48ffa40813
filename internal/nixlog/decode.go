// Package nixlog understands what Nix writes to stderr with
// --log-format internal-json: a Decoder takes the lines apart, a Tracker adds
// them up, Forward turns them into godwit's events.
//
// The format is Nix's own and not promised to stay. What is not known here is
// ignored, and no input makes anything fail: the worst is a line of log.
package nixlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"godwit/internal/ui/text"
)

// Action is what a message reports.
type Action string

// Actions. Text is a line that is not of Nix's JSON log.
const (
	Start  Action = "start"
	Stop   Action = "stop"
	Result Action = "result"
	Msg    Action = "msg"
	Text   Action = "text"
)

// Types of activities.
const (
	TypeUnknown       = 0
	TypeCopyPath      = 100
	TypeFileTransfer  = 101
	TypeRealise       = 102
	TypeCopyPaths     = 103
	TypeBuilds        = 104
	TypeBuild         = 105
	TypeOptimise      = 106
	TypeVerify        = 107
	TypeSubstitute    = 108
	TypeQueryPathInfo = 109
	TypePostBuildHook = 110
	TypeBuildWaiting  = 111
	TypeFetchTree     = 112
)

// Types of results.
const (
	ResultFileLinked  = 100
	ResultLogLine     = 101
	ResultUntrusted   = 102
	ResultCorrupted   = 103
	ResultSetPhase    = 104
	ResultProgress    = 105
	ResultSetExpected = 106
	ResultPostLogLine = 107
	ResultFetchStatus = 108
)

// Levels of messages.
const (
	LevelError  = 0
	LevelWarn   = 1
	LevelNotice = 2
	LevelInfo   = 3
)

// Message is one line of the log.
type Message struct {
	Action Action
	ID     uint64
	Parent uint64
	Level  int
	Type   int
	// Text is the activity's text, the message, or the plain line. A message
	// may have many lines. From a Decoder it is free of control characters otherwise.
	Text string
	// Raw is the message of an error without its trace, where Nix tells.
	Raw    string
	Fields []Field
	// File, Line and Column are where an error in an expression is.
	File         string
	Line, Column int
}

// Field is a value of an activity or a result: a number or a string.
type Field struct {
	Int uint64
	Str string
}

func (m *Message) num(i int) int64 {
	if i < len(m.Fields) {
		return int64(min(m.Fields[i].Int, 1<<62))
	}
	return 0
}

func (m *Message) str(i int) string {
	if i < len(m.Fields) {
		return m.Fields[i].Str
	}
	return ""
}

// MaxLine is how much of one line is looked at. What is longer is cut, and a
// JSON message that was cut is dropped.
const MaxLine = 1 << 20

// Decoder reads messages.
type Decoder struct {
	r    *bufio.Reader
	line []byte
}

// NewDecoder reads from r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: bufio.NewReaderSize(r, 64<<10)} }

// Next gives the next message. Its error is that of the reader, io.EOF at the
// end.
func (d *Decoder) Next() (Message, error) {
	for {
		line, cut, err := d.readLine()
		if err != nil {
			return Message{}, err
		}
		if cut && bytes.HasPrefix(line, prefix) {
			continue
		}
		m, ok := Parse(line)
		if !ok {
			continue
		}
		if m.clean(); m.Action != Text || m.Text != "" {
			return m, nil
		}
	}
}

func (d *Decoder) readLine() (line []byte, cut bool, err error) {
	d.line = d.line[:0]
	for {
		part, err := d.r.ReadSlice('\n')
		if room := MaxLine - len(d.line); len(part) > room {
			part, cut = part[:room], true
		}
		d.line = append(d.line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(d.line, "\r\n"), cut, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(d.line) > 0:
			return bytes.TrimRight(d.line, "\r\n"), cut, nil
		default:
			return nil, false, err
		}
	}
}

var prefix = []byte("@nix ")

// Parse takes one line apart. Its texts are as Nix wrote them, and must be cleaned
// before anybody sees them; a Decoder does both. It is false for a message of an
// action that is not known.
func Parse(line []byte) (Message, bool) {
	if !bytes.HasPrefix(line, prefix) {
		// A program that prints without a line feed leaves its text in front of
		// Nix's next line.
		if i := bytes.Index(line, []byte(`@nix {"action":`)); i > 0 {
			if m, ok := Parse(line[i:]); ok && m.Action != Text {
				return m, true
			}
		}
		return Message{Action: Text, Level: LevelInfo, Text: string(line)}, true
	}
	var j struct {
		Action Action            `json:"action"`
		ID     json.Number       `json:"id"`
		Parent json.Number       `json:"parent"`
		Level  json.Number       `json:"level"`
		Type   json.Number       `json:"type"`
		Text   string            `json:"text"`
		Msg    string            `json:"msg"`
		Raw    string            `json:"raw_msg"`
		Fields []json.RawMessage `json:"fields"`
		File   string            `json:"file"`
		Line   json.Number       `json:"line"`
		Column json.Number       `json:"column"`
		Phase  string            `json:"phase"`
	}
	if err := json.Unmarshal(line[len(prefix):], &j); err != nil {
		var te *json.UnmarshalTypeError
		if !errors.As(err, &te) { // a field of another type leaves the rest usable
			return Message{Action: Text, Level: LevelInfo, Text: string(line)}, true
		}
	}
	m := Message{
		Action: j.Action, ID: unsigned(j.ID), Parent: unsigned(j.Parent),
		Level: small(j.Level), Type: small(j.Type),
		File: j.File, Line: small(j.Line), Column: small(j.Column),
	}
	switch j.Action {
	case Start:
		m.Text = j.Text
	case Msg:
		m.Text, m.Raw = j.Msg, j.Raw
	case Stop, Result:
	case "setPhase": // by a builder that Nix did not listen to
		return Message{Action: Result, Type: ResultSetPhase, Fields: []Field{{Str: j.Phase}}}, true
	default:
		return Message{}, false
	}
	for _, f := range j.Fields {
		var v Field
		if len(f) > 0 && f[0] == '"' {
			_ = json.Unmarshal(f, &v.Str)
		} else {
			v.Int = unsigned(json.Number(f))
		}
		m.Fields = append(m.Fields, v)
	}
	// "file" of newer versions repeats the position.
	if m.Line > 0 {
		m.File = strings.TrimSuffix(m.File, ":"+strconv.Itoa(m.Line)+":"+strconv.Itoa(m.Column))
	}
	return m, true
}

// clean makes the texts of a message fit to be shown.
func (m *Message) clean() {
	if m.Action == Text {
		m.Text = text.Clean(m.Text)
		return
	}
	m.Text, m.Raw, m.File = clean(m.Text), clean(m.Raw), text.Clean(m.File)
	for i := range m.Fields {
		m.Fields[i].Str = text.Clean(m.Fields[i].Str)
	}
}

func unsigned(n json.Number) uint64 {
	v, err := strconv.ParseUint(string(n), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func small(n json.Number) int {
	v, err := strconv.ParseInt(string(n), 10, 32)
	if err != nil {
		return 0
	}
	return int(v)
}

// clean cleans text of many lines.
func clean(s string) string { return strings.Join(text.Lines(s, 2000), "\n") }
