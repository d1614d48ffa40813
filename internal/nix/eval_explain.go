package nix

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/nixlog"
	"godwit/internal/regular"
	"godwit/internal/ui/text"
)

// UnknownOption is the cause of an error about an option that does not exist.
type UnknownOption struct {
	Option []string // its path, such as services, openshh
	File   string   // where it is set; may be empty
}

func (e *UnknownOption) Error() string {
	return "unknown option " + strings.Join(e.Option, ".")
}

// ForeignSystem is the cause of an error about a derivation that this machine
// cannot build. While evaluating that is "import from derivation".
type ForeignSystem struct {
	DrvPath, System, Here string
	Features              []string
}

func (e *ForeignSystem) Error() string { return "cannot build for " + e.System }

// trace is what Nix said about one failure. Until Nix 2.19 the message comes
// first and the frames after it, from the inside out; since 2.20 the frames
// come first, from the outside in, and the message last.
type trace struct {
	msg    []string // the message, its lines without indentation
	at     position
	mean   string     // Nix's own "Did you mean ...?"
	frames []position // from the inside out
	all    []string   // everything, as Nix wrote it
	assert string     // the assertion whose condition was being compared (since Nix 2.25)
	option string     // the innermost option that was being evaluated
	from   string     // the file that defines it
}

type position struct {
	file      string
	line, col int
}

func (p position) known() bool { return p.file != "" }

// foreign says whether a position is in code that is not the person's own.
func (p position) foreign() bool {
	if !p.known() || !filepath.IsAbs(p.file) || strings.HasPrefix(p.file, "/nix/store/") {
		return true
	}
	for _, entry := range filepath.SplitList(os.Getenv("NIX_PATH")) {
		if name, dir, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, "nixpkgs") && strings.HasPrefix(p.file, filepath.Clean(dir)+"/") {
			return true
		}
	}
	for _, part := range []string{"/nixos/modules/", "/nixos/lib/", "/pkgs/stdenv/", "/pkgs/top-level/", "/pkgs/build-support/", "/pkgs/by-name/"} {
		if strings.Contains(p.file, part) {
			return true
		}
	}
	// nixpkgs' lib, wherever it is
	dir := filepath.Dir(p.file)
	return filepath.Base(dir) == "lib" && slices.Contains([]string{
		"modules.nix", "types.nix", "options.nix", "attrsets.nix", "lists.nix", "strings.nix", "trivial.nix",
		"customisation.nix", "asserts.nix", "derivations.nix", "fixed-points.nix", "meta.nix",
	}, filepath.Base(p.file))
}

func (p position) String() string {
	if p.line == 0 {
		return short(p.file)
	}
	return fmt.Sprintf("%s:%d:%d", short(p.file), p.line, p.col)
}

