package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/closure"
	"godwit/internal/profile"
	"godwit/internal/secrets"
	"godwit/internal/storepath"
	"godwit/internal/ui/text"
)

func sizeText(n int64) string { return text.Size(n) }

// Layout says how a plan is printed.
type Layout struct {
	Width   int // columns; 0: 80
	Verbose bool
	Now     time.Time // for "2 hours ago"
	// Names of hosts that share their changes stand together up to this many.
	names int
}

// Text is the plan as a person reads it, without a question.
func (p *Plan) Text(l Layout) string {
	if l.Width <= 0 {
		l.Width = 80
	}
	if l.Now.IsZero() {
		l.Now = time.Now()
	}
	l.names = 6
	var b strings.Builder
	b.WriteString(ends(p.headline(), p.sourceText(), l.Width))
	b.WriteByte('\n')
	if l.Verbose {
		for i := range p.Hosts {
			b.WriteByte('\n')
			p.whole(&b, &p.Hosts[i], l)
		}
		return b.String()
	}
	p.short(&b, l)
	return b.String()
}

// headline is "Plan: 3 hosts change, 1 unchanged, 1 unreachable".
func (p *Plan) headline() string {
	words := map[Status]string{Change: "change", Unchanged: "unchanged", Unreachable: "unreachable", Blocked: "blocked", Failed: "failed", BuildOnly: "build-only"}
	var parts []string
	for _, s := range []Status{Change, Unchanged, Unreachable, Blocked, Failed, BuildOnly} {
		n := len(p.With(s))
		if n == 0 {
			continue
		}
		word := words[s]
		if len(parts) == 0 {
			noun := "hosts"
			if n == 1 {
				noun = "host"
			}
			if s == Change && n == 1 {
				word = "changes"
			}
			parts = append(parts, fmt.Sprintf("%d %s %s", n, noun, word))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, word))
	}
	if len(parts) == 0 {
		return "Plan: no hosts"
	}
	return "Plan: " + strings.Join(parts, ", ")
}

func (p *Plan) sourceText() string {
	if s := p.Source.String(); s != "" {
		return "commit " + s
	}
	if p.Source.Unknown != "" {
		return "commit not known"
	}
	return ""
}

// ends puts left and right at the ends of a line, or right under left.
func ends(left, right string, width int) string {
	width = min(width, 100)
	gap := width - text.Width(left) - text.Width(right)
	switch {
	case right == "":
		return left
	case gap < 2:
		return left + "\n" + strings.Repeat(" ", max(0, width-text.Width(right))) + right
	}
	return left + strings.Repeat(" ", gap) + right
}

// entry is what the short plan says of a host; hosts with equal entries stand together.
type entry struct {
	names  []string
	status Status
	first  string   // the main line
	right  string   // size and paths, at its end
	more   []string // lines below
	risks  []string // those of the lines below that are about risks
}

// risk tells whether a line below is about a risk.
func (e *entry) risk(line string) bool { return slices.Contains(e.risks, line) }

func (e *entry) key() string {
	return string(e.status) + "\x00" + e.first + "\x00" + e.right + "\x00" + strings.Join(e.more, "\x00")
}

// entries are the hosts as the short plan shows them, in its order.
func (p *Plan) entries(l Layout) []*entry {
	var entries []*entry
	byKey := map[string]*entry{}
	for i := range p.Hosts {
		e := p.entry(&p.Hosts[i], l)
		if was := byKey[e.key()]; was != nil {
			was.names = append(was.names, p.Hosts[i].Name)
			continue
		}
		e.names = []string{p.Hosts[i].Name}
		byKey[e.key()] = e
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b *entry) int {
		return cmp.Compare(p.rank(a.names[0]), p.rank(b.names[0]))
	})
	return entries
}

