package cli

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/fault"
	"godwit/internal/shell"
)

// Flags of deploy-rs, from words to what they mean.
func TestDeployRsFlags(t *testing.T) {
	for line, want := range map[string]struct {
		args, flags string
		above       map[string]any
		err         string
	}{
		".#web":                                          {args: ".#web"},
		"--targets .#a --targets .#b.x":                  {args: ".#a .#b.x"},
		"--targets .#a .#b":                              {args: ".#a .#b"},
		"--boot .#web":                                   {args: ".#web boot"},
		"--dry-activate .#web dry-activate":              {args: ".#web dry-activate"},
		"--boot .#web switch":                            {err: "--boot and the action switch exclude each other"},
		"--boot --dry-activate .":                        {err: "exclude each other"},
		"--magic-rollback false .#web":                   {args: ".#web", above: map[string]any{"magicRollback": false}},
		"--magic-rollback .#web":                         {err: "it takes true or false"},
		"--auto-rollback false .":                        {args: ".", flags: "no-guard=true"},
		"--auto-rollback true .":                         {args: ".", flags: "no-guard=false", above: map[string]any{"autoRollback": true}},
		"--hostname 10.0.0.1 --ssh-user me .":            {args: ".", above: map[string]any{"hostname": "10.0.0.1", "sshUser": "me"}},
		"--ssh-opts '-p 22 -o \"User me\"' .":            {args: ".", above: map[string]any{"sshOpts": []string{"-p", "22", "-o", "User me"}}},
		"--ssh-opts '\"x' .":                             {err: "--ssh-opts: "},
		"--rollback-succeeded true .":                    {args: ".", flags: "on-failure=rollback"},
		"--rollback-succeeded false .":                   {args: ".", flags: "on-failure=stop"},
		"--rollback-succeeded true --on-failure stop .":  {err: "--on-failure=stop and a flag of deploy-rs's"},
		"--remote-build -k -d -c .":                      {args: ".", flags: "builder=target copy-with=nix keep-result=true verbose=true"},
		"--remote-build --builder local .":               {err: "--builder=local and a flag of deploy-rs's"},
		"--activation-timeout 9 --confirm-timeout 3 .":   {args: ".", flags: "activate-timeout=9 confirm-timeout=3"},
		"-s -i --temp-path /x .":                         {args: "."},
		"--interactive-sudo true --profile-user u .":     {args: ".", flags: "passwd=true", above: map[string]any{"interactiveSudo": true, "profileUser": "u"}},
		"--log-dir x .":                                  {err: "there is no directory for logs"},
		"-r x .":                                         {err: ".gcroots"},
		"--fast-connection true --sudo 'doas -n -u' .#a": {args: ".#a", above: map[string]any{"fastConnection": true, "sudo": "doas -n -u"}},
	} {
		t.Run(line, func(t *testing.T) {
			var o deployRsFlags
			c := &cobra.Command{}
			for _, name := range []string{"builder", "copy-with", "on-failure"} {
				c.Flags().String(name, "", "")
			}
			for _, name := range []string{"keep-result", "verbose", "passwd", "no-guard"} {
				c.Flags().Bool(name, false, "")
			}
			for _, name := range []string{"activate-timeout", "confirm-timeout"} {
				c.Flags().Int(name, 0, "")
			}
			c.Flags().VisitAll(func(f *pflag.Flag) { // they are those of the real one
				if real, _, err := newRoot(&app{}).Find([]string{"deploy"}); err != nil || real.Flags().Lookup(f.Name) == nil && real.InheritedFlags().Lookup(f.Name) == nil {
					t.Errorf("deploy has no flag --%s", f.Name)
				}
			})
			o.flags(c)
			words, err := shell.Split(line)
			if err != nil {
				t.Fatal(err)
			}
			err = c.ParseFlags(words)
			var m deployRsMeaning
			if err == nil {
				m, err = o.settle(c, c.Flags().Args())
			}
			if want.err != "" {
				if err == nil || !strings.Contains(err.Error(), want.err) {
					t.Fatalf("no %q in %v", want.err, err)
				}
				return
			}
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			if got := strings.Join(m.args, " "); got != want.args {
				t.Errorf("words are %q, want %q", got, want.args)
			}
			if !reflect.DeepEqual(m.above, want.above) {
				t.Errorf("above is %v, want %v", m.above, want.above)
			}
			for _, f := range strings.Fields(want.flags) {
				name, value, _ := strings.Cut(f, "=")
				if got := c.Flags().Lookup(name).Value.String(); got != value || !c.Flags().Changed(name) {
					t.Errorf("--%s is %s, want %s", name, got, value)
				}
			}
		})
	}
}
