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

// The wordings of failures, of all versions from 2.8 to 2.34.
var (
	// 2.8 to 2.29: error: builder for '/nix/store/….drv' failed with exit code 1
	builderFailed = regexp.MustCompile(`^builder for '(.+?\.drv)' (failed .*?)[.;]?$`)
	// from 2.30: Cannot build '/nix/store/….drv'. / Reason: builder failed with exit code 1.
	cannotBuild = regexp.MustCompile(`(?i)^cannot build '(.+?\.drv)'`)
	reasonLine  = regexp.MustCompile(`^\s*Reason: *(.*?)\.?\s*$`)
	// Either may say that something else failed.
	dependencies = regexp.MustCompile(`^\d+ dependenc(?:y|ies) of derivation '(.+?\.drv)' failed`)
	cannotOld    = regexp.MustCompile(`^cannot build derivation '(.+?\.drv)': \d+ dependenc`)
	dependency   = regexp.MustCompile(`(?i)\bdependenc(?:y|ies)\b.*\b(?:failed|couldn't be built)`)
	mismatch     = regexp.MustCompile(`^hash mismatch in fixed-output derivation '(.+?\.drv)'`)
	timedOut     = regexp.MustCompile(`^building of '(.+?\.drv)[!^'].* (timed out .*)$`)
	// a 'aarch64-linux' with features {big-parallel} is required to build '….drv', but I am a 'x86_64-linux' with features {…}
	wrongSystem = regexp.MustCompile(`^[Aa] '([^']+)' with features \{([^}]*)\} is required to build '([^']+)', but I am a '([^']+)'`)
	// 2.34: Reason: platform mismatch / Required system: 'riscv64-linux' / Current system: 'x86_64-linux'
	// 2.34: Reason: missing system features / Required features: {foo, kvm} / Available features: {…}
	// between them: Required system: 'aarch64-linux' with features {…}
	requiredSystem   = regexp.MustCompile(`^\s*Required system: '([^']+)'(?: with features \{([^}]*)\})?`)
	currentSystem    = regexp.MustCompile(`^\s*Current system: '([^']+)'`)
	requiredFeatures = regexp.MustCompile(`^\s*Required features: \{([^}]*)\}`)
	summary          = regexp.MustCompile(`^build of '.*' failed$`)
)

// inLines looks for a wording in the lines of an error; nil when it is in none.
func (e *Error) inLines(re *regexp.Regexp) []string {
	for _, l := range e.Lines {
		if m := re.FindStringSubmatch(l); m != nil {
			return m
		}
	}
	return nil
}

// failureOf says which derivation an error is about; false when it is about
// none or about many.
func failureOf(e *Error) (Failure, bool) {
	msg := e.Message
	if m := builderFailed.FindStringSubmatch(msg); m != nil {
		return Failure{Drv: m[1], Reason: "builder " + m[2]}, true
	}
	for _, re := range []*regexp.Regexp{dependencies, cannotOld} {
		if m := re.FindStringSubmatch(msg); m != nil {
			return Failure{Drv: m[1], Reason: "something it needs failed", Dependency: true}, true
		}
	}
	if m := wrongSystem.FindStringSubmatch(msg); m != nil {
		return refused(m[3], m[1], m[2], m[4]), true
	}
	if m := cannotBuild.FindStringSubmatch(msg); m != nil {
		return cannot(m[1], e), true
	}
	if m := mismatch.FindStringSubmatch(msg); m != nil {
		f := Failure{Drv: m[1], Reason: "hash mismatch in fixed-output derivation " + Name(m[1])}
		for _, l := range e.Lines { // what was specified and what came
			if l = strings.TrimSpace(l); strings.HasPrefix(l, "specified:") || strings.HasPrefix(l, "got:") || strings.HasPrefix(l, "wanted:") {
				f.Log = append(f.Log, l)
			}
		}
		return f, true
	}
	if m := timedOut.FindStringSubmatch(msg); m != nil {
		return Failure{Drv: m[1], Reason: m[2]}, true
	}
	if summary.MatchString(msg) || e.Drv == "" {
		return Failure{}, false
	}
	all := drvPath.FindAllString(msg, -1)
	for _, d := range all {
		if d != all[0] {
			return Failure{}, false
		}
	}
	reason := strings.NewReplacer("'"+e.Drv+"'", Name(e.Drv), e.Drv, Name(e.Drv)).Replace(msg)
	return Failure{Drv: e.Drv, Reason: strings.TrimSuffix(reason, ":")}, true
}

// cannot is the failure of a message that says the reason on its lines.
func cannot(drv string, e *Error) Failure {
	if m := e.inLines(requiredSystem); m != nil {
		have := ""
		if c := e.inLines(currentSystem); c != nil {
			have = c[1]
		}
		return refused(drv, m[1], m[2], have)
	}
	if m := e.inLines(requiredFeatures); m != nil {
		return Failure{Drv: drv, Required: m[1], Reason: "it needs a builder with the features " + m[1]}
	}
	m := e.inLines(reasonLine)
	if m == nil || m[1] == "" {
		return Failure{Drv: drv, Reason: "cannot be built"}
	}
	return Failure{Drv: drv, Reason: m[1], Dependency: dependency.MatchString(m[1])}
}

// refused is the failure of a derivation that is not for this builder.
func refused(drv, system, features, have string) Failure {
	f := Failure{Drv: drv, Required: system, Have: have}
	what := system
	if features = strings.TrimSpace(features); features != "" {
		what += " with " + features
	}
	f.Reason = "it needs a builder for " + what
	if have != "" {
		f.Reason += "; this one is " + have
	}
	return f
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
