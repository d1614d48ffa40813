package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"godwit/internal/fault"
	about "godwit/internal/version"
)

// newMan is the command that packages call: a page for each command, from the commands
// themselves.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "write the man pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fault.New("cannot write the man pages: %w", err)
			}
			if err := doc.GenManTree(c.Root(), manHeader(about.Get()), args[0]); err != nil {
				return fault.New("cannot write the man pages: %w", err)
			}
			return nil
		},
	}
}

// manHeader has the commit's date: two builds of a commit write the same pages.
func manHeader(v about.Info) *doc.GenManHeader {
	date, err := time.Parse(time.RFC3339, v.Date)
	if err != nil {
		date = time.Unix(0, 0)
	}
	date = date.UTC()
	return &doc.GenManHeader{Title: "GODWIT", Section: "1", Source: "godwit " + v.Version, Manual: "godwit", Date: &date}
}
