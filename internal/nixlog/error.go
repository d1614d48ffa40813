package nixlog

import (
	"regexp"
	"strconv"
	"strings"
)

// Error is an error message of Nix, taken apart.
type Error struct {
	// Message is the one line that says what is wrong, without "error:".
	Message string
	// Lines are what belongs to the message and follows it.
	Lines []string
	// Pos is where it is, as file:line:column; it may be empty.
	Pos string
	// Trace are all the positions in the message, the innermost first.
	Trace []string
	// Drv is the derivation that the message names, if it names one.
	Drv string
	// Text is the whole message with its trace.
	Text string
}

// Error is the message with its position in front.
func (e *Error) Error() string {
	if e.Pos != "" {
		return e.Pos + ": " + e.Message
	}
	return e.Message
}

var (
	errorLine = regexp.MustCompile(`^(?: {7})?error:(?: (.*))?$`)
	atLine    = regexp.MustCompile(`^\s*at (.+?:\d+(?::\d+)?)(?::|$)`)
	// 2.3 wrote: undefined variable 'x' at /a.nix:1:2
	atEnd   = regexp.MustCompile(`^(.*),? at (/[^ ]+:\d+:\d+)$`)
	drvPath = regexp.MustCompile(`/[^\s'"!^]*/[0-9a-z]{32}-[^\s'"!^/]+\.drv`)
)

