package vaultverbs

import (
	"context"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/regular"
	"godwit/internal/vault"
)

func newKeys(a *Frame) *cobra.Command {
	c := &cobra.Command{
		Use: "keys", Short: "the identities of machines and operators",
		Long: `keys makes and manages the identities of machines in the folder 'secrets' of a
repository. An identity is an age key, with which a machine opens its secrets, and an ssh
host key. Public halves are plain text; private halves are encrypted for the operators,
the people who may write secrets. A machine can have an identity before it exists.` + "\n" + a.ExitHelp,
		Example: `  godwit keys init
  godwit keys new web1 --address web1.example.com
  godwit keys adopt db1`,
	}
	c.AddCommand(newKeysInit(a), newKeysNew(a), newKeysAdopt(a), newKeysRotate(a), newKeysCheck(a), newKeysExport(a), newKeysInstall(a), newKeysTrust(a))
	return c
}

func newKeysInit(a *Frame) *cobra.Command {
	var d deskFlags
	var pq bool
	c := &cobra.Command{
		Use: "init [OPERATOR]", Short: "make the folder of secrets, with you as its operator",
		Long: `init makes secrets/recipients.toml with one operator: you, with your user name on this
machine or the name OPERATOR. It uses the first age key that it finds. If there is none,
it makes one (identity.txt beside godwit's config.toml).` + "\n" + a.ExitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if u, err := user.Current(); err == nil {
				name = u.Username
			}
			if len(args) > 0 {
				name = args[0]
			}
			if d.dir == "" {
				d.dir = identity.Folder
			}
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Init(name, pq) })
		},
	}
	d.register(c, false)
	c.Flags().BoolVar(&pq, "post-quantum", false, "use post-quantum keys for everybody; ssh keys then cannot open secrets")
	return c
}

func newKeysNew(a *Frame) *cobra.Command {
	var d deskFlags
	var names []string
	c := &cobra.Command{
		Use: "new MACHINE...", Short: "make the identity of a machine before it exists",
		Long: `new makes an age key and an ssh host key for each machine. It encrypts the private halves
for the operators only. The public ssh key goes into secrets/known_hosts; 'godwit keys
trust' copies it from there for your ssh, so that ssh need not ask on the first contact.

'godwit keys export' writes the private halves for the installation of the machine.` + "\n" + a.ExitHelp,
		Example: `  godwit keys new web1 --address web1.example.com,192.0.2.7`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(names) > 0 && len(args) > 1 {
				return fault.New("--address is for one machine only")
			}
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error {
				for _, m := range args {
					if err := d.NewMachine(m, names); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	d.register(c, true)
	c.Flags().StringSliceVar(&names, "address", nil, "what ssh calls the machine: `NAMES` and addresses with commas (default: its name)")
	return c
}

func newKeysAdopt(a *Frame) *cobra.Command {
	var d deskFlags
	var over func(context.Context, []string, func(context.Context, *action.Env, View, action.HostsRequest) (*action.Summary, func() error, error)) error
	var key string
	var names []string
	c := &cobra.Command{
		Use: "adopt [DEPLOYMENT] [HOST...]", Short: "take the identity that running machines have",
		Long: `adopt reads the ed25519 ssh host key of each selected host, over a connection that ssh
has verified, and writes its public half into the repository. godwit then encrypts the
secrets of the machine for that key, and the machine opens them with it.

With --key FILE (- is standard input) it reads the key from there, and contacts no host.` + "\n" + a.FoundHelp + a.ExitHelp,
		Example: `  godwit keys adopt db1
  ssh db1 cat /etc/ssh/ssh_host_ed25519_key.pub | godwit keys adopt --key - db1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if key != "" {
				if len(args) != 1 {
					return fault.New("--key is for one machine").Hint("godwit keys adopt --key FILE MACHINE")
				}
				text, err := a.readInput(key)
				if err != nil {
					return err
				}
				return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Adopt(args[0], string(text), names) })
			}
			return over(c.Context(), args, func(ctx context.Context, e *action.Env, v View, r action.HostsRequest) (*action.Summary, func() error, error) {
				dir, err := d.folder(a)
				if err != nil {
					return nil, nil, err
				}
				sum, keys, err := action.HostKeys(ctx, e, r)
				return sum, func() error { return adopt(a.newDesk(ctx, e, v, &d, dir), keys) }, err
			})
		},
	}
	d.register(c, true)
	over = a.Hosts(c)
	c.Flags().StringVar(&key, "key", "", "read the public host key from `FILE`, or - for standard input")
	c.Flags().StringSliceVar(&names, "address", nil, "what ssh calls the machine of --key: `NAMES` with commas (default: its name)")
	return c
}

// adopt writes the keys of hosts, one after another.
func adopt(d *vault.Desk, keys []action.HostKey) error {
	for _, k := range keys {
		var names []string
		if k.Address != "" {
			names = []string{k.Address}
		}
		if err := d.Adopt(k.Host, k.Key, names); err != nil {
			return err
		}
	}
	return nil
}

func newKeysRotate(a *Frame) *cobra.Command {
	var d deskFlags
	var ssh, lost bool
	c := &cobra.Command{
		Use: "rotate MACHINE", Short: "give a machine a new key",
		Long: `rotate makes a new age key for a machine and encrypts its secrets for it. The machine
also keeps the old key, so that it can still open what it has; the next rotation removes
the old key. Run 'godwit keys install' before the next deploy: it brings the new key to
the machine. A machine that was adopted gets its own age key in this way.

Use --lost if somebody else may have the old key: rotate then removes the old key at
once. Give the secrets of the machine new values, too.` + "\n" + a.ExitHelp,
		Example: `  godwit keys rotate web1 && godwit keys install web1`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Rotate(args[0], ssh, lost) })
		},
	}
	d.register(c, true)
	c.Flags().BoolVar(&ssh, "ssh", false, "also make a new ssh host key, for a machine that will be installed again")
	c.Flags().BoolVar(&lost, "lost", false, "do not keep the old key: somebody else may have it")
	return c
}

func newKeysCheck(a *Frame) *cobra.Command {
	var d deskFlags
	c := &cobra.Command{
		Use: "check", Short: "check that all keys and secrets fit together",
		Long: `check is 'godwit secrets check --open': it decrypts each private key of a machine with
your key, and each secret with your key and with the machine's. Nothing is written.` + "\n" + a.ExitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.checkSecrets(c.Context(), &d, true, false) },
	}
	d.register(c, false)
	return c
}

func newKeysExport(a *Frame) *cobra.Command {
	var d deskFlags
	var onDisk bool
	c := &cobra.Command{
		Use: "export MACHINE DIR", Short: "write the private keys of a machine for its installation",
		Long: `export writes the age key and the ssh host key as a tree of files for the root of the
machine's file system. Only you can read them. Give the tree to nixos-anywhere with
--extra-files. DIR must be in memory, for example below /dev/shm; remove it afterwards.` + "\n" + a.ExitHelp,
		Example: `  godwit keys export web1 /dev/shm/web1
  nixos-anywhere --extra-files /dev/shm/web1 --flake .#web1 root@192.0.2.7
  rm -r /dev/shm/web1`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Export(args[0], args[1], onDisk) })
		},
	}
	d.register(c, false)
	c.Flags().BoolVar(&onDisk, "on-disk", false, "allow a DIR on a disk")
	return c
}