func (p *Plan) short(b *strings.Builder, l Layout) {
	entries := p.entries(l)
	label := 0
	labels := make([]string, len(entries))
	for i, e := range entries {
		labels[i] = names(e.names, l.names)
		label = max(label, text.Width(labels[i]))
	}
	label = min(label, max(12, l.Width/4))
	if len(entries) > 0 {
		b.WriteByte('\n')
	}
	for i, e := range entries {
		indent := "  " + strings.Repeat(" ", label) + "   "
		room := max(20, min(l.Width, 120)-text.Width(indent))
		head := "  " + text.Pad(labels[i], label) + "   "
		if text.Width(labels[i]) > label { // a long list of names has a line of its own
			for _, line := range wrap(labels[i], max(20, l.Width-2)) {
				b.WriteString("  " + line + "\n")
			}
			head = indent
		}
		lines := wrap(e.first, room)
		if e.right != "" {
			last := lines[len(lines)-1]
			if gap := min(room, 90) - text.Width(last) - text.Width(e.right); len(lines) == 1 && gap >= 2 {
				lines[0] = last + strings.Repeat(" ", gap) + e.right
			} else {
				lines = append(lines, e.right)
			}
		}
		for _, more := range e.more {
			lines = append(lines, wrap(more, room)...)
		}
		for j, line := range lines {
			if j > 0 {
				head = indent
			}
			b.WriteString(strings.TrimRight(head+line, " ") + "\n")
		}
	}
}

// rank sorts entries: what changes first, then the rest as in the headline.
func (p *Plan) rank(host string) int {
	for _, h := range p.Hosts {
		if h.Name == host {
			return slices.Index([]Status{Change, Unchanged, BuildOnly, Unreachable, Blocked, Failed}, h.Status)
		}
	}
	return 0
}

