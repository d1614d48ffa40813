// Package secrets puts a host's secret files where its configuration wants
// them.
//
// All secrets of a host go over one connection into one script that runs as
// root. It stages every file in a folder beside its destination that only root can
// enter, checks its length and hash, gives it its owner and mode, and only when all
// are there and the deployer has said so does it rename them into place. Until that
// moment nothing has changed on the host, and whatever goes wrong, the staged
// files are removed. No other user of the host can make root follow a link, whoever
// owns the directories (walk.sh, docs/security.md). Contents and hashes travel over the encrypted connection
// only: not in arguments, not in the environment, not in a temporary file here.
package secrets

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/regular"
	"godwit/internal/ui/text"
)

// DefaultActionTimeout bounds one action when Options do not.
const DefaultActionTimeout = 2 * time.Minute

// Options say what to upload and what to do after it.
type Options struct {
	// Phase is fleet.PreActivation, fleet.PostActivation, or empty for all.
	Phase string
	// ActionTimeout bounds each action; 0 means DefaultActionTimeout.
	ActionTimeout time.Duration
	// ForceActions runs the actions of unchanged secrets too.
	ForceActions bool
	// Late tells that an activation follows, which may make the owners of secrets: until
	// then they are root's, and Report.Late names them, for an upload with Only.
	Late bool
	// Only are names of secrets: others are left alone. nil: all of the phase.
	Only []string
}

// Unit is the unit of this package's progress events.
const Unit event.Unit = "secrets"

// Results of a secret.
const (
	New       = "new"
	Changed   = "changed"
	Unchanged = "unchanged"
)

// Item is what became of one secret.
type Item struct {
	Name   string
	Size   int64
	Result string // New, Changed, Unchanged; empty when it did not get that far
}

// Action is what became of one command.
type Action struct {
	Command string
	Err     error
}

// Report is what became of a host's secrets.
type Report struct {
	Items []Item
	// Late are the names of secrets whose owner is not there yet. What the activation
	// gives away by itself (fleet.Secret.LateOwner) is not among them.
	Late    []string
	Actions []Action
}

// Changes counts the secrets that were written.
func (r Report) Changes() int {
	n := 0
	for _, i := range r.Items {
		if i.Result == New || i.Result == Changed {
			n++
		}
	}
	return n
}

// String is the report in one line.
func (r Report) String() string {
	if len(r.Items) == 0 {
		return "no secrets"
	}
	n := r.Changes()
	s := fmt.Sprintf("%d of %d secrets uploaded", n, len(r.Items))
	if n == 0 {
		s = fmt.Sprintf("%d secrets unchanged", len(r.Items))
	}
	if len(r.Items) == 1 {
		s = strings.Replace(strings.Replace(s, "1 secrets", "1 secret", 1), "1 of 1 secrets", "1 secret", 1)
	}
	return s
}

