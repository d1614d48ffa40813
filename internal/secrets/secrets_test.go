package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
	"godwit/test/lab"
)

// world is a host that is this machine, and a directory that stands for its
// file system.
type world struct {
	t     *testing.T
	s     *sshtest.Server
	r     host.Conn
	dir   string // on the host
	local string // on the deployer
	user  string
	group string
	mu    sync.Mutex
	notes []string
	// warnings of the last upload
	warnings []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	s := sshtest.Start(t)
	o := s.Options()
	o.Elevate = ssh.ElevateNone
	return &world{t: t, s: s, r: s.HostWith(t, "web1", o), dir: t.TempDir(), local: t.TempDir(), user: me.Username, group: group.Name}
}

func (w *world) secret(name, content string, action ...string) fleet.Secret {
	w.t.Helper()
	source := filepath.Join(w.local, name)
	if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return fleet.Secret{Name: name, From: fleet.Content{File: source}, FileGiven: "./" + name, Destination: filepath.Join(w.dir, name), User: w.user, Group: w.group,
		Permissions: "0400", Action: action, MkDirs: true, UploadAt: fleet.PreActivation}
}

func (w *world) upload(o Options, list ...fleet.Secret) (Report, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	sink := event.SinkFunc(func(e event.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch e.Kind {
		case event.Note:
			w.notes = append(w.notes, e.Text)
		case event.Warning:
			w.warnings = append(w.warnings, e.Text)
		}
	})
	w.notes, w.warnings = nil, nil
	return Upload(ctx, w.r, fleet.Host{Name: "web1", Secrets: list}, o, event.On(sink, "web1", event.StepSecrets))
}

func (w *world) results(r Report) string {
	var out []string
	for _, i := range r.Items {
		out = append(out, i.Name+"="+i.Result)
	}
	return strings.Join(out, " ")
}

// files are all files and directories on the host, which may be removing some.
func (w *world) files() string {
	w.t.Helper()
	var out []string
	_ = filepath.Walk(w.dir, func(p string, info os.FileInfo, err error) error {
		if p != w.dir && info != nil {
			rel, _ := filepath.Rel(w.dir, p)
			out = append(out, fmt.Sprintf("%s %v", rel, info.Mode()))
		}
		return nil
	})
	return strings.Join(out, "\n")
}

func (w *world) content(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Error(err)
	}
	return string(data)
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	b := w.secret("b", "secret")
	a := w.secret("a", strings.Repeat("0123456789abcdef", 1<<18)+"\x00\xff no line break")
	a.Destination = filepath.Join(w.dir, "x/y/z/a")
	a.Permissions = "0640"
	e := w.secret("empty", "")
	r, err := w.upload(Options{}, b, a, e)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	if got := w.results(r); got != "a=new b=new empty=new" {
		t.Errorf("%s", got)
	}
	want := "b -r--------\nempty -r--------\nx drwxr-xr-x\nx/y drwxr-xr-x\nx/y/z drwxr-xr-x\nx/y/z/a -rw-r-----"
	if got := w.files(); got != want {
		t.Errorf("got\n%s", got)
	}
	if w.content("b") != "secret" || w.content("empty") != "" || len(w.content("x/y/z/a")) != 4<<20+16 {
		t.Error("wrong contents")
	}
	if got := strings.Join(w.notes, "|"); !strings.Contains(got, "b (6 bytes) OK") {
		t.Errorf("%s", got)
	}
	if r.String() != "3 of 3 secrets uploaded" {
		t.Error(r.String())
	}

	before, _ := os.Stat(filepath.Join(w.dir, "b"))
	r, err = w.upload(Options{}, b, a, e)
	if err != nil || w.results(r) != "a=unchanged b=unchanged empty=unchanged" || r.String() != "3 secrets unchanged" {
		t.Errorf("%v, %s", err, w.results(r))
	}
	after, _ := os.Stat(filepath.Join(w.dir, "b"))
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("an unchanged secret was written")
	}

	b = w.secret("b", "Secret")
	a.Permissions = "400"
	r, err = w.upload(Options{}, b, a, e)
	if err != nil || w.results(r) != "a=changed b=changed empty=unchanged" || w.content("b") != "Secret" {
		t.Errorf("%v, %s", err, w.results(r))
	}
	if got := w.files(); got != strings.Replace(want, "-rw-r-----", "-r--------", 1) {
		t.Errorf("got\n%s", got)
	}

	// A link at the destination is replaced, what it points to is left alone.
	link := filepath.Join(w.dir, "link")
	if err := os.Symlink(filepath.Join(w.dir, "b"), link); err != nil {
		t.Fatal(err)
	}
	l := w.secret("link", "Secret")
	if r, err = w.upload(Options{}, l); err != nil || w.results(r) != "link=changed" {
		t.Errorf("%v, %s", err, w.results(r))
	}
	if info, _ := os.Lstat(link); !info.Mode().IsRegular() {
		t.Errorf("%v", info.Mode())
	}
}

