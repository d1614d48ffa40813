package cli

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/fault"
	"godwit/internal/shell"
	"godwit/internal/source"
	"godwit/internal/source/all"
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
			var h habits
			h.add(c, all.Dialects[slices.IndexFunc(all.Dialects, func(d *source.Dialect) bool { return d.Name == "deploy-rs" })])
			words, err := shell.Split(line)
			if err != nil {
				t.Fatal(err)
			}
			err = c.ParseFlags(words)
			var m meaning
			if err == nil {
				m, err = h.settle(c, c.Flags().Args())
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

// What dialects say of their tools' words is about verbs and flags that there are, and
// no two tools mean different things by one word.
func TestHabits(t *testing.T) {
	root := newRoot(&app{})
	for _, d := range all.Dialects {
		h := d.Habits
		for _, verb := range h.Verbs {
			c, _, err := root.Find([]string{verb})
			if err != nil || c.Name() != verb {
				t.Fatalf("%s: no verb %s", d.Name, verb)
			}
			for _, x := range h.Flags {
				if own := c.Flag(x.Name); own == nil || !own.Hidden || own.Usage == "" {
					t.Errorf("%s: %s --%s is missing, or shows in help", d.Name, verb, x.Name)
				}
				if x.Flag != "" && c.Flag(x.Flag) == nil && root.PersistentFlags().Lookup(x.Flag) == nil && !h.LastCounts {
					t.Errorf("%s: %s --%s means --%s, which there is not", d.Name, verb, x.Name, x.Flag)
				}
			}
			for _, other := range all.Dialects {
				for _, x := range h.Flags {
					if other != d && slices.Contains(other.Habits.Verbs, verb) && slices.ContainsFunc(other.Habits.Flags, func(y source.Habit) bool { return y.Name == x.Name }) {
						t.Errorf("%s and %s both have --%s", d.Name, other.Name, x.Name)
					}
				}
			}
		}
		for _, g := range h.Goals {
			if c, _, err := root.Find([]string{g.Verb}); err != nil || c.Name() != g.Verb {
				t.Errorf("%s: no verb %s", d.Name, g.Verb)
			}
		}
	}
}

// A dialect that nobody has heard of brings its own flags.
func TestHabitsOfANewDialect(t *testing.T) {
	for _, last := range []bool{false, true} {
		d := &source.Dialect{Name: "krops", Habits: source.Habits{LastCounts: last, Flags: []source.Habit{
			{Name: "force", Flag: "yes"}, {Name: "quiet", Flag: "progress", Values: map[string]string{"true": "plain"}}, {Name: "never", Takes: source.Text, Refused: "no", Hint: "yes"},
		}}}
		for line, want := range map[string]string{
			"--quiet":                 "progress=plain",
			"--quiet --progress live": map[bool]string{true: "progress=live", false: "--progress=live and a flag of krops's"}[last],
			"--progress live --quiet": map[bool]string{true: "progress=plain", false: "--progress=live and a flag of krops's"}[last],
			"--quiet=false":           "progress=",
		} {
			c := &cobra.Command{}
			c.Flags().Bool("yes", false, "")
			c.Flags().String("progress", "", "")
			var h habits
			h.add(c, d)
			err := c.ParseFlags(strings.Fields(line))
			if err == nil {
				_, err = h.settle(c, nil)
			}
			got := "progress=" + c.Flags().Lookup("progress").Value.String()
			if err != nil {
				got = err.Error()
			}
			if got != want && (err == nil || !strings.Contains(got, want)) {
				t.Errorf("%s: %q, want %q", line, got, want)
			}
		}
	}
}
