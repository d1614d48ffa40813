package show

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"godwit/internal/ui"
)

// OfProfile are the entries that a profile is part of, with its paths. "": all, as they are.
func OfProfile(entries []history.Entry, name string) []history.Entry {
	if name == "" {
		return entries
	}
	var out []history.Entry
	for _, e := range entries {
		i := slices.IndexFunc(e.Profiles, func(p history.Profile) bool { return p.Name == name })
		switch {
		case i >= 0:
			e.Old, e.New, e.Profiles = e.Profiles[i].Old, e.Profiles[i].New, e.Profiles[i:i+1]
		case len(e.Profiles) > 0 || name != fleet.SystemProfile:
			continue
		}
		out = append(out, e)
	}
	return out
}

// History is a table of deployments.
func History(width int, entries []history.Entry) string {
	rows := make([][]string, len(entries))
	for i, e := range entries {
		commit := dash("")
		if e.Commit != "" {
			commit = history.Short(e.Commit)
			if e.Tree == "dirty" {
				commit += "+"
			}
		}
		took := ""
		if e.Seconds > 0 {
			took = ui.Elapsed(e.Duration())
		}
		rows[i] = []string{
			e.Started.Local().Format("2006-01-02 15:04:05"), e.Host, e.Action, string(e.Outcome), took, dash(e.User), commit, dash(e.Deployment), endOf(e),
		}
	}
	return ui.Table(width, []string{"WHEN", "HOST", "ACTION", "RESULT", "TIME", "BY", "COMMIT", "ID", ""}, rows)
}

// endOf is the last column: why it did not go as asked, and why it was done.
func endOf(e history.Entry) string {
	var parts []string
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	if e.Message != "" {
		parts = append(parts, "message: "+e.Message)
	}
	if e.Overrode != "" {
		parts = append(parts, "overrode the lock of "+e.Overrode)
	}
	return strings.Join(parts, " · ")
}

// Deployment is all about one deployment.
func Deployment(e history.Entry) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name, value)
		}
	}
	line("host", e.Host)
	line("result", strings.TrimSuffix(string(e.Outcome)+": "+e.Reason, ": "))
	line("action", e.Action)
	line("message", e.Message)
	line("overrode", e.Overrode)
	line("started", e.Started.Local().Format(time.RFC1123)+" ("+hoststate.Ago(time.Since(e.Started))+")")
	if e.Seconds > 0 {
		line("took", ui.Elapsed(e.Duration()))
	}
	line("by", strings.TrimPrefix(e.User+" on "+e.Deployer, " on "))
	line("file", e.File)
	if e.Commit != "" {
		line("commit", e.Commit+" ("+e.Tree+")")
	}
	line("plan", e.Plan)
	if len(e.Profiles) == 0 {
		line("old", e.Old)
		line("new", e.New)
	}
	for _, p := range e.Profiles {
		line("profile", fmt.Sprintf("%s (%s): %s → %s", p.Name, p.Kind, dash(p.Old), dash(p.New)))
	}
	line("deployment", e.Deployment)
	line("run", e.Run)
	line("told by", map[string]string{history.FromDeployer: "this machine", history.FromHost: "the host", history.FromBoth: "this machine and the host"}[e.From])
	if e.Log != "" {
		b.WriteString("log\n")
		for l := range strings.Lines(e.Log) {
			b.WriteString("  | " + strings.TrimRight(l, "\n") + "\n")
		}
	}
	return b.String()
}
