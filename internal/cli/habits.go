package cli

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/shell"
	"godwit/internal/source"
	"godwit/internal/source/all"
)

// habits are the flags of dialects' own tools that a verb takes (source.Habits).
type habits struct {
	of []*source.Dialect
}

// meaning is what words and flags of other tools mean.
type meaning struct {
	args  []string       // of the command, targets and action among them
	above map[string]any // settings of a dialect above the configuration's
}

// truth is a flag that takes true or false as a word of its own: --magic-rollback false.
type truth struct{ given, value bool }

func (t *truth) String() string {
	if !t.given {
		return ""
	}
	return strconv.FormatBool(t.value)
}
func (t *truth) Type() string { return "true|false" }
func (t *truth) Set(s string) error {
	switch s {
	case "true", "false":
		*t = truth{true, s == "true"}
		return nil
	}
	return fmt.Errorf("it takes true or false, not %q", s)
}

// habitFlags adds to c what people type who come from other tools.
func habitFlags(c *cobra.Command) *habits {
	h := &habits{}
	for _, d := range all.Dialects {
		if slices.Contains(d.Habits.Verbs, c.Name()) {
			h.add(c, d)
		}
	}
	return h
}

func (h *habits) add(c *cobra.Command, d *source.Dialect) {
	h.of = append(h.of, d)
	f := c.Flags()
	for _, x := range d.Habits.Flags {
		switch {
		case d.Habits.LastCounts && x.Takes == source.Nothing:
			// Which of c's own flags there are is known when one is set: persistent ones come late.
			f.BoolFuncP(x.Name, x.Short, x.Usage, func(said string) error {
				value, ok := x.Values["true"]
				if said == "false" || !ok || c.Flag(x.Flag) == nil { // without meaning for a build, say
					return nil
				}
				return c.Flags().Set(x.Flag, value)
			})
		case x.Takes == source.Nothing:
			f.BoolP(x.Name, x.Short, false, x.Usage)
		case x.Takes == source.Texts:
			f.StringArrayP(x.Name, x.Short, nil, x.Usage)
		case x.Takes == source.TrueFalse:
			f.VarP(&truth{}, x.Name, x.Short, x.Usage)
		case x.Takes == source.Number:
			f.IntP(x.Name, x.Short, 0, x.Usage)
		default:
			f.StringP(x.Name, x.Short, "", x.Usage)
		}
		_ = f.MarkHidden(x.Name)
	}
}

// settle gives the words of the command line their meaning, and sets those flags of
// godwit's own that are the same.
func (h *habits) settle(c *cobra.Command, args []string) (m meaning, err error) {
	for _, d := range h.of {
		if d.Habits.LastCounts { // its flags did so themselves
			continue
		}
		if args, err = settleOf(c, d, args, &m); err != nil {
			return m, err
		}
	}
	m.args = args
	return m, nil
}

// settleOf is settle for the flags of one dialect's tool.
func settleOf(c *cobra.Command, d *source.Dialect, args []string, m *meaning) ([]string, error) {
	var given []source.Habit
	f := c.Flags()
	for _, x := range d.Habits.Flags {
		if value := f.Lookup(x.Name).Value.String(); f.Changed(x.Name) && value != "" && (x.Takes != source.Nothing || value == "true") {
			given = append(given, x)
		}
	}
	var words []string
	act := ""
	for _, x := range given {
		switch {
		case x.Refused != "":
			return nil, fault.New("%s", x.Refused).Hint("%s", fault.Raw(x.Hint))
		case x.Words:
			list, err := f.GetStringArray(x.Name)
			if err != nil {
				return nil, err
			}
			words = append(words, list...)
		case x.Action != "" && act != "":
			return nil, fault.New("--%s and --%s exclude each other", act, x.Name)
		case x.Action != "":
			act = x.Name
		}
	}
	args = slices.Concat(words, args)
	for _, x := range given {
		if x.Action == "" {
			continue
		}
		if last := len(args) - 1; last >= 0 {
			if word, err := action.ParseAction(args[last]); err == nil {
				if word != activate.Action(x.Action) {
					return nil, fault.New("--%s and the action %s exclude each other", x.Name, word)
				}
				args = args[:last]
			}
		}
		args = append(args, x.Action)
	}
	for _, x := range given {
		if err := settleSame(c, d, x); err != nil {
			return nil, err
		}
		if err := m.setAbove(c, x); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// settleSame sets the flag of godwit's own that is the same.
func settleSame(c *cobra.Command, d *source.Dialect, x source.Habit) error {
	if x.Flag == "" {
		return nil
	}
	f := c.Flags()
	value := f.Lookup(x.Name).Value.String()
	if same, ok := x.Values[value]; ok {
		value = same
	}
	if !f.Changed(x.Flag) {
		return f.Set(x.Flag, value)
	}
	if set := f.Lookup(x.Flag).Value.String(); set != value {
		return fault.New("--%s=%s and a flag of %s's that means --%[1]s=%s exclude each other", x.Flag, set, d.Name, value)
	}
	return nil
}

// setAbove takes a setting that only the dialect can take.
func (m *meaning) setAbove(c *cobra.Command, x source.Habit) error {
	said := c.Flags().Lookup(x.Name).Value.String()
	if x.Above == "" || x.AboveOnly != "" && said != x.AboveOnly {
		return nil
	}
	var value any = said
	switch x.Takes {
	case source.TrueFalse:
		value = said == "true"
	case source.ShellText:
		words, err := shell.Split(said)
		if err != nil {
			return fault.New("--%s: %w", x.Name, err)
		}
		value = words
	}
	if m.above == nil {
		m.above = map[string]any{}
	}
	m.above[x.Above] = value
	return nil
}

// goals are the words of other tools for what apply does.
func goals() []source.Goal {
	var out []source.Goal
	for _, d := range all.Dialects {
		out = append(out, d.Habits.Goals...)
	}
	return out
}
