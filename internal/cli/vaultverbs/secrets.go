package vaultverbs

import (
	"cmp"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/ui"
	"godwit/internal/vault"
)

func newSecrets(a *Frame) *cobra.Command {
	var d deskFlags
	c := &cobra.Command{
		Use: "secrets", Short: "the secrets of a repository: which goes where, who can open it",
		Long: `secrets prints a table of the secrets in the folder 'secrets' of a repository: where each
secret goes, who can open it, how old its value is, and what is wrong with it. It
decrypts nothing and contacts no host.

The other commands write secrets. Each shows whose keys can open a file, before and
after, and asks. A secret can be opened by the machines that its declaration names, and
by the operators in secrets/recipients.toml.` + "\n" + a.ExitHelp,
		Example: `  godwit secrets
  godwit secrets new wifi --for laptop --restart NetworkManager.service
  godwit secrets new db-password --for db1,web1 --generate random
  godwit secrets edit wifi
  godwit secrets grant db-password web2`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.listOwn(c.Context(), &d) },
	}
	d.register(c, false)
	c.AddCommand(newSecretsNew(a), newSecretsEdit(a), newSecretsShow(a), newSecretsList(a), newSecretsCheck(a), newSecretsRekey(a),
		newSecretsGrant(a, "grant", "give a secret to more machines", true), newSecretsGrant(a, "revoke", "take a secret away from machines", false),
		newSecretsGenerate(a), newSecretsRemove(a))
	return c
}

func newSecretsList(a *Frame) *cobra.Command {
	var d deskFlags
	c := &cobra.Command{
		Use: "list", Short: "print the table of secrets", Args: cobra.NoArgs,
		Long: "list prints the same as 'godwit secrets'; --json is for scripts." + "\n" + a.ExitHelp,
		RunE: func(c *cobra.Command, _ []string) error { return a.listOwn(c.Context(), &d) },
	}
	d.register(c, false)
	return c
}

// listOwn prints the table.
func (a *Frame) listOwn(ctx context.Context, d *deskFlags) error {
	return a.Report(ctx, func(ctx context.Context, e *action.Env, w View) error {
		dir, err := d.folder(a)
		if err != nil {
			return err
		}
		v, err := a.newDesk(ctx, e, w, d, dir).Open()
		if err != nil {
			return err
		}
		rows := v.Rows()
		if a.JSON() {
			return a.PrintJSON(rows)
		}
		var cells [][]string
		for _, r := range rows {
			age := "never"
			if !r.Set.IsZero() {
				age = days(time.Since(r.Set))
			}
			cells = append(cells, []string{r.Name, strings.Join(r.For, " "), r.Path, r.Owner + " " + r.Mode, strings.Join(r.Openers, " "), age, cmp.Or(strings.Join(r.Problems, "; "), "ok")})
		}
		if len(rows) == 0 {
			return a.print("no secrets: godwit secrets new NAME --for MACHINE makes one\n")
		}
		out := ui.Table(0, []string{"SECRET", "FOR", "PATH", "OWNER", "OPENED BY", "AGE", "STATE"}, cells)
		if v.Distrust != nil {
			out += "\n" + v.Distrust.Error() + "\n"
		}
		return a.print(out)
	})
}

// days is how old a value is.
func days(d time.Duration) string {
	switch n := int(d.Hours() / 24); {
	case n < 1:
		return "today"
	case n == 1:
		return "1 day"
	default:
		return strconv.Itoa(n) + " days"
	}
}