// Select gives the secrets of a phase that are pushed, sorted by name.
func Select(all []fleet.Secret, phase string) []fleet.Secret {
	var out []fleet.Secret
	for _, s := range all {
		at := s.UploadAt
		if at == "" {
			at = fleet.PreActivation
		}
		if !s.Rest && (phase == "" || phase == at) {
			out = append(out, s)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Preflight checks, on this machine only, that the secrets of all hosts can be
// read and make sense; commands that print secrets run here. It is to be called
// before anything is touched anywhere.
func Preflight(ctx context.Context, hosts []fleet.Host, phase string) error {
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		if h.BuildOnly {
			continue
		}
		wg.Go(func() {
			defer crash.Catch()
			errs[i] = errors.Join(check(ctx, h.Name, Select(h.Secrets, phase))...)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// check looks at what the secrets of a host say, and whether their contents can be had.
func check(ctx context.Context, host string, list []fleet.Secret) []error {
	var errs []error
	at := map[string]string{}
	var sound []fleet.Secret
	for _, s := range list {
		if err := checkFields(s); err != nil {
			errs = append(errs, err.On(host))
			continue
		}
		if other, ok := at[s.Destination]; ok {
			errs = append(errs, fault.New("secrets %q and %q have the same destination %s", other, s.Name, s.Destination).On(host).
				Hint("change %s", fault.Raw(s.Option("destination"))))
		} else {
			at[s.Destination] = s.Name
		}
		sound = append(sound, s)
	}
	for _, err := range prepare(ctx, host, sound) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, s := range list {
		for dir := path.Dir(s.Destination); len(dir) > 1; dir = path.Dir(dir) {
			if other, ok := at[dir]; ok {
				errs = append(errs, fault.New("secret %q: its destination %s is below the file of secret %q", s.Name, s.Destination, other).On(host).
					Hint("change %s", fault.Raw(s.Option("destination"))))
			}
		}
	}
	return errs
}

// storeDir is no place for secrets.
const storeDir = "/nix/store"

func checkFields(s fleet.Secret) *fault.Error {
	bad := func(field, value, want string) *fault.Error {
		return fault.New("secret %q: %s %q %s", s.Name, field, value, want).Hint("change %s", fault.Raw(s.Option(field)))
	}
	switch {
	case !path.IsAbs(s.Destination):
		return bad("destination", s.Destination, "is not an absolute path")
	case strings.HasSuffix(s.Destination, "/") || path.Base(s.Destination) == "." || path.Base(s.Destination) == "..":
		return bad("destination", s.Destination, "is a directory, not a file")
	case oddBytes(s.Destination):
		return bad("destination", s.Destination, "holds a control character")
	case s.Destination != path.Clean(s.Destination):
		return bad("destination", s.Destination, "is not plain: write "+path.Clean(s.Destination))
	case s.Destination == storeDir || strings.HasPrefix(s.Destination, storeDir+"/"):
		return bad("destination", s.Destination, "is in the Nix store, which everybody can read")
	case s.User == "" || strings.HasPrefix(s.User, "-") || strings.Contains(s.User, ":") || oddBytes(s.User):
		return bad("owner.user", s.User, "is not a user")
	case s.Group == "" || strings.HasPrefix(s.Group, "-") || strings.Contains(s.Group, ":") || oddBytes(s.Group):
		return bad("owner.group", s.Group, "is not a group")
	}
	if len(s.Permissions) < 3 || len(s.Permissions) > 5 || strings.Trim(s.Permissions, "01234567") != "" {
		return bad("permissions", s.Permissions, "is not an octal mode such as 0400")
	}
	for _, w := range s.Action {
		if strings.IndexByte(w, 0) >= 0 {
			return bad("action", w, "holds a NUL byte")
		}
	}
	return nil
}

func oddBytes(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// maxSecret is in bytes. A secret is held in memory, and in a folder of the host.
const maxSecret = 256 << 20

func openSource(s fleet.Secret) (*os.File, *fault.Error) {
	given := s.FileGiven
	if given == "" {
		given = s.From.File
	}
	why := func(err error) *fault.Error {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		f := fault.New("secret %q: cannot read its source %s: %w", s.Name, given, err)
		if given != s.From.File {
			f.Detail("that is " + s.From.File)
		}
		return f.Hint("ls -l %s", s.From.File)
	}
	f, err := regular.Open(s.From.File)
	if err != nil {
		return nil, why(err)
	}
	if info, err := f.Stat(); err == nil && info.Size() > maxSecret {
		f.Close()
		return nil, why(&bounded.Error{What: "it", Limit: maxSecret})
	}
	return f, nil
}

// loaded is a secret with its content.
type loaded struct {
	fleet.Secret
	data   []byte
	sum    string
	action string // its command line
	id     string // names the action on the host
	late   bool   // an owner that the host does not have is left to the activation
}

func load(ctx context.Context, host string, s fleet.Secret) (loaded, *fault.Error) {
	data, err := content(ctx, host, s)
	if err != nil {
		return loaded{}, err
	}
	l := loaded{Secret: s, data: data, sum: hash(data), action: strings.Join(s.Action, " ")}
	if strings.TrimSpace(l.action) != "" {
		l.id = hash([]byte(l.action))[:32]
	}
	return l, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Upload uploads the secrets of a phase and runs the actions of those that
// changed, each distinct command once, in the order of the secrets' names.
// What is already as it should be (content, owner, group, mode) is left alone.
// An action that failed, or that was not reached, is due again at the next
// upload, even if no secret has changed by then. Results go to scope as notes;
// the step's start and end are the caller's to emit.
func Upload(ctx context.Context, r host.Conn, host fleet.Host, opts Options, scope event.Scope) (Report, error) {
	var report Report
	list := Select(host.Secrets, opts.Phase)
	if opts.Only != nil {
		list = slices.DeleteFunc(list, func(s fleet.Secret) bool { return !slices.Contains(opts.Only, s.Name) })
	}
	if len(list) == 0 {
		return report, nil
	}
	if errs := check(ctx, host.Name, list); len(errs) > 0 {
		return report, errors.Join(errs...)
	}
	var all []loaded
	for _, s := range list {
		l, err := load(ctx, host.Name, s)
		if err != nil {
			return report, err.On(host.Name)
		}
		l.late = (s.LateOwner || opts.Late) && opts.Phase == fleet.PreActivation
		all = append(all, l)
		report.Items = append(report.Items, Item{Name: s.Name, Size: int64(len(l.data))})
	}
	due, err := send(ctx, r, host.Name, all, &report, scope)
	if err != nil {
		return report, err
	}
	return report, act(ctx, r, host.Name, all, due, opts, &report, scope)
}

// send uploads all secrets; due tells which actions are to be run.
func send(ctx context.Context, r host.Conn, name string, all []loaded, report *Report, scope event.Scope) (due map[string]bool, err error) {
	answers := &answers{host: name, all: all, report: report, scope: scope, due: map[string]bool{}}
	err = r.Run(ctx, host.Cmd{Script: walkScript + placeScript, Elevate: true, Stdin: stream(all), Stdout: answers, KillOnCancel: true,
		Name: "the upload", Limit: uploadLimit(all)})
	var exit *host.ExitError
	var dropped *host.DroppedError
	switch {
	case answers.failed != nil:
		return nil, answers.failed.Because(err)
	case errors.As(err, &exit):
		f := fault.New("uploading secrets failed on the host with status %d", exit.Code).On(name).Because(err)
		for _, l := range strings.Split(strings.TrimSpace(exit.Stderr), "\n") {
			f.Detail(l)
		}
		return nil, answers.truth(f)
	case errors.As(err, &dropped):
		why := "the connection was lost while uploading secrets"
		if dropped.Limit > 0 {
			why = dropped.Bare()
		}
		return nil, answers.truth(fault.New("%s", why).On(name).Because(err))
	case err != nil:
		return nil, err
	case !answers.finished:
		return nil, answers.truth(fault.New("the host did not confirm the upload of the secrets").On(name))
	}
	return answers.due, nil
}

// uploadLimit is how long an upload may take: a minute, and what a slow line needs.
func uploadLimit(all []loaded) time.Duration {
	size := 0
	for _, s := range all {
		size += len(s.data)
	}
	return time.Minute + time.Duration(size)*time.Second/(16<<10)
}

// stream is what the host's script reads: see place.go.
func stream(all []loaded) io.Reader {
	var parts []io.Reader
	var b bytes.Buffer
	flush := func() {
		parts = append(parts, bytes.NewReader(slices.Clone(b.Bytes())))
		b.Reset()
	}
	fmt.Fprintf(&b, "%d\n", len(all))
	for _, s := range all {
		fmt.Fprintln(&b, s.Destination)
	}
	digit := map[bool]int{true: 1}
	for i, s := range all {
		fmt.Fprintf(&b, "%d\n%s\n%s\n%s\n%d\n%s\n%d\n%d\n%s\n%s\n", i, s.Destination, s.User, s.Group, digit[s.late], s.Permissions, digit[s.MkDirs], len(s.data), s.sum, s.id)
		flush()
		parts = append(parts, bytes.NewReader(s.data))
	}
	fmt.Fprintln(&b, "commit")
	flush()
	return io.MultiReader(parts...)
}

// answers reads what the script says, line by line.
type answers struct {
	host   string
	all    []loaded
	report *Report
	scope  event.Scope

	buf      []byte
	staged   map[int]string
	placed   []string // names of secrets renamed into place
	due      map[string]bool
	warned   map[string]bool // directories
	failed   *fault.Error
	finished bool
}

func (a *answers) Write(b []byte) (int, error) {
	defer crash.Catch()
	a.buf = append(a.buf, b...)
	for {
		line, rest, ok := bytes.Cut(a.buf, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		a.buf = rest
		a.line(string(line))
	}
}

func (a *answers) line(line string) {
	word, rest, _ := strings.Cut(line, " ")
	number, text, _ := strings.Cut(rest, " ")
	i, err := strconv.Atoi(number)
	if word == "end" {
		a.finished = true
		return
	}
	if err != nil || i < -1 || i >= len(a.all) {
		return
	}
	switch word {
	case "staged":
		if a.staged == nil {
			a.staged = map[int]string{}
		}
		a.staged[i] = text
	case "late":
		if s := a.all[i].Secret; !s.LateOwner {
			a.report.Late = append(a.report.Late, s.Name)
		}
	case "loose":
		if dir, warning := looseWay(a.all[i].Secret, text); warning != "" && !a.warned[dir] {
			if a.warned == nil {
				a.warned = map[string]bool{}
			}
			a.warned[dir] = true
			a.scope.Warn(warning)
		}
	case "due":
		a.due[a.all[i].id] = true
	case "placed", "unchanged":
		s := a.all[i]
		result := Unchanged
		if word == "placed" {
			result = a.staged[i]
			a.placed = append(a.placed, s.Name)
			if s.id != "" {
				a.due[s.id] = true
			}
		}
		a.report.Items[i].Result = result
		said := "OK"
		if result == Unchanged {
			said = "unchanged"
		}
		a.scope.Emit(event.Event{Kind: event.Note, Text: fmt.Sprintf("%s (%d bytes) %s", s.Name, len(s.data), said),
			Data: map[string]string{"secret": s.Name, "size": strconv.Itoa(len(s.data)), "result": result, "destination": s.Destination}})
		a.scope.Progress(int64(i+1), int64(len(a.all)), Unit, s.Name)
	case "error":
		what, said, _ := strings.Cut(text, " ")
		a.fail(i, what, said)
	}
}

// fail makes the error of a secret; i is -1 when it is about all of them.
func (a *answers) fail(i int, what, said string) {
	if a.failed != nil {
		return
	}
	var f *fault.Error
	if i < 0 {
		f = fault.New("the file systems of the secrets did not come up").
			Hint("systemctl --failed on the host names the mount that failed")
		if said != "" {
			f.Detail(said)
		}
	} else {
		f = refusal(a.all[i].Secret, what, said)
	}
	a.failed = a.truth(f.On(a.host))
}

// truth adds what is on the host now.
func (a *answers) truth(f *fault.Error) *fault.Error {
	switch {
	case len(a.placed) > 0:
		return f.Detail("already replaced: "+strings.Join(a.placed, ", "), "their actions are due at the next upload")
	case isDropped(f) && len(a.staged) == len(a.all):
		return f.Detail("all secrets had arrived; whether they were put in place is not known").Hint("upload again: what is in place is left alone")
	}
	return f.Detail("no secret on the host was changed")
}

// isDropped tells whether the cause of f is a lost connection.
func isDropped(f *fault.Error) bool {
	var d *host.DroppedError
	return errors.As(f.Err, &d)
}

// act runs the actions that are due.
func act(ctx context.Context, r host.Conn, name string, all []loaded, due map[string]bool, opts Options, report *Report, scope event.Scope) error {
	timeout := opts.ActionTimeout
	if timeout <= 0 {
		timeout = DefaultActionTimeout
	}
	seen := map[string]bool{}
	var done []string
	var errs []error
	for _, s := range all {
		if s.id == "" || seen[s.id] || !due[s.id] && !opts.ForceActions {
			continue
		}
		seen[s.id] = true
		scope.Emit(event.Event{Kind: event.Note, Text: "executing post-upload command: " + text.OneLine(s.action), Data: map[string]string{"action": s.action}})
		err := runAction(ctx, r, name, s, timeout, scope)
		report.Actions = append(report.Actions, Action{Command: s.action, Err: err})
		if err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		if due[s.id] {
			done = append(done, s.id)
		}
	}
	if len(done) > 0 {
		err := r.Run(ctx, host.Cmd{Script: doneScript, Args: done, Elevate: true})
		if err != nil && len(errs) == 0 {
			// The actions have run; at worst they run once more.
			scope.Warn("cannot note on the host that the actions have run: " + err.Error())
		}
	}
	return errors.Join(errs...)
}

func runAction(ctx context.Context, r host.Conn, name string, s loaded, timeout time.Duration, scope event.Scope) error {
	cmd := Command(s.Action)
	cmd.KillOnCancel, cmd.Limit = true, host.NoLimit // timeout bounds it
	pr, pw := io.Pipe()
	cmd.Stdout, cmd.Stderr = pw, pw
	var tail []string
	read := make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(read)
		b := bufio.NewScanner(pr)
		b.Buffer(nil, 1<<20)
		for b.Scan() {
			line := text.OneLine(b.Text())
			scope.Log(line)
			if tail = append(tail, line); len(tail) > 5 {
				tail = tail[1:]
			}
		}
		io.Copy(io.Discard, pr)
	}()
	tctx, cancel := context.WithTimeout(ctx, timeout)
	err := r.Run(tctx, cmd)
	late := tctx.Err() != nil
	cancel()
	pw.Close()
	<-read
	if err == nil {
		return nil
	}
	var exit *host.ExitError
	f := fault.New("the action of secret %q failed: %s", s.Name, text.OneLine(s.action)).On(name).Because(err)
	switch {
	case ctx.Err() != nil:
		return err
	case late:
		f.Msg = fmt.Sprintf("the action of secret %q did not end within %s: %s", s.Name, timeout, text.OneLine(s.action))
	case errors.As(err, &exit):
		f.Detail(fmt.Sprintf("it ended with status %d", exit.Code))
		f.Detail(tail...)
	default:
		f.Detail(err.Error())
	}
	return f.Detail("the secret itself is in place; the action is due again at the next upload")
}

// Command is the command of words as morph runs it: joined by blanks they are
// a line for the login shell, except that a first word that is exactly "sudo"
// becomes godwit's own way to become root.
func Command(words []string) host.Cmd {
	if len(words) > 1 && words[0] == "sudo" {
		return host.Cmd{Shell: strings.Join(words[1:], " "), Elevate: true}
	}
	return host.Cmd{Shell: strings.Join(words, " ")}
}
