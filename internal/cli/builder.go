package cli

import "github.com/spf13/cobra"

func newBuilder(a *app) *cobra.Command { return &cobra.Command{Use: "builder"} }
