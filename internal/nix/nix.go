// Package nix drives the Nix command line: which Nix there is and how it
// spells things, its configuration, evaluation, derivations and builds.
//
// It works with Nix 2.8 and later (2.8, 2.26 and 2.34 are the versions that
// Debian ships) and with Lix. It never links against Nix.
package nix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/programs"
)

// Settings are what a person, or a configuration, asked of every Nix process.
type Settings struct {
	// Options are passed to every Nix program as `--option NAME VALUE`.
	Options [][2]string
	// ShowTrace asks Nix for whole traces and keeps Explain from shortening them.
	ShowTrace bool
	// EvalCmd, BuildCmd and ShellCmd replace nix-instantiate, nix-build and
	// nix-shell. Each is one program, a name on PATH or a path, without
	// arguments. Where they are empty, MORPH_NIX_EVAL_CMD,
	// MORPH_NIX_BUILD_CMD and MORPH_NIX_SHELL_CMD are used as in morph.
	EvalCmd, BuildCmd, ShellCmd string
	// BuildArgs are given to builds on this machine as they are (morph's
	// --build-arg, which is deprecated there, too).
	BuildArgs []string
	// Env is added to the environment of every Nix process (NAME=VALUE).
	Env []string
}

// Tool is an installed Nix.
type Tool struct {
	// Version is what `nix --version` says.
	Version Version

	settings Settings
	programs map[string]string // program name -> path
	dir      string            // where nix was found, when that is not on PATH

	said *seen // lines that Nix says at every start: once is enough

	// copies are directories in the store and what they are copies of.
	copies [][2]string

	conf *configuration
}

// configuration is Nix's own, once it was asked for.
type configuration struct {
	mu    sync.Mutex
	known *Config
	early chan []byte // the answer to askConfig, nil where it failed; nil: not asked
}

// everybodys are where Nix is for all users of a machine; tests look elsewhere.
var everybodys = []string{"/nix/var/nix/profiles/default/bin", "/run/current-system/sw/bin"}

// elsewhere are places where Nix is installed although PATH does not say so:
// macOS upgrades replace /etc/zshrc and with it the line that Nix's installer added.
func elsewhere() []string {
	var dirs []string
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".nix-profile/bin"), filepath.Join(home, ".local/state/nix/profile/bin"))
	}
	return append(dirs, everybodys...)
}

// Find looks for Nix on PATH (and where its installers put it) and asks for
// its version. The error of a missing Nix says how to install it.
func Find(ctx context.Context, s Settings) (*Tool, error) {
	if s.EvalCmd == "" {
		s.EvalCmd = os.Getenv("MORPH_NIX_EVAL_CMD")
	}
	if s.BuildCmd == "" {
		s.BuildCmd = os.Getenv("MORPH_NIX_BUILD_CMD")
	}
	if s.ShellCmd == "" {
		s.ShellCmd = os.Getenv("MORPH_NIX_SHELL_CMD")
	}
	t := &Tool{settings: s, programs: map[string]string{}, said: &seen{}, conf: &configuration{}}

	path, err := exec.LookPath("nix")
	if err != nil {
		for _, dir := range elsewhere() {
			if p, err2 := exec.LookPath(filepath.Join(dir, "nix")); err2 == nil {
				path, t.dir, err = p, dir, nil
				break
			}
		}
	}
	if err != nil {
		return nil, missing(err)
	}
	t.programs["nix"] = path

	for _, r := range []struct{ program, cmd, env string }{
		{"nix-instantiate", s.EvalCmd, "MORPH_NIX_EVAL_CMD"},
		{"nix-build", s.BuildCmd, "MORPH_NIX_BUILD_CMD"},
		{"nix-shell", s.ShellCmd, "MORPH_NIX_SHELL_CMD"},
	} {
		if r.cmd == "" {
			continue
		}
		p, err := exec.LookPath(r.cmd)
		if err != nil {
			return nil, fault.New("cannot run '%s', which replaces %s", r.cmd, r.program).Because(err).
				Hint("set %s to one program, a name on PATH or a path, or unset it", r.env)
		}
		t.programs[r.program] = p
	}

	t.askConfig(ctx)
	said, err := programs.Said(path, "version", func() (string, error) {
		out, err := bounded.Output(t.Command(ctx, "nix", "--version"), "the version of Nix", 64<<10)
		return string(out), err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fault.New("'%s --version' failed: %s", path, failure(err)).Because(err)
	}
	if t.Version, err = ParseVersion(said); err != nil {
		return nil, fault.New("cannot tell which Nix '%s' is: %s", path, err).Because(err)
	}
	if !t.Version.AtLeast(oldest.Major, oldest.Minor) {
		return nil, fault.New("%s is too old: godwit needs Nix %d.%d or later", t.Version, oldest.Major, oldest.Minor).
			Hint("upgrade Nix: nix-env -iA nixpkgs.nix, or install it anew from https://nixos.org/download")
	}
	return t, nil
}

// missing is the error when there is no Nix at all.
func missing(cause error) error {
	f := fault.New("nix is not installed (there is no 'nix' on PATH)").Because(cause)
	if runtime.GOOS == "darwin" { // what to type depends on the machine; nothing else does
		return f.Hint("install it: curl -L https://nixos.org/nix/install | sh -s -- --daemon").
			Hint("or, with an uninstaller: curl -fsSL https://install.determinate.systems/nix | sh -s -- install").
			Hint("when it is installed, open a new terminal: PATH is set there")
	}
	return f.Hint("install it on Debian or Ubuntu: sudo apt install nix-bin").
		Hint("or anywhere: curl -L https://nixos.org/nix/install | sh -s -- --daemon")
}

// Settings are the settings that the tool was found with, with the MORPH_*
// variables filled in. The slices are the caller's to read, not to change.
func (t *Tool) Settings() Settings { return t.settings }

// With is the same Nix with further options (they win over earlier ones) and
// environment. It asks for its own Config.
func (t *Tool) With(options [][2]string, env ...string) *Tool {
	s := t.settings
	s.Options = append(slices.Clone(s.Options), options...)
	s.Env = append(slices.Clone(s.Env), env...)
	return &Tool{Version: t.Version, settings: s, programs: t.programs, dir: t.dir, said: t.said, copies: t.copies, conf: &configuration{}}
}

// Reading is the same Nix whose errors name files below dir where Nix names those of
// its copy in the store: a flake is evaluated from there.
func (t *Tool) Reading(copied, dir string) *Tool {
	r := t.With(nil)
	r.conf = t.conf
	r.copies = append(slices.Clone(t.copies), [2]string{copied, dir})
	return r
}

// ShowTrace says whether whole traces are wanted.
func (t *Tool) ShowTrace() bool { return t.settings.ShowTrace }

// Program is the path of a Nix program (nix, nix-instantiate, nix-store, ...),
// or its bare name when it cannot be found: running it then says so.
func (t *Tool) Program(name string) string {
	if p, ok := t.programs[name]; ok {
		return p
	}
	if t.dir == "" {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	// Beside nix itself: all of Nix's programs are links to one.
	if p := filepath.Join(filepath.Dir(t.programs["nix"]), name); executable(p) {
		return p
	}
	return name
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir() && st.Mode()&0o111 != 0
}

// Args are the arguments that every call of program starts with: the
// experimental features that godwit uses, and the person's --option pairs.
func (t *Tool) Args(program string) []string {
	var args []string
	if program == "nix" {
		args = append(args, "--extra-experimental-features", "nix-command flakes")
	}
	for _, o := range t.settings.Options {
		args = append(args, "--option", o[0], o[1])
	}
	return args
}

// Environ is the environment of Nix processes.
func (t *Tool) Environ() []string {
	env := os.Environ()
	if t.dir != "" {
		env = append(env, "PATH="+os.Getenv("PATH")+string(os.PathListSeparator)+t.dir)
	}
	return append(env, t.settings.Env...)
}

// Command prepares program (nix, nix-instantiate, nix-build, nix-shell,
// nix-store, ...) with Args before args. It has a session of its own, so that a
// signal meant for godwit does not hit it half-way and nothing it starts can
// stop to ask on the terminal. When ctx ends, SIGTERM goes to the whole group
// (see end), and SIGKILL to what is left of it, and of what it started, ten
// seconds later.
func (t *Tool) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return t.command(ctx, killAfter, program, args...)
}

func (t *Tool) command(ctx context.Context, grace time.Duration, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, t.Program(program), append(t.Args(program), args...)...)
	cmd.Env = t.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return end(cmd.Process.Pid, grace) }
	cmd.WaitDelay = grace + time.Second
	return cmd
}