// short writes a path as one would type it from here.
func short(path string) string {
	wd, err := os.Getwd()
	if err != nil || !filepath.IsAbs(path) {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

var (
	errorLine = regexp.MustCompile(`^(\s*)error:(?:\s+(.*))?$`)
	// error:0A000086:SSL routines::certificate verify failed    (OpenSSL, curl)
	libraryLine = regexp.MustCompile(`^()error:(\S.*)$`)
	// at /a/b.nix:3:5:      at «stdin»:1:2:      at (string):1:2:
	atLine      = regexp.MustCompile(`^\s*at (.+):(\d+):(\d+):?$`)
	frameLine   = regexp.MustCompile(`^\s*… `)
	codeLine    = regexp.MustCompile(`^\s*\d*\s*\|`)
	meanLine    = regexp.MustCompile(`^\s*Did you mean (?:one of )?(.*)\?$`)
	optionFrame = regexp.MustCompile("^\\s*… while evaluating the option [`'‘](.+?)['’]:?$")
	assertFrame = regexp.MustCompile(`^\s*… while evaluating the condition of the assertion '(.+)'$`)
	fromFrame   = regexp.MustCompile("^\\s*… while evaluating definitions from [`'‘](.+?)['’]:?$")
	// in a message: syntax error ... at /a/b.nix:3:5   (Nix before 2.4 and some messages since)
	atWithin = regexp.MustCompile(`,? at (/\S+|«\S+»):(\d+):(\d+)$`)
)

// parse finds the first failure in what a Nix program wrote.
func parse(stderr string) *trace {
	var lines []string
	for _, l := range strings.Split(strings.TrimRight(stderr, "\n"), "\n") {
		if m, ok := nixlog.Parse([]byte(l)); ok && (m.Action == nixlog.Msg || m.Action == nixlog.Text) {
			lines = append(lines, strings.Split(text.Strip(m.Text), "\n")...)
		}
	}
	// Nix's own errors count before those of libraries that it uses.
	errorLine := errorLine
	begins := func(l string) bool { m := errorLine.FindStringSubmatch(l); return m != nil && m[1] == "" }
	first := slices.IndexFunc(lines, begins)
	if first < 0 {
		errorLine = libraryLine
		first = slices.IndexFunc(lines, begins)
	}
	if first < 0 {
		return nil
	}
	// The next such line is another failure.
	end := len(lines)
	if i := slices.IndexFunc(lines[first+1:], begins); i >= 0 {
		end = first + 1 + i
	}
	t := &trace{all: lines[first:end]}
	body := t.all
	start := 0
	after := true // frames after the message, from the inside out
	if m := errorLine.FindStringSubmatch(body[0]); m[2] == "" && len(body) > 1 {
		for i := len(body) - 1; i > 0; i-- {
			if m := errorLine.FindStringSubmatch(body[i]); m != nil && len(m[1]) == 7 {
				start, after = i, false
				break
			}
		}
		if start == 0 { // "error:" alone, the message on the lines below it
			body = append([]string{"error: " + strings.TrimSpace(body[1])}, body[2:]...)
		}
	}
	var outer []position
	if !after {
		outer = frames(body[:start])
		slices.Reverse(outer)
	}
	m := errorLine.FindStringSubmatch(body[start])
	t.msg = []string{strings.TrimSpace(m[2])}
	i := start + 1
	for ; i < len(body); i++ {
		l := body[i]
		if atLine.MatchString(l) || frameLine.MatchString(l) || strings.HasPrefix(l, "(use '--show-trace'") {
			break
		}
		if d := meanLine.FindStringSubmatch(l); d != nil && len(t.msg) > 0 && strings.TrimSpace(body[max(i-1, 0)]) == "" {
			t.mean = d[1]
			continue
		}
		t.msg = append(t.msg, strings.TrimRight(strings.TrimPrefix(l, "       "), " "))
	}
	for len(t.msg) > 1 && strings.TrimSpace(t.msg[len(t.msg)-1]) == "" {
		t.msg = t.msg[:len(t.msg)-1]
	}
	if i < len(body) && atLine.MatchString(body[i]) {
		t.at = at(body[i])
		i++
	} else if a := atWithin.FindStringSubmatch(t.msg[0]); a != nil {
		t.at = number(a[1], a[2], a[3])
		t.msg[0] = strings.TrimSuffix(t.msg[0], a[0])
	}
	for j := i; j < len(body); j++ {
		if d := meanLine.FindStringSubmatch(body[j]); d != nil && t.mean == "" {
			t.mean = d[1]
		}
	}
	t.frames = append(frames(body[i:]), outer...)
	// What the module system adds: the option, and the file of its definitions.
	contexts := body[i:]
	if !after {
		contexts = slices.Clone(body[:start])
		slices.Reverse(contexts)
	}
	for _, l := range contexts {
		if m := optionFrame.FindStringSubmatch(l); m != nil && t.option == "" {
			t.option = m[1]
		} else if m := assertFrame.FindStringSubmatch(l); m != nil && t.assert == "" {
			t.assert = m[1]
		} else if m := fromFrame.FindStringSubmatch(l); m != nil && t.from == "" {
			t.from = m[1]
		}
	}
	return t
}

func at(line string) position {
	m := atLine.FindStringSubmatch(line)
	return number(m[1], m[2], m[3])
}

func number(file, line, col string) position {
	p := position{file: file}
	p.line, _ = strconv.Atoi(line)
	p.col, _ = strconv.Atoi(col)
	return p
}

// frames are the positions in the lines of a trace, in their order.
func frames(lines []string) []position {
	var out []position
	for _, l := range lines {
		if atLine.MatchString(l) && !codeLine.MatchString(l) {
			out = append(out, at(l))
		}
	}
	return out
}

// own is the innermost position in the person's own files.
func (t *trace) own() position {
	for _, p := range append([]position{t.at}, t.frames...) {
		if !p.foreign() {
			return p
		}
	}
	if p := (position{file: t.from}); !p.foreign() {
		return locate(t.from, splitOption(t.option), "")
	}
	return position{}
}

var (
	optionMissing  = regexp.MustCompile("^The option [`'‘](.+?)['’](?: defined in [`'‘](.+)['’])? does not exist\\.")
	optionType     = regexp.MustCompile("^A definition for option [`'‘](.+?)['’] is not of type [`'‘](.+?)['’]\\.")
	optionTypeOld  = regexp.MustCompile("^The option value [`'‘](.+?)['’] in [`'‘](.+)['’] is not of type [`'‘](.+?)['’]\\.")
	optionConflict = regexp.MustCompile("^The (?:unique )?option [`'‘](.+?)['’] (?:has conflicting definition|is defined multiple times)")
	optionUndef    = regexp.MustCompile("^The option [`'‘](.+?)['’] (?:is used but not defined|was accessed but has no value defined)")
	listEntry      = regexp.MustCompile(`\."\[definition \d+-entry (\d+)\]"`)
	optionWhere    = regexp.MustCompile("^\\s*- In [`'‘](.+?)['’](?:: ?(.*))?$")
	foreignOld     = regexp.MustCompile(`^a '([^']+)' with features \{([^}]*)\} is required to build '([^']+)', but I am a '([^']+)'`)
	foreignReq     = regexp.MustCompile(`Required system: '([^']+)'(?: with features \{([^}]*)\})?`)
	foreignCur     = regexp.MustCompile(`Current system: '([^']+)'`)
	foreignDrv     = regexp.MustCompile(`(?i)cannot build '([^']+\.drv)'`)
	isLinux        = regexp.MustCompile(`^assertion '.*\b(isLinux|isNixOS)\b.*' failed`)
	searchPath     = regexp.MustCompile(`^file '([^']+)' was not found in the Nix search path`)
	noFile         = regexp.MustCompile(`^(?:getting status of|opening file|opening directory|reading (?:file|directory)) '([^']+)': No such file or directory|^path '([^']+)' does not exist`)
	noPlatform     = regexp.MustCompile(`nor the legacy option(?s:.*)nixpkgs\.system|nixpkgs\.system(?s:.*)nor the legacy option`)
	untracked      = regexp.MustCompile(`^Path '([^']+)' in the repository "([^"]+)" is not tracked by Git`)
	noFlake        = regexp.MustCompile(`^(?:could not find a flake\.nix file|unable to find a flake before encountering|path ['"]([^'"]+)['"] is not part of a flake)`)
	pureSystem     = regexp.MustCompile(`^attribute 'currentSystem' missing`)
	purePath       = regexp.MustCompile(`^access to absolute path '([^']+)' is forbidden in pure eval`)
	pureSearch     = regexp.MustCompile(`^cannot look up '<([^>]+)>' in pure eval`)
	pureLock       = regexp.MustCompile(`^cannot (?:update|lock|fetch) (?:unlocked|mutable) flake (?:input|reference)? ?'([^']+)' in pure mode`)
	tokens         = regexp.MustCompile(`unable to download '(https://(api\.github\.com|github\.com|gitlab\.com|git\.sr\.ht)/[^']*)': HTTP error (401|403|404|429)`)
	registry       = regexp.MustCompile(`unable to download '(https://[^']*flake-registry\.json)': ([^\n]*)`)
	httpRefused    = regexp.MustCompile(`unable to download '([^']+)': HTTP error (40[0-9])`)
	gitFetch       = regexp.MustCompile(`(?m)^program 'git' failed with exit code \d+|^Failed to fetch git repository '([^']+)'|^resolving Git reference '[^']*': revspec .* not found`)
	gitOwner       = regexp.MustCompile(`repository path '([^']+)' is not owned by current user|dubious ownership in repository at '([^']+)'`)
	narMismatch    = regexp.MustCompile(`^NAR hash mismatch in input '([^']+)'`)
	recursion      = regexp.MustCompile(`^infinite recursion encountered`)
	overflow       = regexp.MustCompile(`^stack overflow`)
	assertions     = regexp.MustCompile(`^Failed assertions:|Failed assertions:$`)
	noDaemon       = regexp.MustCompile(`^cannot connect to socket at|daemon-socket`)
	maybeEncrypted = regexp.MustCompile(`^(?:syntax error|undefined variable|.*\binvalid token\b|the contents of the file '([^']+)' cannot be represented as a Nix string|.*contains? a? ?null byte)`)
	tmpPaths       = regexp.MustCompile(`^/nix/store/[0-9a-z]{32}-`)
)

// Explain turns what a Nix program wrote on stderr into an error that a person
// reads: the one true line with the place in the person's own file, what it
// means where Nix does not say, and what to do. It gives nil when stderr holds
// no error of Nix's. Both orders of traces and internal-json are understood.
func Explain(stderr string) *fault.Error {
	t := parse(stderr)
	if t == nil {
		return nil
	}
	f := t.explain()
	if len(t.frames) > 0 || strings.Contains(stderr, "--show-trace") {
		if len(f.Hints) == 0 {
			f.Hint("--show-trace shows how evaluation came there")
		}
	}
	return f
}

// say makes an error with a place in front of it.
func say(p position, format string, args ...any) *fault.Error {
	msg := fmt.Sprintf(format, args...)
	if p.known() && !strings.HasPrefix(p.file, "«") && !strings.HasPrefix(p.file, "(") {
		msg = p.String() + ": " + msg
	}
	return fault.New("%s", msg)
}

// known is a failure that Nix or the module system words in a way of its own.
type known struct {
	// matches gives what answer needs of the message (its first line, and all of
	// it); nil when this is another failure.
	matches func(first, whole string) []string
	answer  func(t *trace, m []string) *fault.Error
}

// firstLine and anywhere look for a wording in the message.
func firstLine(re *regexp.Regexp) func(string, string) []string {
	return func(first, _ string) []string { return re.FindStringSubmatch(first) }
}

func anywhere(re *regexp.Regexp) func(string, string) []string {
	return func(_, whole string) []string { return re.FindStringSubmatch(whole) }
}

// knownFailures are tried in their order. TestExplain has a case for each. An answer
// may be nil: then it is another failure after all.
var knownFailures = []known{
	{firstLine(maybeEncrypted), unreadableFile},
	{firstLine(optionMissing), func(t *trace, m []string) *fault.Error {
		file, _ := definitions(t.msg)
		if file == "" {
			file = m[2]
		}
		path := splitOption(m[1])
		msg := fmt.Sprintf("the option '%s' does not exist", m[1])
		s := nixosSuggestion(t.msg)
		if s == "" {
			s, _, _ = strings.Cut(strings.Trim(t.mean, "`'‘’"), "'")
		}
		if s != "" {
			msg += fmt.Sprintf(" (did you mean %s?)", s)
		}
		return say(locate(file, path, ""), "%s", msg).Because(&UnknownOption{Option: path, File: file})
	}},
	{firstLine(optionType), func(t *trace, m []string) *fault.Error {
		file, value := definitions(t.msg)
		return wrongType(m[1], m[2], file, value)
	}},
	{firstLine(optionTypeOld), func(t *trace, m []string) *fault.Error {
		_, value := definitions(t.msg)
		return wrongType(m[1], m[3], m[2], value)
	}},
	{firstLine(optionConflict), func(t *trace, m []string) *fault.Error {
		f := fault.New("the option '%s' is given several values that do not go together", m[1])
		for i, l := range t.msg {
			if optionWhere.MatchString(l) {
				file, value := definitions(t.msg[i:])
				f.Detail(whereOf(file, splitOption(m[1]), value) + ": " + value)
			}
		}
		return f.Hint("say which one wins: lib.mkForce VALUE, or lib.mkDefault VALUE for the one that loses")
	}},
	{firstLine(optionUndef), func(t *trace, m []string) *fault.Error {
		name := listEntry.ReplaceAllString(m[1], "[$1]")
		f := say(t.own(), "the option '%s' has no value", name)
		if name == m[1] {
			f.Hint("set it: %s = ...;", name)
		}
		return f
	}},
	{firstLine(foreignOld), func(_ *trace, m []string) *fault.Error {
		return foreignBuild(m[3], m[1], m[4], m[2])
	}},
	{anywhere(foreignReq), func(t *trace, m []string) *fault.Error {
		whole := strings.Join(t.msg, "\n")
		drv, here := "", ""
		if d := foreignDrv.FindStringSubmatch(whole); d != nil {
			drv = d[1]
		}
		if c := foreignCur.FindStringSubmatch(whole); c != nil {
			here = c[1]
		}
		return foreignBuild(drv, m[1], here, m[2])
	}},
	{firstLine(isLinux), func(t *trace, _ []string) *fault.Error {
		return say(t.own(), "packages for a Mac cannot make a NixOS system").
			Hint(`let pkgs be those of the host: pkgs = import <nixpkgs> { system = "aarch64-linux"; }`)
	}},
	{anywhere(noPlatform), func(t *trace, _ []string) *fault.Error {
		return say(t.own(), "the configuration does not say which platform the host is").
			Hint(`say it in the host's configuration: nixpkgs.hostPlatform = "aarch64-linux";`)
	}},
	{firstLine(searchPath), func(t *trace, m []string) *fault.Error {
		f := say(t.own(), "<%s> is not in Nix's search path", m[1])
		if strings.HasPrefix(m[1], "nixpkgs") {
			return f.Hint("say where nixpkgs is: export NIX_PATH=nixpkgs=https://github.com/NixOS/nixpkgs/archive/nixos-25.05.tar.gz").
				Hint("or pin it in the deployment file: network.pkgs = import ./nixpkgs { system = \"aarch64-linux\"; };")
		}
		return f.Hint("say where it is: export NIX_PATH=%s=/path/to/it", m[1])
	}},
	{firstLine(untracked), func(t *trace, m []string) *fault.Error {
		if f := submodule(t, filepath.Join(m[2], m[1]), m[1]); f != nil {
			return f
		}
		return say(t.own(), "%s", notInGit(m[1])).Hint("git -C %s add %s", m[2], m[1])
	}},
	{func(first, _ string) []string {
		if m := noFile.FindStringSubmatch(first); m != nil && (!tmpPaths.MatchString(m[1]+m[2]) || strings.HasSuffix(m[1]+m[2], "/flake.nix")) {
			return m
		}
		return nil
	}, func(t *trace, m []string) *fault.Error {
		path := m[1] + m[2]
		if tmpPaths.MatchString(path) {
			return fault.New("there is no flake.nix in the repository, or git does not know it").
				Hint("git add flake.nix")
		}
		// A flake is read from a copy that has what git knows, and nothing else.
		if _, err := os.Lstat(path); err == nil {
			if f := submodule(t, path, short(path)); f != nil {
				return f
			}
			return say(t.own(), "%s", notInGit(short(path))).Hint("git -C %s add %s", filepath.Dir(path), filepath.Base(path))
		}
		return missingFile(t, path)
	}},
	{firstLine(noFlake), func(t *trace, m []string) *fault.Error {
		where := "here"
		if m[1] != "" {
			where = "in " + short(m[1]) + " or above it"
		}
		return fault.New("there is no flake.nix %s", where).
			Hint("go to a directory in the repository, or name its directory: --flake DIR")
	}},
	{firstLine(pureSystem), func(t *trace, _ []string) *fault.Error {
		return say(t.own(), "builtins.currentSystem is not there in pure evaluation, which flakes have").
			Hint(`say the platform: system = "x86_64-linux"; or allow it with --impure`)
	}},
	{firstLine(purePath), func(t *trace, m []string) *fault.Error {
		return say(t.own(), "%s is outside of the flake, and evaluation is pure", m[1]).
			Hint("move it into the repository, make it an input, or allow it with --impure")
	}},
	{firstLine(pureSearch), func(t *trace, m []string) *fault.Error {
		return say(t.own(), "<%s> is not there in pure evaluation, which flakes have", m[1]).
			Hint("make it an input of the flake and use that, or allow it with --impure")
	}},
	{firstLine(pureLock), func(t *trace, m []string) *fault.Error {
		return fault.New("the lock file does not have the input '%s'", m[1]).
			Hint("nix flake lock writes it")
	}},
	{anywhere(tokens), func(t *trace, m []string) *fault.Error {
		f := fault.New("%s does not give %s: HTTP error %s", m[2], m[1], m[3])
		if m[3] == "429" || strings.Contains(strings.Join(t.msg, "\n"), "rate limit") {
			return f.Detail("it allows few requests without a token").
				Hint("give Nix a token: access-tokens = %s=TOKEN in ~/.config/nix/nix.conf", fault.Raw(strings.TrimPrefix(m[2], "api.")))
		}
		return f.Detail("it does not exist, or it is private and Nix has no token for it").
			Hint("for a private one: access-tokens = %s=TOKEN in ~/.config/nix/nix.conf", fault.Raw(strings.TrimPrefix(m[2], "api."))).
			Hint("or fetch it over ssh: git+ssh://git@%s/OWNER/NAME", fault.Raw(strings.TrimPrefix(m[2], "api.")))
	}},
	{anywhere(registry), func(t *trace, m []string) *fault.Error {
		return fault.New("cannot download %s: %s", m[1], m[2]).
			Detail("an input is named by a word, such as nixpkgs, which only the registry can say more of").
			Hint("write where it is (github:NixOS/nixpkgs/nixos-25.05), or lock it once where there is a network: nix flake lock")
	}},
	{anywhere(httpRefused), func(t *trace, m []string) *fault.Error {
		return fault.New("cannot download %s: HTTP error %s", m[1], m[2]).
			Hint("if it wants a login: netrc-file in ~/.config/nix/nix.conf names a file with one")
	}},
	{anywhere(gitFetch), func(t *trace, m []string) *fault.Error {
		f := fault.New("git cannot fetch an input of the flake")
		if m[1] != "" {
			f = fault.New("git cannot fetch an input of the flake: %s", m[1])
		}
		return f.Hint("try what it tries: git ls-remote URL; over ssh the key must be in the agent, since nobody is asked for a password")
	}},
	{anywhere(gitOwner), func(t *trace, m []string) *fault.Error {
		return fault.New("the repository %s belongs to another user, and git will not read it", m[1]+m[2]).
			Hint("git config --global --add safe.directory %s", m[1]+m[2])
	}},
	{anywhere(narMismatch), func(t *trace, m []string) *fault.Error {
		return fault.New("an input of the flake is not what the lock file says: %s", m[1]).
			Hint("somebody changed it where it comes from; to take it as it is now: nix flake update")
	}},
	{firstLine(recursion), func(t *trace, _ []string) *fault.Error {
		return say(t.own(), "infinite recursion: a value is needed to work out itself").
			Hint("often a module's 'imports', or which options it sets, depends on 'config' or 'pkgs'; --show-trace shows the circle")
	}},
	{firstLine(overflow), func(t *trace, _ []string) *fault.Error {
		return say(t.own(), "stack overflow: a value is needed to work out itself, or is nested without end").
			Hint("--show-trace shows where")
	}},
	{firstLine(assertions), func(t *trace, _ []string) *fault.Error {
		var failed []string
		for _, l := range t.msg[1:] {
			if a, ok := strings.CutPrefix(strings.TrimSpace(l), "- "); ok {
				failed = append(failed, a)
			} else if len(failed) > 0 && strings.TrimSpace(l) != "" {
				failed[len(failed)-1] += " " + strings.TrimSpace(l)
			}
		}
		switch len(failed) {
		case 0:
			return fault.New("an assertion of the configuration failed")
		case 1:
			return fault.New("an assertion of the configuration failed: %s", failed[0])
		}
		return fault.New("%d assertions of the configuration failed", len(failed)).Detail(failed...)
	}},
	{firstLine(noDaemon), func(t *trace, _ []string) *fault.Error {
		return fault.New("the Nix daemon does not answer: %s", t.msg[0]).
			Hint("start it: sudo systemctl start nix-daemon; on a Mac: sudo launchctl kickstart system/org.nixos.nix-daemon")
	}},
}

// notInGit says why Nix does not find a file that is there.
func notInGit(file string) string {
	return file + " is there, but git does not know it, and a flake sees only what git knows"
}

// submodule explains a file that is in a submodule of the repository; nil: it is not.
func submodule(t *trace, path, name string) *fault.Error {
	for dir := path; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		st, err := os.Lstat(filepath.Join(dir, ".git"))
		if err != nil {
			continue
		}
		if st.IsDir() {
			return nil
		}
		// A file: of a submodule, or of a worktree.
		for up := filepath.Dir(dir); up != filepath.Dir(up); up = filepath.Dir(up) {
			if _, err := os.Lstat(filepath.Join(up, ".gitmodules")); err == nil {
				return say(t.own(), "%s is in the submodule %s, and a flake is read without its submodules", name, filepath.Base(dir)).
					Hint("name it with them: --flake '.?submodules=1'").
					Hint("or write it down, for Nix 2.27 and later: inputs.self.submodules = true; in flake.nix")
			}
		}
		return nil
	}
	return nil
}

// wrongType is an option whose value has another type than it takes.
func wrongType(option, kind, file, value string) *fault.Error {
	msg := fmt.Sprintf("the option '%s' takes a value of type %s", option, kind)
	if value != "" {
		msg += ", not " + value
	}
	return say(locate(file, splitOption(option), value), "%s", msg)
}

// explain answers a failure: a known one, or any other with Nix's own words.
func (t *trace) explain() *fault.Error {
	for len(t.msg) > 1 && t.msg[0] == "" {
		t.msg = t.msg[1:]
	}
	first, whole := t.msg[0], strings.Join(t.msg, "\n")
	for _, k := range knownFailures {
		if m := k.matches(first, whole); m != nil {
			if f := k.answer(t, m); f != nil {
				return f
			}
		}
	}
	where := t.own()
	if m, ok := strings.CutPrefix(first, "evaluation aborted with the following error message: "); ok {
		first = "evaluation aborted: " + strings.Trim(m, "'‘’\"")
	}
	first = strings.TrimSuffix(first, ".")
	if t.assert != "" && strings.Contains(first, " is not equal to ") {
		first = fmt.Sprintf("assertion '%s' failed: %s", t.assert, first)
	}
	if strings.TrimSpace(first) == "" {
		first = "Nix gave no reason"
	}
	if t.mean != "" {
		first += fmt.Sprintf(" (did you mean %s?)", t.mean)
	}
	f := say(where, "%s", first)
	var facts []string
	for _, l := range t.msg[1:] {
		if l = strings.TrimSpace(l); l != "" {
			facts = append(facts, l)
		}
	}
	if len(facts) > 12 { // the rest is under --show-trace
		facts = facts[:12]
	}
	f.Detail(facts...)
	if t.at.known() && t.at != where && filepath.IsAbs(t.at.file) {
		f.Detail("raised at " + t.at.String())
	}
	return f
}

// whereOf says where an option is set: the line, or what the module system calls
// the module when that is no file of the person's.
func whereOf(file string, option []string, value string) string {
	switch p := locate(file, option, value); {
	case p.known():
		return p.String()
	case file == "" || file == "<unknown-file>":
		return "a module that is in no file of its own"
	case strings.HasPrefix(file, "godwit/"):
		return "godwit itself"
	}
	return file
}

func foreignBuild(drv, system, here, features string) *fault.Error {
	cause := &ForeignSystem{DrvPath: drv, System: system, Here: here}
	for _, w := range strings.Split(features, ",") {
		if w = strings.TrimSpace(w); w != "" {
			cause.Features = append(cause.Features, w)
		}
	}
	what := "a derivation"
	if drv != "" {
		what = DrvName(drv)
	}
	f := fault.New("%s has to be built on %s, and this machine builds %s", what, system, here)
	if here == "" {
		f = fault.New("%s has to be built on %s, which this machine cannot", what, system)
	}
	if len(cause.Features) > 0 {
		f.Detail("features it asks for: " + strings.Join(cause.Features, ", "))
	}
	if drv != "" {
		f.Detail(drv)
	}
	return f.Because(cause)
}

// definitions reads the first "- In `FILE': VALUE" of a module system's message.
func definitions(msg []string) (file, value string) {
	for i, l := range msg {
		m := optionWhere.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		file, value = m[1], strings.TrimSpace(m[2])
		if value == "" && i+1 < len(msg) { // a set is written on the lines below
			value = strings.TrimSpace(msg[i+1])
			if value == "{" {
				value = "a set"
			}
		}
		if len(value) > 60 {
			value = value[:57] + "..."
		}
		// "FILE, via option x.y"
		file, _, _ = strings.Cut(file, ", via option")
		return file, value
	}
	return "", ""
}

var (
	didYouMean = regexp.MustCompile("(?i)did you mean (?:one of )?[`'‘](.+?)['’]")
)

// nixosSuggestion is the suggestion of NixOS's own module system, which it
// makes since 23.11 for some options.
func nixosSuggestion(msg []string) string {
	if m := didYouMean.FindStringSubmatch(strings.Join(msg, " ")); m != nil {
		return m[1]
	}
	return ""
}

// splitOption takes services.nginx.virtualHosts."a.b" apart.
func splitOption(path string) []string {
	var parts []string
	var b strings.Builder
	quoted := false
	for _, r := range path {
		switch {
		case r == '"':
			quoted = !quoted
		case r == '.' && !quoted:
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	return append(parts, b.String())
}

// mostSource is the size of a file that locate looks into.
const mostSource = 4 << 20

// locate finds where in a file an option is set. The module system only names
// the file and the value, so this looks for the option's last word, on a line
// with the value or with the word before it. It gives the file alone rather
// than a line that may be another host's.
func locate(file string, option []string, value string) position {
	if !filepath.IsAbs(file) {
		return position{}
	}
	p := position{file: file}
	b, err := regular.Read(file, mostSource)
	if err != nil {
		return p
	}
	lines := strings.Split(string(b), "\n")
	var last string
	var found []position
	for i := len(option) - 1; i >= 0 && len(found) == 0; i-- {
		last = option[i]
		re, err := regexp.Compile(`(^|[^A-Za-z0-9_'-])(` + regexp.QuoteMeta(last) + `)($|[^A-Za-z0-9_'-])`)
		if err != nil || last == "" {
			continue
		}
		for n, l := range lines {
			code, _, _ := strings.Cut(l, "#")
			if m := re.FindStringSubmatchIndex(code); m != nil {
				found = append(found, position{file: file, line: n + 1, col: m[4] + 1})
			}
		}
		if len(found) > 1 && i > 0 {
			before := option[i-1] + "."
			found = narrow(found, func(q position) bool { return strings.Contains(lines[q.line-1], before+last) })
		}
	}
	if len(found) > 1 && value != "" {
		found = narrow(found, func(q position) bool { return strings.Contains(lines[q.line-1], value) })
	}
	if len(found) != 1 {
		return p
	}
	p = found[0]
	// Point at the first word of the attribute path.
	line := lines[p.line-1][:p.col-1]
	if i := strings.LastIndexAny(line, " \t={[(;") + 1; i < len(line) {
		p.col = i + 1
	}
	return p
}

// narrow keeps those that fit, or all when none does.
func narrow(list []position, fits func(position) bool) []position {
	var out []position
	for _, p := range list {
		if fits(p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return list
	}
	return out
}

// Explain is the function Explain, with the whole trace as facts when the
// settings ask for it.
func (t *Tool) Explain(stderr string) *fault.Error {
	for _, c := range t.copies {
		stderr = strings.ReplaceAll(stderr, c[0], strings.TrimSuffix(c[1], "/"))
	}
	f := Explain(stderr)
	if f != nil && t.settings.ShowTrace {
		f.Lines, f.Whole = parse(stderr).all, true
		f.Hints = slices.DeleteFunc(f.Hints, func(h string) bool { return strings.HasPrefix(h, "--show-trace") })
	}
	return f
}
