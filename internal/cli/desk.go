package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/paths"
	"godwit/internal/ui"
	"godwit/internal/ui/text"
	"godwit/internal/vault"
)

// deskFlags are what the verbs of keys and secrets share.
type deskFlags struct {
	dir        string
	identities []string
	yes        bool
}

// register adds the flags; write: the verb writes to the repository.
func (d *deskFlags) register(c *cobra.Command, write bool) {
	c.Flags().StringVar(&d.dir, "secrets", "", "the folder of secrets (default: the nearest 'secrets' with a recipients.toml, from here upwards)")
	c.Flags().StringArrayVarP(&d.identities, "identity", "i", nil, "a `FILE` with your private key of age or ssh; may be repeated (default: godwit's own, those of sops, ~/.ssh/id_ed25519, ~/.ssh/id_rsa)")
	if write {
		c.Flags().BoolVar(&d.yes, "yes", false, "write without asking")
	}
}

// folder is where the secrets are.
func (d *deskFlags) folder(a *app) (string, error) {
	if d.dir != "" {
		return d.dir, nil
	}
	from := "."
	if a.globals.file != "" {
		from = filepath.Dir(a.globals.file)
	}
	if at, ok := identity.Find(from); ok {
		return at, nil
	}
	return "", fault.New("there is no folder of secrets here, nor above: no 'secrets/%s'", identity.RecipientsFile).
		Hint("godwit keys init makes it; --secrets DIR names another")
}

// desk runs a verb at a desk.
func (a *app) desk(ctx context.Context, d *deskFlags, body func(ctx context.Context, v *view, d *vault.Desk) error) error {
	return a.run(ctx, nil, func(ctx context.Context, _ *action.Env, v *view) error {
		dir, err := d.folder(a)
		if err != nil {
			return err
		}
		return body(ctx, v, v.newDesk(ctx, d, dir))
	})
}

// newDesk is a desk whose person sits before this terminal.
func (v *view) newDesk(ctx context.Context, d *deskFlags, dir string) *vault.Desk {
	state, err := paths.State()
	if err != nil {
		state = "" // no home directory: nothing is remembered
	}
	p := person{ctx: ctx, v: v}
	return &vault.Desk{
		Dir: dir, State: state, Person: p, DryRun: v.app.globals.dryRun,
		Keys: func() (*identity.Operator, error) { return identity.Load(d.identities, p) },
		Show: func(lines []string) {
			for _, l := range lines {
				v.Println(text.Clean(l))
			}
		},
		Agree: func(question string) (bool, error) {
			if d.yes {
				return true, nil
			}
			yes, err := v.UI.Ask(question)
			if err != nil {
				return false, fault.New("nothing was written: %w", err).Hint("--yes writes without asking")
			}
			return yes, nil
		},
		Editor: vault.Editor{
			Command: v.app.editor(),
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
			Warn: func(line string) { v.Println("warning: " + text.Clean(line)) },
		},
	}
}

// editor is the person's own.
func (a *app) editor() string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if e := a.getenv(name); e != "" {
			return e
		}
	}
	return "vi"
}

// person is who sits before the terminal.
type person struct {
	ctx context.Context
	v   *view
}

// Secret reads a line that is not shown.
func (p person) Secret(prompt string) (answer string, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fault.New("there is no terminal to ask for it on (%s)", prompt)
	}
	p.v.Suspend(func() {
		if _, err = tty.WriteString(text.Clean(prompt) + ": "); err != nil {
			tty.Close()
			return
		}
		answer, err = readSecret(p.ctx, tty)
	})
	return answer, err
}

// Line reads a line.
func (p person) Line(prompt string) (string, error) { return p.v.Prompt(text.Clean(prompt) + " ") }

// Say shows a line.
func (p person) Say(line string) { p.v.Println(text.Clean(line)) }

var _ identity.Person = person{}

// reveal prints plaintext: as it is into a pipe or a file, cleaned on a terminal.
func (a *app) reveal(plain []byte) error { return ui.Reveal(a.stdout, plain) }