func TestOddNames(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"a b", "it's", `"q"`, `back\slash`, "$HOME", "*", "%d %%", "é", "-n", " lead", "trail ", "`id`", "a;b"} {
		s := w.secret(fmt.Sprint("s", i), name)
		s.Destination = filepath.Join(w.dir, name, name)
		if _, err := w.upload(Options{}, s); err != nil {
			t.Errorf("%q: %s", name, fault.Render(err))
		} else if got := w.content(filepath.Join(name, name)); got != name {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestNothingHalfDone(t *testing.T) {
	w := newWorld(t)
	good := w.secret("a", "one")
	if _, err := w.upload(Options{}, good); err != nil {
		t.Fatal(err)
	}
	good = w.secret("a", "two")
	deep := w.secret("deep", "x")
	deep.Destination = filepath.Join(w.dir, "new/dir/deep")
	if err := os.Mkdir(filepath.Join(w.dir, "there"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := w.files()
	for name, c := range map[string]struct {
		change func(*fleet.Secret)
		want   []string
	}{
		"user":    {func(s *fleet.Secret) { s.User = "no-such-user" }, []string{`web1: secret "z": the host has no owner no-such-user:` + w.group, "invalid", "uploadAt", "no secret on the host was changed"}},
		"group":   {func(s *fleet.Secret) { s.Group = "no-such-group" }, []string{"the host has no owner"}},
		"no dir":  {func(s *fleet.Secret) { s.MkDirs = false; s.Destination = w.dir + "/q/z" }, []string{"the host has no directory " + w.dir + "/q", "mkDirs = true"}},
		"is dir":  {func(s *fleet.Secret) { s.Destination = w.dir + "/there" }, []string{"is a directory on the host"}},
		"in file": {func(s *fleet.Secret) { s.Destination = w.dir + "/file/b/z" }, []string{"cannot make the directory", "/file: Not a directory"}},
	} {
		bad := w.secret("z", "z", "touch "+w.dir+"/action")
		c.change(&bad)
		_, err := w.upload(Options{}, good, deep, bad)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		text := fault.Render(err)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if got := w.files(); got != before || w.content("a") != "one" {
			t.Errorf("%s: left behind:\n%s", name, got)
		}
	}
}

// cutRunner breaks the stream off after n bytes.
type cutRunner struct {
	host.Conn
	n int64
}

func (r cutRunner) Run(ctx context.Context, c host.Cmd) error {
	if c.Stdin != nil {
		c.Stdin = io.LimitReader(c.Stdin, r.n)
	}
	return r.Conn.Run(ctx, c)
}

func TestTruncatedStream(t *testing.T) {
	w := newWorld(t)
	list := []fleet.Secret{w.secret("a", "first"), w.secret("b", "second")}
	var loadedAll []loaded
	for _, s := range list {
		l, err := load(t.Context(), "web1", s)
		if err != nil {
			t.Fatal(err)
		}
		loadedAll = append(loadedAll, l)
	}
	whole, _ := io.ReadAll(stream(loadedAll))
	real := w.r
	step := 7
	if testing.Short() {
		step = 37
	}
	for n := 0; n < len(whole); n += step {
		w.r = cutRunner{real, int64(n)}
		if _, err := w.upload(Options{}, list...); err == nil {
			t.Errorf("%d of %d bytes: no error", n, len(whole))
		}
		if got := w.files(); got != "" {
			t.Fatalf("%d of %d bytes: left behind:\n%s", n, len(whole), got)
		}
	}
	w.r = cutRunner{real, int64(len(whole))}
	if _, err := w.upload(Options{}, list...); err != nil {
		t.Error(err)
	}
}

// busy is how long a host may take for something on a busy machine.
const busy = 30 * time.Second

// dropRunner cuts the connection when half of the stream is sent.
type dropRunner struct {
	w *world
	host.Conn
}

func (r dropRunner) Run(ctx context.Context, c host.Cmd) error {
	data, _ := io.ReadAll(c.Stdin)
	pr, pw := io.Pipe()
	c.Stdin = pr
	go func() {
		_, _ = pw.Write(data[:len(data)/2])
		for end := time.Now().Add(busy); time.Now().Before(end); time.Sleep(20 * time.Millisecond) { // until the host works on it
			if strings.Contains(r.w.files(), ".godwit-secret") {
				break
			}
		}
		r.w.s.Drop()
		pw.Close()
	}()
	return r.Conn.Run(ctx, c)
}

func TestDroppedConnection(t *testing.T) {
	w := newWorld(t)
	w.r = dropRunner{w, w.r}
	_, err := w.upload(Options{}, w.secret("a", strings.Repeat("x", 1<<20)), w.secret("b", "second"))
	var d *host.DroppedError
	if !errors.As(err, &d) || !strings.Contains(fault.Render(err), "no secret on the host was changed") {
		t.Errorf("%v", err)
	}
	for end := time.Now().Add(busy); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if w.files() == "" {
			return
		}
	}
	t.Errorf("left behind:\n%s", w.files())
}

// spyRunner looks at what goes where.
type spyRunner struct {
	host.Conn
	cmds []host.Cmd
}

func (r *spyRunner) Run(ctx context.Context, c host.Cmd) error {
	r.cmds = append(r.cmds, c)
	return r.Conn.Run(ctx, c)
}

func TestActions(t *testing.T) {
	w := newWorld(t)
	spy := &spyRunner{Conn: w.r}
	w.r = spy
	log := filepath.Join(w.dir, "log")
	restart := []string{"sudo", "echo", "restart", ">>" + log}
	list := []fleet.Secret{
		w.secret("c", "hunter2", restart...),
		w.secret("a", "hunter2", "echo", "first  ", "$((1+1))", ">>"+log),
		w.secret("b", "hunter2", restart...),
	}
	r, err := w.upload(Options{}, list...)
	if err != nil || w.content("log") != "first 2\nrestart\n" || len(r.Actions) != 2 {
		t.Errorf("%v: %q", err, w.content("log"))
	}
	if got := strings.Join(w.notes, "|"); !strings.HasSuffix(got, "executing post-upload command: sudo echo restart >>"+log) {
		t.Errorf("%s", got)
	}
	if n := len(spy.cmds); n != 4 { // upload, two actions, done
		t.Errorf("%d commands", n)
	}
	for _, c := range spy.cmds {
		if s := fmt.Sprint(c.Script, c.Shell, c.Args, c.Argv); strings.Contains(s, "hunter2") || strings.Contains(s, hash([]byte("hunter2"))) {
			t.Errorf("a secret is in a command: %s", s)
		}
	}
	if !spy.cmds[2].Elevate || spy.cmds[1].Elevate {
		t.Error("only the action whose first word is sudo is elevated")
	}
	// Nothing changed: nothing to do; unless it is forced.
	if r, err = w.upload(Options{}, list...); err != nil || len(r.Actions) != 0 || w.content("log") != "first 2\nrestart\n" {
		t.Errorf("%v: %q", err, w.content("log"))
	}
	if r, err = w.upload(Options{ForceActions: true}, list...); err != nil || len(r.Actions) != 2 {
		t.Errorf("%v: %+v", err, r)
	}
	// Only b changed.
	list[2] = w.secret("b", "hunter3", restart...)
	if r, err = w.upload(Options{}, list...); err != nil || len(r.Actions) != 1 || w.results(r) != "a=unchanged b=changed c=unchanged" {
		t.Errorf("%v: %+v", err, r)
	}
}

func TestFailedActionIsDueAgain(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("what is due is noted below /run, which only root can do: see TestLab")
		return
	}
	w := newWorld(t)
	flag := filepath.Join(w.dir, "ok")
	action := "echo trying; echo why >&2; test -e " + flag
	s := w.secret("a", "x", action)
	r, err := w.upload(Options{}, s)
	text := fault.Render(err)
	for _, want := range []string{`web1: the action of secret "a" failed`, "status 1", "  why", "due again"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if r.Changes() != 1 || w.content("a") != "x" {
		t.Errorf("%+v", r)
	}
	if r, err = w.upload(Options{}, s); err == nil || r.Changes() != 0 {
		t.Errorf("the failed action is forgotten: %v", err)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = w.upload(Options{}, s); err != nil || len(r.Actions) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
	if r, err = w.upload(Options{}, s); err != nil || len(r.Actions) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
	if _, err := os.Stat("/run/godwit-actions/" + hash([]byte(action))[:32]); err == nil {
		t.Error("the note of a finished action is still there")
	}
}

func TestActionTimeout(t *testing.T) {
	w := newWorld(t)
	s := w.secret("a", "x", "sleep 2917")
	start := time.Now()
	_, err := w.upload(Options{ActionTimeout: 300 * time.Millisecond}, s)
	if err == nil || !strings.Contains(err.Error(), "did not end within 300ms: sleep 2917") || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	os.Remove("/run/godwit-actions/" + hash([]byte("sleep 2917"))[:32])
	os.Remove("/run/godwit-actions")
}

func TestPreflight(t *testing.T) {
	w := newWorld(t)
	good := w.secret("good", "x")
	missing, relative, twin, mode, dir, slash, who, unread := good, good, good, good, good, good, good, good
	store, dots, below := good, good, good
	store.Name, store.Destination = "store", "/nix/store/x"
	dots.Name, dots.Destination = "dots", "/run/app/../key"
	below.Name, below.Destination = "below", good.Destination+"/x/below"
	missing.Name, missing.From.File, missing.FileGiven, missing.Destination = "missing", "/no/such", "./such", "/m"
	relative.Name, relative.Destination = "relative", "etc/x"
	twin.Name = "twin"
	mode.Name, mode.Permissions = "mode", "u=rw"
	dir.Name, dir.From.File, dir.Destination = "dir", w.local, "/d"
	slash.Name, slash.Destination = "slash", "/etc/"
	who.Name, who.User = "who", "a:b"
	unread.Name, unread.Destination, unread.UploadAt, unread.From.File = "later", "/u", fleet.PostActivation, "/no/later"
	hosts := []fleet.Host{
		{Name: "web1", Secrets: []fleet.Secret{good, missing, relative, twin, mode, dir, slash, who, unread, store, dots, below}},
		{Name: "web2", Secrets: []fleet.Secret{good}},
		{Name: "image", BuildOnly: true, Secrets: []fleet.Secret{missing}},
	}
	text := fault.Render(Preflight(t.Context(), hosts, fleet.PreActivation))
	for _, want := range []string{
		`web1: secret "missing": cannot read its source ./such: no such file`, "that is /no/such",
		`"relative": destination "etc/x" is not an absolute path`, `secrets "good" and "twin" have the same destination`,
		`"mode": permissions "u=rw" is not an octal mode`, `"dir": cannot read its source`, "not a regular file",
		`"slash": destination "/etc/" is a directory`, `"who": owner.user "a:b" is not a user`,
		`"store": destination "/nix/store/x" is in the Nix store`, `"dots": destination "/run/app/../key" is not plain: write /run/key`,
		`secret "below": its destination ` + good.Destination + `/x/below is below the file of secret "good"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "web2") || strings.Contains(text, "image") || strings.Contains(text, "later") {
		t.Errorf("too much:\n%s", text)
	}
	if err := Preflight(t.Context(), hosts[1:2], ""); err != nil {
		t.Error(err)
	}
	if err := Preflight(t.Context(), hosts[:1], ""); !strings.Contains(fault.Render(err), "later") {
		t.Error("the empty phase is all phases")
	}
	// Upload checks too, before it connects.
	w.r = nil
	if _, err := w.upload(Options{}, missing); err == nil {
		t.Error("no error")
	}
	if r, err := w.upload(Options{Phase: fleet.PostActivation}, good); err != nil || len(r.Items) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Docker")
	}
	host := lab.New(t, lab.Spec{})
	config := filepath.Join(t.TempDir(), "config")
	if err := lab.WriteSSHConfig(config, host); err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{lab.Root, lab.Deploy, lab.PasswordUser, lab.DoasUser} {
		t.Run(login, func(t *testing.T) {
			p, err := ssh.NewPool(ssh.Options{ConfigFile: config, ConnectTimeout: 20 * time.Second,
				Password: func(context.Context) (string, error) { return lab.Password, nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			h := p.Host(ssh.Target{Name: "lab", Host: host.Name, User: login})
			w := &world{t: t, r: h, local: t.TempDir(), dir: "/var/lib/a b%/" + login, user: "deploy", group: "root"}
			action := "id -un; test -e /tmp/ok-" + login
			s := w.secret("key", "top\nsecret", "sudo", action)
			s.Permissions = "0440"
			o := w.secret("other", "x", "id -un >/tmp/who-"+login)
			r, err := w.upload(Options{}, s, o)
			if err == nil || len(r.Actions) != 2 || !strings.Contains(fault.Render(err), "\n  root\n") {
				t.Fatalf("%s %+v", fault.Render(err), r)
			}
			ask := func(line string) string {
				t.Helper()
				res := host.Exec(t.Context(), line)
				if !res.OK() {
					t.Fatal(res.String())
				}
				return strings.TrimSpace(res.Stdout)
			}
			if got := ask("stat -c '%U %G %a %s' '/var/lib/a b%/" + login + "/key'"); got != "deploy root 440 10" {
				t.Errorf("%s", got)
			}
			if got := ask("cat /tmp/who-" + login); got != login {
				t.Errorf("%s", got)
			}
			if got := ask("ls -A '/var/lib/a b%/" + login + "'"); got != "key\nother" {
				t.Errorf("%s", got)
			}
			// The action that failed is due again, the other one is not.
			ask("touch /tmp/ok-" + login)
			r, err = w.upload(Options{}, s, o)
			if err != nil || r.Changes() != 0 || len(r.Actions) != 1 {
				t.Errorf("%v %+v", err, r)
			}
			if got := ask("ls -d /run/godwit-actions 2>&1 || true"); !strings.Contains(got, "No such file") {
				t.Errorf("%s", got)
			}
		})
	}
}