// ParseError finds the reason in an error message of any Nix, with or without
// a trace. It gives nil when text holds no error.
func ParseError(txt string) *Error {
	lines := strings.Split(clean(txt), "\n")
	at := -1
	for i, l := range lines {
		// The last one counts, as long as it says something.
		if m := errorLine.FindStringSubmatch(l); m != nil && (m[1] != "" || at < 0) {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	e := &Error{Text: strings.Join(lines, "\n")}
	if m := errorLine.FindStringSubmatch(lines[at]); m != nil {
		e.Message = strings.TrimSpace(m[1])
	}
	i := at + 1
	for ; i < len(lines); i++ {
		t := strings.TrimSpace(lines[i])
		if atLine.MatchString(lines[i]) || strings.HasPrefix(t, "… ") || strings.HasPrefix(t, "(stack trace truncated") ||
			t == "" && i+1 < len(lines) && (atLine.MatchString(lines[i+1]) || strings.HasPrefix(strings.TrimSpace(lines[i+1]), "… ")) {
			break
		}
		if e.Message == "" {
			e.Message = t
			continue
		}
		e.Lines = append(e.Lines, strings.TrimPrefix(lines[i], "       "))
	}
	for len(e.Lines) > 0 && strings.TrimSpace(e.Lines[len(e.Lines)-1]) == "" {
		e.Lines = e.Lines[:len(e.Lines)-1]
	}
	// A suggestion stands below the excerpt of the source.
	for ; i < len(lines); i++ {
		if t := strings.TrimSpace(lines[i]); strings.HasPrefix(t, "Did you mean ") {
			e.Lines = append(e.Lines, t)
		}
	}
	if m := atEnd.FindStringSubmatch(e.Message); m != nil && e.Pos == "" {
		e.Message, e.Pos = m[1], m[2]
		e.Trace = append(e.Trace, m[2])
	}
	// Positions after the message are nearest first, those before it nearest last.
	for _, l := range lines[at+1:] {
		if m := atLine.FindStringSubmatch(l); m != nil {
			e.Trace = append(e.Trace, m[1])
		}
	}
	for i := at; i >= 0; i-- {
		if m := atLine.FindStringSubmatch(lines[i]); m != nil {
			e.Trace = append(e.Trace, m[1])
		}
	}
	if e.Pos == "" && len(e.Trace) > 0 {
		e.Pos = e.Trace[0]
	}
	if d := drvPath.FindString(e.Message); d != "" {
		e.Drv = d
	}
	return e
}

// errorOf takes a message of level 0 apart; nil when it is none of an error.
func errorOf(m Message) *Error {
	e := ParseError(m.Text)
	if e == nil {
		return nil
	}
	if m.Raw != "" {
		first, rest, _ := strings.Cut(m.Raw, "\n")
		var hint []string
		for _, l := range e.Lines {
			if strings.HasPrefix(l, "Did you mean ") {
				hint = append(hint, l)
			}
		}
		e.Message, e.Lines = strings.TrimSpace(first), nil
		if rest != "" {
			e.Lines = strings.Split(rest, "\n")
		}
		e.Lines = append(e.Lines, hint...)
		if d := drvPath.FindString(first); d != "" {
			e.Drv = d
		}
	}
	if m.File != "" && m.Line > 0 {
		e.Pos = m.File + ":" + strconv.Itoa(m.Line)
		if m.Column > 0 {
			e.Pos += ":" + strconv.Itoa(m.Column)
		}
	}
	return e
}

// failure is what an error says about a derivation.
type failure struct {
	drv        string
	reason     string
	dependency bool // it failed only because something it needs did
}

var (
	builderFailed = regexp.MustCompile(`^builder for '(.+?\.drv)' (failed .*?)[.;]?$`)
	cannotBuild   = regexp.MustCompile(`^Cannot build '(.+?\.drv)'\.`)
	dependencies  = regexp.MustCompile(`^\d+ dependenc(?:y|ies) of derivation '(.+?\.drv)' failed`)
	cannotOld     = regexp.MustCompile(`^cannot build derivation '(.+?\.drv)': \d+ dependenc`)
	mismatch      = regexp.MustCompile(`^hash mismatch in fixed-output derivation '(.+?\.drv)'`)
	timedOut      = regexp.MustCompile(`^building of '(.+?\.drv)[!^'].* (timed out .*)$`)
	wrongSystem   = regexp.MustCompile(`^a '(.+?)' with features (\{.*?\}) is required to build '(.+?\.drv)', but I am a '(.+?)'`)
	summary       = regexp.MustCompile(`^build of '.*' failed$`)
)

// failureOf says which derivation an error is about; false when it is about
// none or about many.
func failureOf(e *Error) (failure, bool) {
	msg := e.Message
	if m := builderFailed.FindStringSubmatch(msg); m != nil {
		return failure{m[1], m[2], false}, true
	}
	if m := cannotBuild.FindStringSubmatch(msg); m != nil {
		f := failure{drv: m[1], reason: "cannot be built"}
		facts := map[string]string{}
		for _, l := range e.Lines {
			k, v, _ := strings.Cut(strings.TrimSpace(l), ": ")
			facts[k] = v
		}
		if r := strings.TrimSuffix(facts["Reason"], "."); r != "" {
			f.reason = strings.TrimPrefix(r, "builder ")
			f.dependency = strings.Contains(r, "dependency failed") || strings.Contains(r, "dependencies failed")
			if s := strings.Trim(facts["Required system"], "'"); s != "" {
				f.reason = needs(s, strings.Trim(facts["Current system"], "'"))
			}
		}
		return f, true
	}
	for _, re := range []*regexp.Regexp{dependencies, cannotOld} {
		if m := re.FindStringSubmatch(msg); m != nil {
			return failure{m[1], "something it needs failed", true}, true
		}
	}
	if m := mismatch.FindStringSubmatch(msg); m != nil {
		reason := "hash mismatch"
		for _, l := range e.Lines {
			if k, v, ok := strings.Cut(strings.TrimSpace(l), ":"); ok {
				reason += ", " + k + " " + strings.TrimSpace(v)
			}
		}
		return failure{m[1], reason, false}, true
	}
	if m := timedOut.FindStringSubmatch(msg); m != nil {
		return failure{m[1], m[2], false}, true
	}
	if m := wrongSystem.FindStringSubmatch(msg); m != nil {
		return failure{m[3], needs(m[1], m[4]), false}, true
	}
	if summary.MatchString(msg) || e.Drv == "" {
		return failure{}, false
	}
	all := drvPath.FindAllString(msg, -1)
	for _, d := range all {
		if d != all[0] {
			return failure{}, false
		}
	}
	return failure{e.Drv, strings.ReplaceAll(msg, e.Drv, Name(e.Drv)), false}, true
}

func needs(want, have string) string {
	s := "needs " + want
	if have != "" && have != want {
		s += ", the builder is " + have
	}
	return s
}

// Name is what a person calls a derivation or a store path: the path without
// directory, hash and ".drv".
func Name(path string) string {
	base := path[strings.LastIndexByte(path, '/')+1:]
	if len(base) > 33 && base[32] == '-' {
		base = base[33:]
	}
	return strings.TrimSuffix(base, ".drv")
}