// Output runs program and gives its standard output. The error is what Nix
// wrote, explained (see Explain).
func (t *Tool) Output(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := t.Command(ctx, program, args...)
	out, said, err := collect(cmd)
	if err != nil {
		return nil, t.Failure(ctx, cmd, err, said)
	}
	return out, nil
}

// What is read of Nix at most, in bytes. A configuration that prints a host's options
// is some megabytes, a list of a closure's paths is one.
const (
	mostPrinted = 64 << 20 // by one program on stdout
	mostSaid    = 8 << 20  // of the end of stderr, in which an error is
	mostLine    = 16 << 20 // of a line of its log: the JSON of one host comes in one
)

// collect runs a program of Nix's and gives what it printed, and the end of what it
// said on stderr.
func collect(cmd *exec.Cmd) (out []byte, said string, err error) {
	stderr := bounded.NewTail(mostSaid)
	cmd.Stderr = stderr
	out, err = bounded.Output(cmd, "what "+filepath.Base(cmd.Path)+" prints", mostPrinted)
	return out, stderr.String(), err
}

// hear runs a program of Nix's and gives all that it said on stderr, of which
// nothing may be missing.
func hear(cmd *exec.Cmd) (said string, out []byte, err error) {
	stderr := bounded.NewBuffer("what "+filepath.Base(cmd.Path)+" says", mostPrinted).OnFull(func() { _ = cmd.Cancel() })
	cmd.Stderr = stderr
	out, err = bounded.Output(cmd, "what "+filepath.Base(cmd.Path)+" prints", mostPrinted)
	if full := stderr.Err(); full != nil {
		err = full
	}
	return stderr.String(), out, err
}

// Failure makes the error of a command that ended with err after writing
// stderr: the context's own when that has ended, otherwise what Nix said.
func (t *Tool) Failure(ctx context.Context, cmd *exec.Cmd, err error, stderr string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if bounded.Is(err) {
		return fault.New("%w", err)
	}
	if f := t.Explain(stderr); f != nil {
		return f.Because(errors.Join(f.Err, err)) // f.Err: what Explain found out, if anything
	}
	return fault.New("%s failed: %s", filepath.Base(cmd.Path), failure(err)).Because(err)
}

// failure is err as one line, with the last line that the command wrote.
func failure(err error) string {
	if e, ok := err.(*exec.ExitError); ok {
		lines := strings.Split(strings.TrimSpace(string(e.Stderr)), "\n")
		if last := lines[len(lines)-1]; last != "" {
			return fmt.Sprintf("%s (%s)", strings.TrimPrefix(last, "error: "), e)
		}
	}
	return err.Error()
}