func names(list []string, most int) string {
	if len(list) > most+1 {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

func (p *Plan) entry(h *Host, l Layout) *entry {
	e := &entry{status: h.Status}
	switch h.Status {
	case Unchanged:
		e.first = "already runs this system"
		if p.Options.Action == "boot" {
			e.first = "already runs and boots this system"
		}
		if h.Checks > 0 && !p.Options.SkipHealthChecks {
			e.first += ", is still checked"
		}
	case BuildOnly:
		e.first = "is only built"
	case Unreachable, Failed, Blocked:
		e.first = "✗ " + text.Clean(h.Error)
		if h.Status == Unreachable && h.Last != nil {
			e.more = append(e.more, "last deployed "+text.Clean(h.Last.text(l.Now)))
		}
		if h.Status == Blocked && len(h.Hints) > 0 {
			e.more = append(e.more, "hint: "+text.Clean(h.Hints[0]))
		}
		return e
	default:
		if e.first = h.what(); h.same {
			e.first = "already runs this system"
		}
		e.right = h.sizes()
		if t := h.profilesText(); t != "" {
			e.more = append(e.more, t)
		}
		if u := h.unitsText(4); u != "" {
			e.more = append(e.more, u)
		}
		if t := secretsText(h.Secrets, 4); t != "" {
			e.more = append(e.more, t)
		}
		e.more = append(e.more, restingLines(h.RestingSecrets, 8)...)
		for _, r := range h.Risks {
			e.risks = append(e.risks, riskLine(r))
		}
		e.more = append(e.more, e.risks...)
	}
	for _, n := range h.Notes {
		e.more = append(e.more, n.line())
	}
	return e
}

func riskLine(r Risk) string {
	s := "⚠ " + r.Name + ": " + r.Text
	if r.Accepted != "" {
		return s + " (accepted by " + r.Accepted + ")"
	}
	return s + "; accept with --accept-risk=" + r.Name
}

func (n Note) line() string {
	if n.Warn {
		return "⚠ " + text.Clean(n.Text)
	}
	return text.Clean(n.Text)
}

// what is the line about the system: the kernel first, then packages.
func (h *Host) what() string {
	words := profile.Headline(h.Parts)
	if len(words) > 0 && h.NeedReboot {
		words[len(words)-1] += " (reboot needed to take effect)"
	}
	if h.Closure != nil {
		d := *h.Closure
		d.Changes = slices.DeleteFunc(slices.Clone(d.Changes), func(c closure.Change) bool { return profile.Told(h.Parts, c.Name) })
		if s := d.Short(4); s != "configuration only" && s != "no change" || len(words) == 0 {
			words = append(words, s)
		}
	}
	if len(words) == 0 {
		return "changes to " + storepath.Name(h.System)
	}
	return strings.Join(words, ", ")
}

// profilesText is "profiles: app changes, system stays, ana is new".
func (h *Host) profilesText() string {
	var words []string
	for _, p := range h.Profiles {
		word := " changes"
		switch {
		case p.Same:
			word = " stays"
		case p.Running == "" && p.Kept == "":
			word = " is new"
		}
		words = append(words, text.Clean(p.Name)+word)
	}
	if len(words) == 0 {
		return ""
	}
	return "profiles: " + strings.Join(words, ", ")
}

// sizes is "+2.1 MiB, 11 paths to copy".
func (h *Host) sizes() string {
	var words []string
	if h.Closure != nil && !h.Closure.Empty() {
		if d := h.Closure.Delta(); max(d, -d) >= 1024 {
			words = append(words, closure.Bytes(d))
		}
	}
	if c := h.Copy; c != nil && c.Paths > 0 {
		words = append(words, text.Count(c.Paths, "path")+" ("+sizeText(c.Bytes)+") to copy")
	}
	return strings.Join(words, ", ")
}

// unitsText is "restart nginx · reload dbus".
func (h *Host) unitsText(most int) string {
	u := h.Units
	if u == nil {
		return ""
	}
	var parts []string
	add := func(verb string, list []string) {
		if len(list) > 0 {
			short := make([]string, len(list))
			for i, n := range list {
				short[i] = strings.TrimSuffix(n, ".service")
			}
			parts = append(parts, verb+" "+listing(short, most))
		}
	}
	add("stop", u.Stop)
	add("restart", u.Restart)
	add("reload", u.Reload)
	add("start", u.Start)
	if u.Systemd {
		parts = append(parts, "restart systemd itself")
	}
	if len(parts) == 0 {
		return ""
	}
	s := strings.Join(parts, " · ")
	if u.Estimated {
		return "by its unit files: " + s
	}
	return s
}

// secretsText is "secrets: new tls · changed dkim (mode)"; empty when none changes.
func secretsText(list []Secret, most int) string {
	by := map[string][]string{}
	for _, s := range list {
		name := s.Name
		if s.State == secrets.Changed && !slices.Equal(s.Differs, []string{secrets.Content}) {
			name += " (" + strings.Join(s.Differs, ", ") + ")"
		}
		by[s.State] = append(by[s.State], name)
	}
	var parts []string
	for _, g := range []struct{ state, word string }{{secrets.New, "new"}, {secrets.Changed, "changed"}, {"", "not compared"}} {
		if names := by[g.state]; len(names) > 0 {
			parts = append(parts, g.word+" "+listing(names, most))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "secrets: " + text.Clean(strings.Join(parts, " · "))
}

// state is "changed: content, mode".
func (s Secret) state() string {
	switch {
	case s.State == "":
		return "not compared"
	case len(s.Differs) > 0:
		return s.State + ": " + strings.Join(s.Differs, ", ")
	}
	return s.State
}

// whole is everything about one host.
func (p *Plan) whole(b *strings.Builder, h *Host, l Layout) {
	status := map[Status]string{Change: "changes", Unchanged: "already runs this system", Unreachable: "does not answer", Blocked: "cannot take it", Failed: "failed", BuildOnly: "is only built"}
	said := status[h.Status]
	if h.same && h.Status == Change {
		said = "already runs this system, its secrets change"
		if h.boots != "" {
			said = "already runs this system, and boots another"
		}
	}
	fmt.Fprintf(b, "%s: %s\n", h.Name, said)
	const column = 12
	row := func(name, value string) {
		for i, line := range wrap(text.Clean(value), max(30, l.Width-column-2)) {
			if i > 0 {
				name = ""
			}
			b.WriteString(strings.TrimRight("  "+text.Pad(name, column)+line, " ") + "\n")
		}
	}
	if h.Error != "" {
		row("error", h.Error)
		for _, hint := range h.Hints {
			row("hint", hint)
		}
	}
	if h.Running != "" {
		generation := ""
		if g := strings.TrimSuffix(strings.TrimPrefix(h.Generation, "system-"), "-link"); g != "" && h.Profile == h.Running {
			generation = " (generation " + g + ")"
		}
		row("runs", h.Running+generation)
	}
	if h.Booted != "" && h.Booted != h.Running {
		row("booted", h.Booted)
	}
	if h.Profile != "" && h.Profile != h.Running {
		row("boots", h.Profile)
	}
	if h.System != "" && h.System != h.Running {
		row("would run", h.System)
	}
	for _, p := range h.Profiles {
		said := p.Running + " → " + p.New
		switch {
		case p.Same:
			said = "stays " + p.New
		case p.Running == "":
			said = "new: " + p.New
		}
		row("profile", fmt.Sprintf("%s (%s) %s", p.Name, p.Kind, said))
	}
	if d := h.Closure; d != nil && !d.Empty() {
		for i, line := range strings.Split(strings.TrimSuffix(d.Text(false), "\n"), "\n") {
			name := ""
			if i == 0 {
				name = "packages"
			}
			row(name, line)
		}
	}
	if len(h.Parts) > 0 {
		s := partsText(h.Parts)
		if h.NeedReboot {
			s += " (reboot needed to take effect)"
		}
		row("boot parts", s)
	}
	if u := h.Units; u != nil && h.Status == Change {
		first := "units"
		if u.Estimated {
			row(first, "estimated from unit files; --copy asks the host")
			first = ""
		}
		if u.Empty() {
			row(first, "none is touched")
		}
		for _, g := range []struct {
			verb string
			list []string
		}{{"stop", u.Stop}, {"restart", u.Restart}, {"reload", u.Reload}, {"start", u.Start}, {"kept as is", u.Kept}} {
			if len(g.list) > 0 {
				row(first, g.verb+" "+strings.Join(g.list, ", "))
				first = ""
			}
		}
		if u.Systemd {
			row(first, "restart systemd itself")
		}
	}
	for i, s := range h.Secrets {
		name := ""
		if i == 0 {
			name = "secrets"
		}
		row(name, s.Name+" to "+s.Destination+" ("+s.state()+")")
	}
	for _, s := range h.RestingSecrets {
		row("resting", s.line())
	}
	if c := h.Copy; c != nil {
		if c.Paths == 0 {
			row("copy", "nothing, all is there")
		} else {
			row("copy", text.Count(c.Paths, "path")+", "+sizeText(c.Bytes))
		}
	}
	if len(h.Free) > 0 {
		var parts []string
		for _, place := range []string{"/nix", "/boot"} {
			if n, ok := h.Free[place]; ok {
				part := sizeText(n)
				if i, ok := h.FreeInodes[place]; ok && i < fewInodes {
					part += " and " + text.Count(int(i), "inode")
				}
				parts = append(parts, part+" in "+place)
			}
		}
		row("free", strings.Join(parts, ", "))
	}
	if s := h.Last; s != nil {
		row("last deploy", s.text(l.Now))
	} else if h.Running != "" {
		row("last deploy", "none by godwit")
	}
	if h.Checks > 0 && (h.Status == Change || h.Status == Unchanged) {
		row("checks", fmt.Sprint(h.Checks))
	}
	for _, n := range h.Notes {
		row("note", n.line())
	}
	for _, r := range h.Risks {
		row("risk", riskLine(r))
	}
}

func (s *Last) text(now time.Time) string {
	out := ago(now.Sub(s.Time))
	if s.User != "" {
		out += " by " + s.User
		if s.Deployer != "" {
			out += "@" + s.Deployer
		}
	}
	if s.Commit != "" {
		out += " from " + s.Commit[:min(7, len(s.Commit))]
		if s.Tree == "dirty" {
			out += " (dirty)"
		}
	}
	out += ": " + s.Action
	if s.Message != "" {
		out += " (" + s.Message + ")"
	}
	if !strings.HasPrefix(s.Result, "committed") && !strings.HasPrefix(s.Result, "done") && s.Result != "changed" {
		out += ", " + s.Result
	}
	return out
}

func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// Question is what is asked before the hosts are changed; empty when there is
// nothing to ask.
func (p *Plan) Question() string {
	change := p.With(Change)
	if len(change) == 0 {
		return ""
	}
	verb := "Deploy to "
	if p.Options.Action == "boot" && !p.Options.Reboot {
		verb = "Set the boot default of "
	} else if p.Options.Reboot {
		verb = "Deploy to and reboot "
	}
	s := verb + names(change, 8)
	if open := p.Open(); len(open) > 0 {
		s += ", accepting " + strings.Join(open, ", ")
	}
	return s + "?"
}

// wrap breaks a text at blanks into lines of at most width columns, or of one word.
func wrap(s string, width int) []string {
	var lines []string
	for text.Width(s) > width {
		cut := -1
		for i := range s {
			if s[i] == ' ' && text.Width(s[:i]) <= width {
				cut = i
			}
		}
		if cut <= 0 { // a word, such as a path, is never broken
			if cut = strings.IndexByte(s, ' '); cut <= 0 {
				break
			}
		}
		lines = append(lines, s[:cut])
		s = strings.TrimLeft(s[cut:], " ")
	}
	return append(lines, s)
}

// fewInodes are worth a word.
const fewInodes = 50000