func newSecretsNew(a *Frame) *cobra.Command {
	var d deskFlags
	var s vault.Secret
	var g vault.Generator
	var input inputFlags
	c := &cobra.Command{
		Use: "new NAME", Short: "make a secret",
		Long: `new declares a secret (secrets/store/NAME.toml) and gives it a value: from your editor,
from standard input, from a file or from a generator. It encrypts the value for the
machines of --for and for all operators.

Generators (--generate):
` + generatorsHelp() + "\n" + a.ExitHelp,
		Example: `  godwit secrets new wifi --for laptop
  pass show db | godwit secrets new db --for db1 --user postgres --stdin
  godwit secrets new root-password --for @all --generate random
  godwit secrets new root-hash --for @all --phase users --generate password-hash --from root-password`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s.Name = args[0]
			if g.Kind != "" {
				s.Generator = &g
				if input.stdin || input.file != "" {
					return fault.New("--generate makes the value, so --stdin and --from-file have no use")
				}
			} else if g.Length != 0 || g.Charset != "" || g.User != "" || len(g.From)+len(g.Command) > 0 {
				return fault.New("--length, --charset, --htpasswd-user, --from and --command are for --generate")
			}
			plain, err := input.read(a)
			if err != nil {
				return err
			}
			return a.desk(c.Context(), &d, func(ctx context.Context, _ View, d *vault.Desk) error { return d.New(ctx, s, plain) })
		},
	}
	d.register(c, true)
	input.register(c)
	f := c.Flags()
	f.StringSliceVar(&s.For, "for", nil, "`MACHINES`, and @GROUPs of recipients.toml, that get it, with commas")
	f.StringVar(&s.Path, "path", "", "`PATH` on the machine (default: /run/godwit/secrets/NAME)")
	f.StringVar(&s.User, "owner", "", "the `USER` who owns it there (default: root)")
	f.StringVar(&s.Group, "group", "", "its `GROUP` there (default: root)")
	f.StringVar(&s.Mode, "mode", "", "its `MODE` there (default: 0400)")
	f.StringVar(&s.Phase, "phase", "", "before what it must be there, a `WORD`: initrd, users, services (default: services)")
	f.StringSliceVar(&s.Restart, "restart", nil, "`UNITS` that are restarted when it changes, with commas")
	f.StringVar(&s.Note, "note", "", "a `TEXT` that says what it is")
	f.StringVar(&g.Kind, "generate", "", "make the value with a generator of this `KIND`")
	f.IntVar(&g.Length, "length", 0, "characters that the generator random makes (0: 32)")
	f.StringVar(&g.Charset, "charset", "", "characters of the generator random, a `WORD`: alnum, hex, base64, digits, or the characters")
	f.StringVar(&g.User, "htpasswd-user", "", "the `USER` in a line of htpasswd")
	f.StringSliceVar(&g.From, "from", nil, "`SECRETS` that the value is made from, with commas")
	f.StringArrayVar(&g.Command, "command", nil, "a `WORD` of the generator command; once for each word")
	return c
}

// generatorsHelp lists the kinds of generators.
func generatorsHelp() string {
	var rows [][]string
	for _, k := range vault.Kinds {
		rows = append(rows, []string{"  " + k[0], k[1]})
	}
	return strings.TrimRight(ui.Table(0, nil, rows), "\n")
}

// inputFlags say where a value comes from that no editor gives.
type inputFlags struct {
	stdin bool
	file  string
}

func (i *inputFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&i.stdin, "stdin", false, "read the value from standard input, all of it")
	c.Flags().StringVar(&i.file, "from-file", "", "read the value from `FILE`")
}

// read is nil when an editor is to give the value.
func (i *inputFlags) read(a *Frame) ([]byte, error) {
	switch {
	case i.stdin && i.file != "":
		return nil, fault.New("--stdin and --from-file exclude each other")
	case i.stdin:
		return readAllInput(a.Stdin)
	case i.file != "":
		return a.readInput(i.file)
	}
	return nil, nil
}

func readAllInput(r io.Reader) ([]byte, error) {
	data, err := bounded.ReadAll(r, "standard input", identity.MaxPlain)
	if err != nil {
		return nil, fault.New("cannot read the value: %w", err)
	}
	if len(data) == 0 {
		return nil, fault.New("standard input is empty")
	}
	return data, nil
}

func newSecretsEdit(a *Frame) *cobra.Command {
	var d deskFlags
	var input inputFlags
	c := &cobra.Command{
		Use: "edit NAME", Short: "change the value of a secret",
		Long: `edit opens the value of a secret in your editor ($VISUAL, $EDITOR, vi), and encrypts what
you save. Meanwhile the text is in a file system in memory that only you can read, and
godwit tells the editors vim, nvim, nano and emacs to keep no copies. macOS has no such
file system: there the text is in a private folder, which godwit overwrites afterwards.` + "\n" + a.ExitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			plain, err := input.read(a)
			if err != nil {
				return err
			}
			return a.desk(c.Context(), &d, func(ctx context.Context, _ View, d *vault.Desk) error { return d.Edit(ctx, args[0], plain) })
		},
	}
	d.register(c, true)
	input.register(c)
	return c
}

func newSecretsShow(a *Frame) *cobra.Command {
	var d deskFlags
	var file, key string
	c := &cobra.Command{
		Use: "show NAME", Short: "print a secret",
		Long: `show decrypts a secret and prints it to standard output, unchanged.

With --encrypted it decrypts a file of another tool with your keys: an age file, as agenix
has them, or a sops file, of which it verifies the MAC. If a sops file has no age key
(PGP, clouds), show runs the sops program.` + "\n" + a.ExitHelp,
		Example: `  godwit secrets show wifi
  godwit secrets show --encrypted secrets/web1.yaml --key db/password`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (file == "") {
				return fault.New("name a secret, or a file with --encrypted").Hint("godwit secrets lists them")
			}
			if key != "" && file == "" {
				return fault.New("--key is for --encrypted")
			}
			var plain []byte
			err := a.Run(c.Context(), func(ctx context.Context, e *action.Env, v View) (err error) {
				if file != "" {
					plain, err = a.newDesk(ctx, e, v, &d, "").RevealFile(ctx, file, key)
					return err
				}
				dir, err := d.folder(a)
				if err == nil {
					plain, err = a.newDesk(ctx, e, v, &d, dir).Reveal(args[0])
				}
				return err
			})
			if err != nil {
				return err
			}
			return ui.Reveal(a.Stdout, plain)
		},
	}
	d.register(c, false)
	c.Flags().StringVar(&file, "encrypted", "", "decrypt this age or sops `FILE`, instead of a secret of the repository")
	c.Flags().StringVar(&key, "key", "", "print only the value of this `KEY` of a sops file; / goes down a level (default: the whole file)")
	return c
}

