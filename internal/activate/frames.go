package activate

import (
	"bytes"
	"strconv"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/ui/text"
)

// frames reads what the scripts answer (scripts/follow.sh). Log bytes carry
// their offset in the log file, so a line is neither lost nor read twice
// however often the connection goes away in the middle of it.
type frames struct {
	received int64             // log bytes read so far, over all connections
	line     func(line string) // gets every whole line of the log
	heard    func()            // called when anything arrives
	told     func(fact string) // called with the name of every fact as it arrives
	beaten   func(beat)        // called with every sign of life
	whole    func()            // called once, when the answer is whole
	beat     beat              // the last one, over all connections

	facts map[string][]string // of this answer
	held  int                 // bytes of the facts
	ended bool                // the answer is whole
	noise []string            // lines that are no frames

	buf  []byte // an unfinished frame line
	left int64  // bytes of a data frame still to come
	part []byte // an unfinished log line
}

const maxLine = 4096

// maxFacts bounds what is kept of one answer, in bytes.
const maxFacts = 1 << 20

// begin forgets what belongs to one connection.
func (f *frames) begin() {
	f.facts, f.held, f.ended, f.noise, f.buf, f.left = map[string][]string{}, 0, false, nil, nil, 0
}

func (f *frames) Write(p []byte) (int, error) {
	defer crash.Catch()
	n := len(p)
	if f.heard != nil {
		f.heard()
	}
	for len(p) > 0 {
		if f.left > 0 {
			k := min(f.left, int64(len(p)))
			f.log(p[:k])
			f.left -= k
			p = p[k:]
			continue
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if room := maxLine - len(f.buf); room > 0 {
				f.buf = append(f.buf, p[:min(room, len(p))]...)
			}
			break
		}
		line := string(f.buf) + string(p[:i])
		f.buf = nil
		p = p[i+1:]
		f.frame(line)
		if f.held > maxFacts {
			return 0, &bounded.Error{What: "the answer of the host", Limit: maxFacts}
		}
	}
	return n, nil
}

func (f *frames) frame(line string) {
	rest, ok := strings.CutPrefix(line, "::godwit ")
	if !ok {
		if line != "" && len(f.noise) < 20 {
			f.noise = append(f.noise, cleanLine(line))
		}
		return
	}
	word, rest, _ := strings.Cut(rest, " ")
	switch word {
	case "data":
		at, size, _ := strings.Cut(rest, " ")
		offset, err1 := strconv.ParseInt(at, 10, 64)
		left, err2 := strconv.ParseInt(size, 10, 64)
		if err1 != nil || err2 != nil || left < 0 {
			return
		}
		// The log starts anew only when a full /run made the host empty it.
		f.received, f.left = offset, left
	case "fact", "refused":
		name, value := word, rest
		if word == "fact" {
			name, value, _ = strings.Cut(rest, " ")
		}
		f.facts[name] = append(f.facts[name], value)
		f.held += len(rest)
		if f.told != nil {
			f.told(name)
		}
	case "beat":
		f.lives(parseBeat(rest))
	case "end":
		f.ended = true
		if left := f.fact("left"); left != "" {
			f.lives(parseBeat(left + " " + f.fact("phase") + " "))
		}
		if whole := f.whole; whole != nil {
			f.whole = nil
			whole()
		}
	}
}

func (f *frames) lives(b beat) {
	f.beat = b
	if f.beaten != nil {
		f.beaten(b)
	}
}

// fact is the last value of a fact of this answer.
func (f *frames) fact(name string) string {
	if v := f.facts[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// hostProfile is a profile of a deployment as its host tells it.
type hostProfile struct{ name, kind, owner, now, old, new string }

// profiles are those of this answer (scripts/follow.sh, fact_profile). Deployments of
// the first versions tell none.
func (f *frames) profiles() []hostProfile {
	var all []hostProfile
	for _, line := range f.facts["of"] {
		w := strings.Fields(line)
		if len(w) != 6 {
			continue
		}
		for i := range w {
			if w[i] == "-" {
				w[i] = ""
			}
		}
		all = append(all, hostProfile{w[0], w[1], w[2], w[3], w[4], w[5]})
	}
	return all
}

func (f *frames) has(name string) bool { return len(f.facts[name]) > 0 }

func (f *frames) log(p []byte) {
	f.received += int64(len(p))
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if room := maxLine - len(f.part); room > 0 {
				f.part = append(f.part, p[:min(room, len(p))]...)
			}
			return
		}
		if room := maxLine - len(f.part); room > 0 {
			f.part = append(f.part, p[:min(room, i)]...)
		}
		f.emit()
		p = p[i+1:]
	}
}

func (f *frames) emit() {
	if f.line != nil {
		f.line(cleanLine(string(f.part)))
	}
	f.part = nil
}

// flush emits a last line that has no line break.
func (f *frames) flush() {
	if len(f.part) > 0 {
		f.emit()
	}
}

// cleanLine makes a line that people can read: a host's log is shown on somebody's
// terminal.
func cleanLine(s string) string { return strings.TrimRight(text.Clean(s), " ") }
