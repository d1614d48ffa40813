// Package redact hides the secrets that this process knows in whatever it shows or
// writes down. Whoever opens a secret says so (Know); the cleaner of text, the outputs,
// the events and the history ask (String, Bytes).
//
// What is hidden is the whole secret, each of its lines, and the forms in which programs
// repeat it: base64, hexadecimal, JSON, a URL. A text shorter than Least is not hidden, nor
// is one that is a word of godwit's own messages: it occurs everywhere, and hiding it would
// say what it is.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Least is the length of the shortest text that is hidden, in bytes; most bounds what is
// looked at of one secret: a disk image is no text that would be repeated.
const (
	Least = 6
	most  = 256 << 10
)

// Mark stands in the place of a secret.
const Mark = "[secret]"

// common are words of that length or more that godwit itself says all the time.
var common = func() map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(`
		secret secrets password passwords passwd changed unchanged content default disabled enabled example
		deploy deployed deployment builder building system systems switch profile profiles activate activation
		connect connection machine machines service services network localhost nothing something warning failed
		missing address destination source directory x86_64-linux aarch64-linux root:root
		evaluate evaluating evaluated pre-check reboot checks derivations started progress waiting skipped result
		pushed healthy uploaded rolled-back rollback untouched not-started interrupted unreachable superseded unknown
		version schema outcome running confirmed copied`) {
		all[w] = true
	}
	return all
}()

var (
	mu    sync.Mutex
	known = map[string]bool{}
	stale atomic.Bool
	now   atomic.Pointer[strings.Replacer]
)

// Know has a secret hidden from now on.
func Know(secret []byte) {
	if len(secret) > most {
		secret = secret[:most]
	}
	whole := string(secret)
	forms := []string{whole, strings.TrimSpace(whole)}
	for _, line := range strings.Split(whole, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----") || strings.HasPrefix(line, "#") { // of every such file
			continue
		}
		forms = append(forms, line)
		// KEY=VALUE and KEY: VALUE are named by what is repeated of them.
		for _, sep := range []string{"=", ": "} {
			if _, v, ok := strings.Cut(line, sep); ok {
				forms = append(forms, strings.Trim(strings.TrimSpace(v), `"'`))
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, f := range forms {
		if bare := strings.TrimSpace(f); len(bare) < Least || known[f] || common[strings.ToLower(bare)] {
			continue
		}
		known[f] = true
		quoted, _ := json.Marshal(f)
		for _, o := range []string{
			base64.StdEncoding.EncodeToString([]byte(f)), base64.RawStdEncoding.EncodeToString([]byte(f)),
			base64.RawURLEncoding.EncodeToString([]byte(f)), hex.EncodeToString([]byte(f)),
			url.QueryEscape(f), string(quoted[1 : len(quoted)-1]), strings.ReplaceAll(f, "'", `'\''`),
		} {
			known[o] = true
		}
	}
	stale.Store(true)
}

// replacer is nil as long as there is nothing to hide.
func replacer() *strings.Replacer {
	if !stale.Load() {
		return now.Load()
	}
	mu.Lock()
	defer mu.Unlock()
	if !stale.Load() {
		return now.Load()
	}
	var all []string
	for k := range known {
		all = append(all, k)
	}
	// The longest first: a line must not take a piece out of the whole.
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, k := range all {
		pairs = append(pairs, k, Mark)
	}
	if len(pairs) > 0 {
		now.Store(strings.NewReplacer(pairs...))
	}
	stale.Store(false)
	return now.Load()
}

// String is s without the secrets.
func String(s string) string {
	if r := replacer(); r != nil {
		return r.Replace(s)
	}
	return s
}

// Bytes is String for bytes; where nothing is hidden it gives b itself.
func Bytes(b []byte) []byte {
	r := replacer()
	if r == nil {
		return b
	}
	s := string(b)
	if t := r.Replace(s); t != s {
		return []byte(t)
	}
	return b
}

// JSON is Bytes for JSON texts: the values that are strings lose their secrets, while names
// and what else makes the text stay as they are, so that it stays one of its schema. What is
// no JSON is taken for text.
func JSON(b []byte) []byte {
	if replacer() == nil || !json.Valid(b) {
		return Bytes(b)
	}
	var out []byte
	for len(b) > 0 {
		start := bytes.IndexByte(b, '"')
		if start < 0 {
			break
		}
		end := start + 1
		for b[end] != '"' {
			if b[end] == '\\' {
				end++
			}
			end++
		}
		end++
		out = append(out, b[:start]...)
		out = append(out, value(b[start:end], bytes.TrimLeft(b[end:], " \t\r\n"))...)
		b = b[end:]
	}
	return append(out, b...)
}

// value is a string of a JSON text without secrets; after is what follows it.
func value(quoted, after []byte) []byte {
	var s string
	if len(after) > 0 && after[0] == ':' || json.Unmarshal(quoted, &s) != nil {
		return quoted
	}
	clean := String(s)
	if clean == s {
		return quoted
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(clean) != nil {
		return []byte(`"` + Mark + `"`)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// Forget forgets everything; for tests.
func Forget() {
	mu.Lock()
	defer mu.Unlock()
	clear(known)
	now.Store(nil)
	stale.Store(false)
}
