package history

import (
	"strings"
	"unicode/utf8"

	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// MaxMessage is the size of a message in bytes. It travels to each host and stays in
// the record there, in one line of at most some kilobytes.
const MaxMessage = 1000

// CheckMessage refuses what cannot be kept as the reason of a run: it is one line of
// readable text. A trailing line feed, as from a command that wrote it, is taken off.
func CheckMessage(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case len(s) > MaxMessage:
		return "", fault.New("the message has %d bytes, and may have %d", len(s), MaxMessage).Hint("name the pull request or the issue instead")
	case strings.ContainsAny(s, "\n\r"):
		return "", fault.New("the message has more than one line").Hint("give its first line: --message %s", strings.TrimSpace(strings.SplitN(strings.ReplaceAll(s, "\r", "\n"), "\n", 2)[0]))
	case !utf8.ValidString(s) || text.Clean(s) != s:
		return "", fault.New("the message has characters that cannot be shown: %s", text.Clean(s))
	}
	return s, nil
}
