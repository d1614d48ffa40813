package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
)

// copyFlags are how closures travel.
func copyFlags(c *cobra.Command, o *action.Copying) {
	f := c.Flags()
	f.StringVar(&o.With, "copy-with", "godwit", "which program copies, a `WORD`: godwit, or nix (nix copy: slower; Nix on the host must trust the login user)")
	f.StringVar(&o.Direct, "direct", "auto", "let an ssh builder that has a key for a host send directly to the host, a `WORD`: auto, on (say where it cannot), or off")
	f.Lookup("direct").NoOptDefVal = "on"
	f.StringVar(&o.Compress, "compress", "auto", "let ssh compress, a `WORD`: on, off, auto (for large copies over a link below 100 Mbit/s), or ssh (as ssh is configured)")
	f.BoolVar(&o.NoSubstitute, "no-substitute", false, "do not let hosts fetch from their own substituters")
}

// settleCopy takes what the command line leaves open from the user's file, table [copy].
func (a *app) settleCopy(c *cobra.Command, o *action.Copying) error {
	file, err := a.settings()
	if err != nil {
		return err
	}
	for _, x := range []struct {
		flag, setting string
		inFile        *string
		value         *string
		known         []string
	}{
		{"copy-with", "with", file.Copy.With, &o.With, []string{"godwit", "nix"}},
		{"compress", "compress", file.Copy.Compress, &o.Compress, []string{"auto", "on", "off", "ssh"}},
		{"direct", "direct", file.Copy.Direct, &o.Direct, []string{"auto", "on", "off"}},
	} {
		where := "--" + x.flag + "=" + *x.value
		if !c.Flags().Changed(x.flag) && x.inFile != nil {
			*x.value = *x.inFile
			where = fmt.Sprintf("%s: copy.%s = %q", file.File(), x.setting, *x.inFile)
		}
		if last := len(x.known) - 1; !slices.Contains(x.known, *x.value) {
			return fault.New("%s: there is %s and %s", where, strings.Join(x.known[:last], ", "), x.known[last])
		}
	}
	if o.With != "nix" {
		return nil
	}
	// What was asked for with a flag is refused. What the file says, or nobody
	// said, is for other runs.
	if o.Direct == "on" {
		if c.Flags().Changed("direct") {
			return fault.New("--direct works only when godwit copies").Hint("leave out --copy-with nix")
		}
		o.Direct = "off"
	}
	if o.Compress == "auto" {
		if c.Flags().Changed("compress") {
			return fault.New("--compress auto works only when godwit copies").Hint("with --copy-with nix use --compress on, off or ssh")
		}
		o.Compress = "ssh"
	}
	return nil
}

// readyFlags are what is copied without a deployment file.
type readyFlags struct{ action.StorePaths }

func (o *readyFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.Paths, "store-path", nil, "use this store path (`PATH`, may be repeated) instead of a deployment file; nothing is evaluated or built")
	f.StringArrayVar(&o.To, "to", nil, "with --store-path: `[USER@]HOST[:PORT]` to copy to (may be repeated)")
	f.StringVar(&o.From, "from", "", "with --store-path: `STORE` that has it: local, ssh-ng://user@host, container, or a builder's name or system (default local)")
	f.BoolVar(&o.Substitute, "substitute-on-destination", false, "with --store-path: let the hosts fetch what their own substituters have")
}

// given tells whether a run is without a deployment file.
func (o *readyFlags) given(c *cobra.Command) bool {
	for _, name := range []string{"store-path", "to", "from", "substitute-on-destination"} {
		if c.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// settle sorts the arguments that are left: a shell makes several words of one
// value, so that --store-path and --to may be followed by more of their kind.
// acts is whether one of the words says what to do.
func (o *readyFlags) settle(c *cobra.Command, args []string, acts bool) (word string, err error) {
	for _, name := range []string{"on", "tagged", "every", "skip", "limit", "order-by-tags", "upload-secrets", "builder", "build-on", "keep-result", "build-arg"} {
		if f := c.Flag(name); f != nil && f.Changed {
			e := fault.New("--%s needs a deployment file, and --store-path has none", name)
			if name == "builder" || name == "build-on" {
				e.Hint("to copy from a builder: --from %s", f.Value)
			}
			return "", e
		}
	}
	if acts {
		if len(args) == 0 {
			return "", fault.New("say what to do: switch, boot, test or dry-activate").Hint("%s --store-path PATH --to HOST switch", fault.Raw(c.CommandPath()))
		}
		word, args = args[len(args)-1], args[:len(args)-1]
	}
	for _, a := range args {
		if strings.Contains(a, "/") {
			o.Paths = append(o.Paths, a)
		} else {
			o.To = append(o.To, a)
		}
	}
	switch {
	case len(o.Paths) == 0:
		return "", fault.New("--to and --from need a --store-path").Hint("%s --store-path /nix/store/… --to HOST", fault.Raw(c.CommandPath()))
	case len(o.To) == 0:
		return "", fault.New("--store-path needs hosts: --to [USER@]HOST[:PORT]").Hint("%s --store-path %s --to HOST", fault.Raw(c.CommandPath()), o.Paths[0])
	case acts && len(o.Paths) > 1:
		return "", fault.New("a deploy takes one --store-path, the system, not %d", len(o.Paths)).Hint("godwit push takes several")
	}
	return word, nil
}
