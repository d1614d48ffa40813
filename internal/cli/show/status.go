package show

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"godwit/internal/action"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"godwit/internal/shell"
	"godwit/internal/ui"
)

// Hints are the hints of all hosts; those that differ in nothing but the
// name of the host at their end become one.
func Hints(list []hoststate.Status) []string {
	var order []string
	hosts := map[string][]string{}
	for _, st := range list {
		for _, h := range st.Hints {
			stem, ok := strings.CutSuffix(h, " "+shell.Word(st.Host))
			if _, seen := hosts[stem]; !seen {
				order = append(order, stem)
				hosts[stem] = nil
			}
			if ok {
				hosts[stem] = append(hosts[stem], shell.Word(st.Host))
			}
		}
	}
	for i, stem := range order {
		order[i] = strings.Join(append([]string{stem}, hosts[stem]...), " ")
	}
	return order
}

// Status is a table of what hosts run, with everything about each where verbose.
func Status(width int, out *action.Fleet, verbose bool) string {
	var b strings.Builder
	if src := out.Source; src.Known() {
		fmt.Fprintf(&b, "repository at %s\n\n", src)
	}
	rows := make([][]string, len(out.Hosts))
	for i, st := range out.Hosts {
		system, when, by, commit := "?", "–", "–", "–"
		if st.Running != nil {
			system = cmp.Or(st.Running.Version, "?")
		}
		if d := st.Deployed; d != nil {
			when = hoststate.Ago(time.Duration(d.Ago * float64(time.Second)))
			by = dash(d.By)
			if d.Commit != "" {
				commit = history.Short(d.Commit)
				if d.Tree == "dirty" {
					commit += "+"
				}
			}
		}
		if p := st.Pending; p != nil && st.Running != nil && st.Running.Path == p.New {
			when, by, commit = hoststate.Ago(time.Duration(p.Ago*float64(time.Second))), dash(p.By), "–"
			if p.Commit != "" {
				commit = history.Short(p.Commit)
			}
		}
		symbol := "✓"
		switch {
		case !st.Answers:
			symbol = "✗"
		case !st.OK:
			symbol = "⚠"
		}
		rows[i] = []string{st.Host, system, when, by, commit, symbol + " " + st.Summary()}
	}
	b.WriteString(ui.Table(width, []string{"HOST", "SYSTEM", "DEPLOYED", "BY", "COMMIT", "STATE"}, rows))
	if verbose {
		for _, st := range out.Hosts {
			b.WriteString("\n" + hostText(st))
		}
	}
	return b.String()
}

// hostText is everything about one host.
func hostText(st hoststate.Status) string {
	var b strings.Builder
	b.WriteString(st.Host + "\n")
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	system := func(name string, sys *hoststate.System) {
		if sys == nil {
			return
		}
		text := sys.Path
		if sys.Generation > 0 {
			text += fmt.Sprintf(" (generation %d)", sys.Generation)
		}
		line(name, "%s", text)
	}
	if !st.Answers {
		line("error", "%s", st.Error)
		return b.String()
	}
	system("runs", st.Running)
	system("booted", st.Booted)
	system("profile", st.Profile)
	for _, p := range st.Profiles {
		said := dash(p.Running)
		if !p.InSync {
			said += ", wanted " + p.Wanted
		}
		line("profile", "%s (%s) %s", p.Name, p.Kind, said)
	}
	if st.BootKnown {
		system("boots", st.Boots)
	} else {
		line("boots", "unknown; most likely what the profile names")
	}
	if st.Wanted != "" {
		line("repository", "%s", st.Wanted)
	}
	if st.KernelNow != "" {
		line("kernel", "%s", st.KernelNow)
	}
	if d := st.Deployed; d != nil {
		text := d.At.Local().Format("2006-01-02 15:04:05")
		if d.By != "" {
			text += " by " + d.By
			if d.Deployer != "" {
				text += " on " + d.Deployer
			}
		}
		if d.Commit != "" {
			text += ", commit " + d.Commit + " (" + d.Tree + ")"
		}
		if d.Deployment != "" {
			text += ", " + d.Deployment
		}
		line("deployed", "%s", text)
	}
	if e := st.Last; e != nil && e.Outcome != history.Changed {
		line("last try", "%s", strings.TrimSuffix(fmt.Sprintf("%s %s: %s", e.Outcome, e.Ended.Local().Format("2006-01-02 15:04:05"), e.Reason), ": "))
	}
	if p := st.Pending; p != nil {
		line("pending", "%s (%s) from %s to %s", p.ID, cmp.Or(p.Phase, "activating"), p.Old, p.New)
	}
	for _, d := range st.Disks {
		line("room", "%s free of %s on %s", ui.Size(d.Free), ui.Size(d.Total), d.Folder)
	}
	if len(st.Failed) > 0 {
		line("failed", "%s", strings.Join(st.Failed, " "))
	}
	for _, p := range st.Problems {
		line(p.Kind, "%s", p.Text)
	}
	return b.String()
}
