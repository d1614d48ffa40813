package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/fault"
	"godwit/internal/settings"
)

// newDocs is the command that writes docs/reference from the commands
// themselves, so that the two cannot disagree; a test compares them.
func newDocs(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "docs DIRECTORY", Short: "write the reference pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			for name, page := range referencePages(c.Root()) {
				if err := os.WriteFile(filepath.Join(args[0], name), page, 0o644); err != nil {
					return fault.New("cannot write the reference: %w", err)
				}
			}
			return nil
		},
	}
}

// referencePages are the pages of docs/reference by file name.
func referencePages(root *cobra.Command) map[string][]byte {
	pages := map[string][]byte{}
	var index bytes.Buffer
	index.WriteString("# Reference\n\nWritten by `godwit docs docs/reference` from the commands themselves.\n\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".md"
		pages[name] = referencePage(c)
		fmt.Fprintf(&index, "- [%s](%s): %s\n", c.CommandPath(), name, c.Short)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	index.WriteString("- [settings](settings.md)\n- [exit codes](exit-codes.md)\n")
	pages["settings.md"] = []byte("# Settings\n\nThis page lists what you can set in `$XDG_CONFIG_HOME/godwit/config.toml`. Without that variable the file is `~/.config/godwit/config.toml`, on a Mac\n" +
		"`~/Library/Application Support/godwit/config.toml` when that is there. A table or a setting that is not listed here is an error.\n\n" +
		strings.TrimRight(settings.Reference(), "\n") + "\n")
	pages["README.md"] = index.Bytes()
	pages["exit-codes.md"] = []byte("# Exit codes\n\nThis page is for scripts that call godwit. The exit codes are part of its interface; every command uses the same ones.\n\n```" + exitStatusHelp + "\n```\n\n" +
		"If several reasons apply, 130 goes first, then 5 if no host could be built because nothing can build for it, then 3.\n\n" +
		"An internal fault of godwit also ends with 1, and with one line that says so. Its trace is in `crash.log` in the folder of godwit's\n" +
		"state (`~/.local/state/godwit`, on a Mac `~/Library/Application Support/godwit`), which only you may read.\n")
	return pages
}

func referencePage(c *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", c.CommandPath(), c.Short)
	if c.Long != "" {
		fmt.Fprintf(&b, "%s\n\n", plainText(c.Long))
	}
	if c.Runnable() {
		fmt.Fprintf(&b, "    %s\n\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(&b, "## Examples\n\n%s\n\n", indent(c.Example, "  "))
	}
	flags := func(title string, f *pflag.FlagSet) {
		if !f.HasAvailableFlags() {
			return
		}
		fmt.Fprintf(&b, "## %s\n\n```\n%s```\n\n", title, f.FlagUsages())
	}
	flags("Flags", c.NonInheritedFlags())
	if c.HasParent() {
		flags("Flags of every command", c.InheritedFlags())
	}
	var subs []string
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			subs = append(subs, fmt.Sprintf("- [%s](%s.md): %s", sub.Name(), strings.ReplaceAll(sub.CommandPath(), " ", "-"), sub.Short))
		}
	}
	if len(subs) > 0 {
		sort.Strings(subs)
		fmt.Fprintf(&b, "## Commands\n\n%s\n", strings.Join(subs, "\n"))
	}
	return append(bytes.TrimRight(b.Bytes(), "\n "), '\n')
}

// plainText keeps indented blocks and the list of exit codes as they are.
func plainText(s string) string {
	return strings.Replace(s, "\nExit status:\n", "\nExit status:\n\n", 1)
}

func indent(s, by string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = by + l
		}
	}
	return strings.Join(lines, "\n")
}