func newSecretsCheck(a *Frame) *cobra.Command {
	var d deskFlags
	var open, signers bool
	c := &cobra.Command{
		Use: "check", Short: "check that every secret can be delivered",
		Long: `check finds out whether each secret has a value, is the one that the signed index names,
and is encrypted for exactly those who may read it. --open also decrypts each secret,
with your key and with the keys of its machines. The exit status is 1 if something is
wrong.` + "\n" + a.ExitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.checkSecrets(c.Context(), &d, open, signers) },
	}
	d.register(c, false)
	c.Flags().BoolVar(&open, "open", false, "decrypt every secret")
	c.Flags().BoolVar(&signers, "trust-signers", false, "trust the current signers in recipients.toml")
	return c
}

func (a *Frame) checkSecrets(ctx context.Context, f *deskFlags, open, signers bool) error {
	return a.desk(ctx, f, func(_ context.Context, v View, d *vault.Desk) error {
		n, err := d.Check(open, signers)
		if err != nil {
			return err
		}
		v.Tell("every secret is in order: " + strconv.Itoa(n))
		return nil
	})
}

func newSecretsRekey(a *Frame) *cobra.Command {
	var d deskFlags
	var all, trust bool
	c := &cobra.Command{
		Use: "rekey [NAME...]", Short: "encrypt again where people or machines have changed",
		Long: `rekey encrypts again each secret, and each private key of a machine, whose readers have
changed: an operator joined or left, a group has other machines, a machine has a new key.
It does not change files whose readers are the same. If it cannot open a file, it names
the file, leaves it unchanged and writes the others. If it is killed, either all files
are old or all are new.` + "\n" + a.ExitHelp,
		RunE: func(c *cobra.Command, args []string) error {
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Rekey(args, all, trust) })
		},
	}
	d.register(c, true)
	c.Flags().BoolVar(&all, "all", false, "also encrypt files whose readers are the same")
	c.Flags().BoolVar(&trust, "trust-files", false, "trust the files as they are now, also those that the index does not know (after a merge)")
	return c
}

func newSecretsGrant(a *Frame, verb, short string, grant bool) *cobra.Command {
	var d deskFlags
	c := &cobra.Command{
		Use: verb + " NAME MACHINE...", Short: short,
		Long: verb + ` changes which machines, or @GROUPs, use a secret, and encrypts it again.` + "\n" + a.ExitHelp,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error {
				if grant {
					return d.Grant(args[0], args[1:], nil)
				}
				return d.Grant(args[0], nil, args[1:])
			})
		},
	}
	d.register(c, true)
	return c
}

func newSecretsGenerate(a *Frame) *cobra.Command {
	var d deskFlags
	var again bool
	c := &cobra.Command{
		Use: "generate [NAME...]", Short: "make the values of secrets that have a generator",
		Long: `generate makes the missing values of the named secrets, or of all secrets. It first makes
the secrets that they are made from. --again makes new values for the named secrets, and
for the secrets that are made from them.` + "\n" + a.ExitHelp,
		RunE: func(c *cobra.Command, args []string) error {
			if again && len(args) == 0 {
				return fault.New("--again needs the names of the secrets")
			}
			return a.desk(c.Context(), &d, func(ctx context.Context, _ View, d *vault.Desk) error { return d.Generate(ctx, args, again) })
		},
	}
	d.register(c, true)
	c.Flags().BoolVar(&again, "again", false, "make new values, also where there is one")
	return c
}

func newSecretsRemove(a *Frame) *cobra.Command {
	var d deskFlags
	c := &cobra.Command{
		Use: "remove NAME...", Short: "remove secrets",
		Long: "remove deletes the files of secrets. The next deploy removes the secrets from the machines." + "\n" + a.ExitHelp,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Remove(args) })
		},
	}
	d.register(c, true)
	return c
}

func (a *Frame) print(text string) error {
	_, err := io.WriteString(a.Stdout, text)
	return err
}
