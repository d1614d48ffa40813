// Package vaultverbs are the verbs of the command line about keys and secrets: flags and
// how things look. What they do is internal/vault's.
package vaultverbs

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/paths"
	"godwit/internal/redact"
	"godwit/internal/ui"
	"godwit/internal/ui/text"
	"godwit/internal/vault"
)

// View is the terminal before which a person sits.
type View interface {
	action.View
	// Prompt reads a line from the terminal; Suspend runs fn with the terminal to itself.
	Prompt(ctx context.Context, prompt string) (string, error)
	Suspend(fn func())
}

// Frame is what these verbs have of the command line around them.
type Frame struct {
	Stdin  io.Reader
	Stdout io.Writer
	// File is the configuration of --file; JSON tells whether --json was given.
	File func() string
	JSON func() bool
	// Run is the frame of verbs that are told as events, Report of those that print a report.
	Run, Report func(ctx context.Context, body func(ctx context.Context, e *action.Env, v View) error) error
	PrintJSON   func(any) error
	// Hosts adds the flags of verbs over hosts; what it gives runs one, with the table at
	// its end, and then what comes after it.
	Hosts func(*cobra.Command) func(ctx context.Context, args []string, do func(ctx context.Context, e *action.Env, v View, r action.HostsRequest) (*action.Summary, func() error, error)) error
	// FoundHelp and ExitHelp are paragraphs of help.
	FoundHelp, ExitHelp string
}

// Commands are keys and secrets.
func Commands(f *Frame) []*cobra.Command { return []*cobra.Command{newKeys(f), newSecrets(f)} }

// agree asks for a yes.
func agree(ctx context.Context, v View, question string) (bool, error) {
	answer, err := v.Prompt(ctx, question+" [y/N] ")
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", err
}

// deskFlags are what the verbs of keys and secrets share.
type deskFlags struct {
	dir        string
	identities []string
	yes        bool
}

// register adds the flags; write: the verb writes to the repository.
func (d *deskFlags) register(c *cobra.Command, write bool) {
	c.Flags().StringVar(&d.dir, "secrets", "", "the folder `DIR` of secrets (default: the nearest 'secrets' with a recipients.toml, from here upwards)")
	c.Flags().StringArrayVarP(&d.identities, "identity", "i", nil, "a `FILE` with your age or ssh private key; may be repeated (default: godwit's own, those of sops, ~/.ssh/id_ed25519, ~/.ssh/id_rsa)")
	if write {
		c.Flags().BoolVar(&d.yes, "yes", false, "write without asking")
	}
}

// folder is where the secrets are.
func (d *deskFlags) folder(a *Frame) (string, error) {
	if d.dir != "" {
		return d.dir, nil
	}
	from := "."
	if f := a.File(); f != "" {
		from = filepath.Dir(f)
	}
	if at, ok := identity.Find(from); ok {
		return at, nil
	}
	return "", fault.New("there is no folder of secrets here or above: no 'secrets/%s'", identity.RecipientsFile).
		Hint("godwit keys init makes it; --secrets DIR uses another one")
}

// desk runs a verb at a desk.
func (a *Frame) desk(ctx context.Context, d *deskFlags, body func(ctx context.Context, v View, d *vault.Desk) error) error {
	return a.Run(ctx, func(ctx context.Context, e *action.Env, v View) error {
		dir, err := d.folder(a)
		if err != nil {
			return err
		}
		return body(ctx, v, a.newDesk(ctx, e, v, d, dir))
	})
}

// newDesk is a desk whose person sits before this terminal.
func (a *Frame) newDesk(ctx context.Context, e *action.Env, v View, d *deskFlags, dir string) *vault.Desk {
	state, err := paths.State()
	if err != nil {
		state = "" // no home directory: nothing is remembered
	}
	p := person{ctx: ctx, v: v}
	return &vault.Desk{
		Dir: dir, State: state, Person: p, DryRun: e.DryRun,
		Keys: func() (*identity.Operator, error) { return identity.Load(d.identities, p) },
		Show: func(lines []string) {
			for _, l := range lines {
				v.Tell(text.Clean(l))
			}
		},
		Agree: func(question string) (bool, error) {
			if d.yes {
				return true, nil
			}
			yes, err := agree(ctx, v, question)
			if err != nil {
				return false, fault.New("nothing was written: %w", err).Hint("--yes writes without asking")
			}
			return yes, nil
		},
		Editor: vault.Editor{
			Command: editor(e.Getenv),
			Run: func(c *exec.Cmd) (err error) {
				tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
				if err != nil {
					return fault.New("there is no terminal to edit on").Hint("--stdin takes the value from standard input")
				}
				defer tty.Close()
				c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
				v.Suspend(func() { err = c.Run() })
				return err
			},
			Warn: func(line string) { v.Tell("warning: " + text.Clean(line)) },
		},
	}
}

// editor is the person's own.
func editor(getenv func(string) string) string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if e := getenv(name); e != "" {
			return e
		}
	}
	return "vi"
}

// person is who sits before the terminal.
type person struct {
	ctx context.Context
	v   View
}

// Secret reads a line that is not shown.
func (p person) Secret(prompt string) (answer string, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fault.New("there is no terminal to ask for it on (%s)", prompt)
	}
	p.v.Suspend(func() { answer, err = ui.ReadSecret(p.ctx, tty, text.Clean(prompt)+": ") })
	redact.Know([]byte(answer))
	return answer, err
}

// Line reads a line.
func (p person) Line(prompt string) (string, error) { return p.v.Prompt(p.ctx, text.Clean(prompt)+" ") }

// Say shows a line.
func (p person) Say(line string) { p.v.Tell(text.Clean(line)) }

var _ identity.Person = person{}
