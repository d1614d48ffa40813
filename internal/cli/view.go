package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"godwit/internal/action"
	"godwit/internal/approve"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/trace"
	"godwit/internal/ui"
)

// view is the terminal, or the JSON lines, in which a run is seen (action.View).
type view struct {
	*ui.UI
	app   *app
	start time.Time
	trace *trace.Writer // of --trace; nil: none
}

// open starts a view.
func (a *app) open(o ui.Options) *view {
	crash.Open()
	o.Stdout, o.Stderr, o.Getenv = a.stdout, a.stderr, a.getenv
	return &view{UI: ui.New(o), app: a, start: time.Now()}
}

// close takes the view down. Deferred, it ends the process when there was a panic.
func (v *view) close() {
	if r := recover(); r != nil {
		crash.Die(r)
	}
	_ = v.UI.Close()
}

// run is the frame of verbs that are told as events. p are how the password of sudo is
// got; nil: not at all.
func (a *app) run(ctx context.Context, p *passwords, body func(ctx context.Context, e *action.Env, v *view) error) error {
	o := ui.Options{Verbose: a.globals.verbose}
	switch {
	case a.globals.json:
		o.Mode = ui.JSON
	case a.globals.progress == "auto":
	case a.globals.progress == "live":
		o.Mode = ui.Live
	case a.globals.progress == "plain":
		o.Mode = ui.Plain
	default:
		return fault.New("--progress %s: use auto, live or plain", a.globals.progress)
	}
	v := a.open(o)
	defer v.close()
	e, err := a.env(v, p)
	if err == nil && a.trace != "" {
		err = v.traced(a.trace)
	}
	if err == nil {
		err = body(ctx, e, v)
	}
	if v.trace != nil {
		if failed := v.trace.Close(); failed != nil {
			err = errors.Join(err, fault.New("cannot write the trace: %w", failed))
		}
	}
	// The view must be down before a message is printed.
	v.close()
	if err != nil && v.quiet() {
		var quiet silent
		if !errors.As(err, &quiet) {
			v.Emit(event.Event{Kind: event.Result, Outcome: event.OutcomeFailed, Error: err.Error(), Hints: fault.Hints(err), Time: time.Now()})
		}
	}
	return err
}

// overHosts is the frame of verbs that end with a table of hosts.
func (a *app) overHosts(ctx context.Context, p *passwords, do func(ctx context.Context, e *action.Env) (*action.Summary, error)) error {
	return a.run(ctx, p, func(ctx context.Context, e *action.Env, v *view) error {
		sum, err := do(ctx, e)
		if err != nil {
			return err
		}
		return v.finish(ctx, sum)
	})
}

// reporting is the frame of verbs that print a report on stdout: the view shows
// how it comes about, --json is about the report and not about events.
func (a *app) reporting(ctx context.Context, p *passwords, body func(ctx context.Context, e *action.Env, v *view) error) error {
	v := a.open(ui.Options{})
	defer v.close()
	e, err := a.env(v, p)
	if err != nil {
		return err
	}
	return body(ctx, e, v)
}

// env is what actions get of the command line.
func (a *app) env(v *view, p *passwords) (*action.Env, error) {
	o, err := a.globals.options()
	if err != nil {
		return nil, err
	}
	if p != nil {
		o.Password = func(ctx context.Context) (string, error) { return v.password(ctx, p) }
		o.PasswordOnRequest = !p.ask && p.command == ""
	}
	return &action.Env{View: v, Getenv: a.getenv, Settings: a.settings, Version: version(), Options: o}, nil
}

// Emit shows an event, and writes it into the trace.
func (v *view) Emit(e event.Event) {
	v.UI.Emit(e)
	if v.trace != nil {
		v.trace.Emit(e)
	}
}

// traced writes a trace of the run into a file.
func (v *view) traced(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) // it names hosts and store paths
	if err != nil {
		return fault.New("cannot write the trace: %w", err)
	}
	v.trace = trace.New(f)
	return nil
}

// quiet tells whether human lines (header, tables) are left out.
func (v *view) quiet() bool { return v.Mode() == ui.JSON }

// Println shows a line to a person.
func (v *view) Println(line string) {
	if !v.quiet() {
		v.UI.Println(line)
	}
}

// Tell shows a line to a person, and as an event with --json.
func (v *view) Tell(line string) {
	if v.quiet() {
		v.note(line)
		return
	}
	v.UI.Println(line)
}

// Output is a line for scripts, and a note for those that read events.
func (v *view) Output(line string) {
	if v.quiet() {
		v.note(line)
		return
	}
	v.UI.Output(line)
}

// note emits a line as an event.
func (v *view) note(line string) {
	kind := event.Note
	if rest, ok := strings.CutPrefix(line, "warning: "); ok {
		kind, line = event.Warning, rest
	}
	v.Emit(event.Event{Kind: kind, Text: line})
}

// Using tells which configuration was found.
func (v *view) Using(at source.Location, why string) {
	switch {
	case why != "":
		fmt.Fprintf(v.app.stderr, "using %s, %s\n", at.Name(), why)
	case !v.quiet():
		fmt.Fprintln(v.app.stderr, at)
	}
}

// Watched tells whether a person watches this run: its messages go to a
// terminal, and no CI system says that it owns that.
func (v *view) Watched() bool {
	return !v.quiet() && v.app.getenv("CI") == "" && ui.IsTerminal(v.app.stderr)
}

// Ask asks whoever watches.
func (v *view) Ask(ctx context.Context, question string) (string, error) {
	answer, err := v.Prompt(ctx, question)
	if errors.Is(err, ui.ErrNoTerminal) {
		err = approve.ErrNobody
	}
	return answer, err
}

// Plan shows what a run would change.
func (v *view) Plan(p *plan.Plan, verbose bool) {
	v.Println("\n" + strings.TrimSuffix(p.Text(plan.Layout{Width: v.Width(), Verbose: verbose}), "\n") + "\n")
}

// width is that of the terminal which stdout is; 0 when it is none.
func (v *view) width() int {
	if ui.IsTerminal(v.app.stdout) {
		return v.Width()
	}
	return 0
}

// print writes a report.
func (a *app) print(text string) error {
	_, err := fmt.Fprint(a.stdout, text)
	return err
}

func (a *app) printJSON(x any) error {
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	return ui.WriteJSON(a.stdout, append(b, '\n'))
}

// lacking tells which hosts a report lacks, and gives the exit code.
func (a *app) lacking(missing []error) error {
	for _, err := range missing {
		fmt.Fprint(a.stderr, fault.Render(err))
	}
	if len(missing) > 0 {
		return silent{ExitHosts}
	}
	return nil
}

// interrupted tells whether a signal ended the run.
func interrupted(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errInterrupted) }

var errNegative = fault.New("a time limit cannot be negative")

// seconds is a number of seconds from a flag.
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