func newKeysInstall(a *Frame) *cobra.Command {
	var d deskFlags
	var over func(context.Context, []string, func(context.Context, *action.Env, View, action.HostsRequest) (*action.Summary, func() error, error)) error
	c := &cobra.Command{
		Use: "install [DEPLOYMENT] [HOST...]", Short: "bring the age key of machines to them",
		Long: `install writes the private age key of each selected host to ` + identity.KeyFile + `
on the host, which only root can read. A machine that was installed with its identity
(godwit keys export) has it already.` + "\n" + a.FoundHelp + a.ExitHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			return over(c.Context(), args, func(ctx context.Context, e *action.Env, v View, r action.HostsRequest) (*action.Summary, func() error, error) {
				dir, err := d.folder(a)
				if err != nil {
					return nil, nil, err
				}
				sum, err := action.InstallKeys(ctx, e, r, a.newDesk(ctx, e, v, &d, dir).MachineKeys)
				return sum, nil, err
			})
		},
	}
	d.register(c, false)
	over = a.Hosts(c)
	return c
}

func newKeysTrust(a *Frame) *cobra.Command {
	var d deskFlags
	var file string
	c := &cobra.Command{
		Use: "trust", Short: "add the machines of the repository to your known_hosts",
		Long: `trust writes the ssh host keys of secrets/known_hosts to your ~/.ssh/known_hosts, which
ssh and godwit read. It removes older keys of the same machines.` + "\n" + a.ExitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				home, err := os.UserHomeDir()
				if err != nil {
					return fault.New("there is no home directory: %w", err).Hint("--known-hosts FILE names the file")
				}
				file = filepath.Join(home, ".ssh", "known_hosts")
			}
			return a.desk(c.Context(), &d, func(_ context.Context, _ View, d *vault.Desk) error { return d.Trust(file) })
		},
	}
	d.register(c, true)
	c.Flags().StringVar(&file, "known-hosts", "", "write to this `FILE`")
	return c
}

// readInput reads a file, or standard input for "-".
func (a *Frame) readInput(file string) ([]byte, error) {
	if file == "-" {
		return readAllInput(a.Stdin)
	}
	data, err := regular.Read(file, identity.MaxPlain)
	if err != nil {
		return nil, fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	return data, nil
}
