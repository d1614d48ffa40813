package activate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/awake"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
)

// Deployment is one deployment as the host knows it.
type Deployment struct {
	ID        string
	Phase     string // "", activated, failed, rolling-back, committing
	Decision  string // "", commit, rollback
	Final     string // "" while it is pending
	Reason    string
	Old, New  string
	Toplevel  string
	Action    Action
	Guarded   bool
	ExitCode  int // switch-to-configuration's; -1 when not known
	Started   time.Time
	Confirm   time.Duration // how long it waits for a confirmation
	NewFailed []string
	// Profiles are all, in order; Old, New and Toplevel are those of the main one.
	Profiles []RecordProfile
	Meta     map[string]string
	// Age is how long ago it began, and Left after how long the host goes back if it
	// hears nothing more; both by the host's own count. 0: not known, or not so.
	Age, Left time.Duration
}

// Pending says whether it can still be confirmed or rolled back.
func (d *Deployment) Pending() bool { return d != nil && d.Final == "" }

// busy says who holds a host, since when and until when.
func busy(host, id string, h *Deployment) error {
	f := fault.New("another deployment is under way on this host (%s)", id).On(host).Exit(ExitBusy)
	if h != nil {
		who := string(h.Action)
		if user := cmp.Or(h.Meta["user"], h.Meta["who"]); user != "" {
			who += " by " + user
		}
		if from := h.Meta["deployer"]; from != "" {
			who += " on " + from
		}
		if commit := h.Meta["commit"]; commit != "" {
			who += ", commit " + commit[:min(len(commit), 7)]
		}
		if h.Age > 0 {
			who += fmt.Sprintf(", since %s (%s ago)", time.Now().Add(-h.Age).Format("15:04:05"), h.Age)
		}
		f.Detail("it is a " + hostscript.Words(who))
		switch {
		case h.Left > 0 && h.Phase == "activated":
			f.Detail(fmt.Sprintf("it waits for its confirmation; if no deployer confirms, the host goes back in %s", h.Left))
		case h.Left > 0:
			f.Detail(fmt.Sprintf("its activation continues; if no deployer confirms after it, the host has gone back in %s at the latest", h.Left))
		case h.Phase == "rolling-back" || h.Phase == "failed":
			f.Detail("the host is going back to the system it ran before")
		case h.Phase == "committing":
			f.Detail("it was confirmed, and is being made permanent")
		}
	}
	return f.Hint("godwit status %s shows it; godwit confirm %s or godwit rollback --pending %s ends it", host, host, host)
}

// Record is one line of the host's own history.
type Record struct {
	ID       string            `json:"id"`
	Action   Action            `json:"action"`
	Mode     string            `json:"mode"` // guard, plain, detached
	Old      string            `json:"old"`
	New      string            `json:"new"`
	Toplevel string            `json:"toplevel"`
	Result   string            `json:"result"` // committed, rolled-back N, aborted, superseded, rollback-failed, done N, failed N
	Exit     string            `json:"exit"`
	Reason   string            `json:"reason"`
	Started  int64             `json:"started"` // Unix seconds, the host's clock
	Ended    int64             `json:"ended"`
	Meta     map[string]string `json:"meta"`
	// Profiles are all, in order; Old, New and Toplevel are those of the main one.
	// Records of the first versions have none.
	Profiles []RecordProfile `json:"profiles,omitempty"`
}

// RecordProfile is a profile in a record.
type RecordProfile struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Owner is the user whose profile it is ("": root), Link where its generations are,
	// and Command how it is activated: Change.Command, a word a line, in base64. Records
	// of the first versions have none of them.
	Owner   string `json:"owner,omitempty"`
	Link    string `json:"link,omitempty"`
	Command string `json:"command,omitempty"`
	Old     string `json:"old"` // "": there was none
	New     string `json:"new"`
}

// Change makes path of the profile what is to run. known are the profiles that a
// configuration names: what a record of the first versions lacks.
func (p RecordProfile) Change(path string, known []Change) Change {
	c := Change{Name: p.Name, Kind: p.Kind, Owner: p.Owner, Link: p.Link, New: path}
	if words, err := base64.StdEncoding.DecodeString(p.Command); err == nil && len(words) > 0 {
		c.Command = strings.Split(string(words), "\n")
	}
	if p.Link == "" {
		for _, k := range known {
			if k.Name == c.Name && k.Kind == c.Kind {
				c.Owner, c.Link, c.Command = k.Owner, k.Link, k.Command
			}
		}
	}
	return c
}

// Status looks at the host and at the deployment that is pending on it, or the
// last one that ended since it booted (nil if there is none). It works from
// any machine that may log in.
func Status(ctx context.Context, r host.Conn, host string) (State, *Deployment, error) {
	return StatusOf(ctx, r, host, nil)
}

// StatusOf is Status with a look at profiles, whose New may be empty. Where nobody can become
// root it is about what the login user's own deployments are.
func StatusOf(ctx context.Context, r host.Conn, host string, profiles []Change) (State, *Deployment, error) {
	s, err := Preflight(ctx, r, Request{Host: host, Profiles: profiles})
	if err != nil {
		return s, nil, err
	}
	d, _, err := deployment(ctx, r, host, "current")
	return s, d, err
}

// deployment asks root's folder for it, and where nobody can become root the login
// user's: then asUser is true.
func deployment(ctx context.Context, r host.Conn, host, id string) (dep *Deployment, asUser bool, err error) {
	ask := func(user bool) (*run, error) {
		d := &run{r: r, req: Request{Host: host, at: hostPlaces, AsUser: user}, id: id}
		d.req.at.User = user
		return d, d.attach(ctx, "facts", "", false)
	}
	d, err := ask(false)
	if noRoot(err) || err == nil && d.fr.has("gone") && d.fr.fact("uid") != "0" {
		if own, uerr := ask(true); uerr == nil && (err == nil || !own.fr.has("gone")) {
			return own.deployment(), true, nil
		}
	}
	if err != nil {
		return nil, false, fault.New("cannot ask for the pending deployment: %s", trimHost(err, host)).On(host).Because(err)
	}
	return d.deployment(), false, nil
}

// noRoot tells whether an error says that the login user cannot become root.
func noRoot(err error) bool {
	var root *host.ElevateError
	return errors.As(err, &root)
}

func (d *run) deployment() *Deployment {
	f := &d.fr
	if f.has("gone") || f.fact("id") == "" {
		return nil
	}
	out := &Deployment{
		ID: f.fact("id"), Phase: f.fact("phase"), Decision: f.fact("decision"), Final: f.fact("final"), Reason: f.fact("reason"),
		Old: f.fact("old"), New: f.fact("new"), Toplevel: f.fact("toplevel"), Action: Action(f.fact("action")),
		Guarded: f.fact("mode") == "guard", ExitCode: -1, NewFailed: slices.Concat(f.facts["failed-new"], f.facts["parts-new"]),
	}
	for _, p := range f.profiles() {
		out.Profiles = append(out.Profiles, RecordProfile{Name: p.name, Kind: p.kind, Owner: p.owner, Old: p.old, New: p.new})
	}
	if rc, _, _ := strings.Cut(f.fact("apply-rc"), " "); rc != "" {
		out.ExitCode, _ = strconv.Atoi(rc)
	}
	if n, err := strconv.ParseInt(f.fact("since"), 10, 64); err == nil {
		out.Started = time.Unix(n, 0)
	}
	for name, to := range map[string]*time.Duration{"confirm": &out.Confirm, "age": &out.Age, "left": &out.Left} {
		if n, err := strconv.Atoi(f.fact(name)); err == nil && n >= 0 && n < 1<<30 {
			*to = time.Duration(n) * time.Second
		}
	}
	_ = json.Unmarshal([]byte(f.fact("meta")), &out.Meta)
	return out
}

// resume finds the pending deployment of a host so that it can be ended.
func resume(ctx context.Context, r host.Conn, host, id string, sink event.Sink) (*run, *Deployment, error) {
	if id == "" {
		id = "current"
	}
	dep, asUser, err := deployment(ctx, r, host, id)
	if err != nil {
		return nil, nil, err
	}
	if dep == nil || !dep.Pending() && id == "current" {
		return nil, dep, fault.New("no deployment is pending").On(host).Exit(ExitFailed).Hint("godwit history %s", host)
	}
	d := &run{r: r, id: dep.ID, sc: event.On(sink, host, event.StepActivate), begun: time.Now(), since: awake.Now(), lastOK: awake.Now()}
	d.req = Request{Host: host, NewSystem: dep.Toplevel, Activation: dep.New, Action: dep.Action, NoGuard: !dep.Guarded, ConfirmTimeout: dep.Confirm, AsUser: asUser}
	for _, p := range dep.Profiles {
		d.req.Profiles = append(d.req.Profiles, Change{Name: p.Name, Kind: p.Kind, Owner: p.Owner, New: p.New})
	}
	if err := d.req.normalize(); err != nil {
		return nil, dep, err
	}
	d.req.NewSystem = dep.Toplevel
	d.limits()
	d.fr.line, d.fr.beaten = d.line, d.waiting
	d.res = Result{Outcome: event.OutcomeFailed, ID: dep.ID, OldSystem: dep.Old, NewSystem: dep.Toplevel, ExitCode: -1}
	d.state.Current = dep.Old
	return d, dep, nil
}

// Confirm makes the pending deployment permanent, over a new connection. An
// empty id means the one that is pending.
func Confirm(ctx context.Context, r host.Conn, host, id string, sink event.Sink) (Result, error) {
	d, dep, err := resume(ctx, r, host, id, sink)
	if err != nil {
		return Result{Outcome: event.OutcomeFailed, ExitCode: -1}, err
	}
	if !dep.Guarded {
		return d.res, fault.New("this deployment has no guard, so there is nothing to confirm").On(host)
	}
	d.sc.Start("confirming " + dep.ID)
	if err = d.attach(ctx, "confirm", "force", true); err == nil && d.fr.fact("phase") == "" {
		err = fault.New("the activation has not ended yet").On(host).Hint("godwit status %s", host)
	} else if err == nil {
		if err = d.follow(ctx, "final"); err == nil {
			err = d.conclude()
		}
	}
	d.res.Duration = time.Since(d.begun)
	d.sc.End(d.summary(), err)
	return d.res, err
}

// Rollback ends the pending deployment by going back to the system that ran
// before it. Success is the outcome "rolled-back", or "failed" with no error
// when it had not begun to change anything.
func Rollback(ctx context.Context, r host.Conn, host, id, reason string, sink event.Sink) (Result, error) {
	d, dep, err := resume(ctx, r, host, id, sink)
	if err != nil {
		return Result{Outcome: event.OutcomeFailed, ExitCode: -1}, err
	}
	if !dep.Guarded {
		f := fault.New("this deployment has no guard, so it cannot be rolled back").On(host)
		return d.res, d.byHand(f, dep.Old, Switch, "")
	}
	if reason == "" {
		reason = "asked for by a person"
	}
	d.sc.Start("rolling back " + dep.ID)
	if err = d.cancel(ctx, reason); err == nil {
		err = d.conclude()
		switch word, _, _ := strings.Cut(d.fr.fact("final"), " "); word {
		case "rolled-back", "aborted":
			err = nil
		case "committed":
			err = fault.New("too late: the new system was confirmed").On(host).Hint("godwit rollback %s GENERATION", host)
		}
	}
	d.res.Duration = time.Since(d.begun)
	d.sc.End(d.summary(), err)
	return d.res, err
}

// History reads the last n records of the host's own history, oldest first. Where nobody
// can become root they are the login user's own, if there are any.
func History(ctx context.Context, r host.Conn, name string, n int) ([]Record, error) {
	last := "tail -n " + strconv.Itoa(n) + " "
	script := hostscript.Compound("own=$HOME/.local/state/godwit/history.jsonl\n" +
		`[ "$(id -u)" = 0 ] || [ ! -e "$own" ] || exec ` + last + `"$own"` + "\n" +
		last + hostPlaces.State + "/history.jsonl 2>/dev/null\ntrue")
	read := func(elevate bool) (string, error) {
		var out bytes.Buffer
		err := r.Run(ctx, host.Cmd{Script: script, Elevate: elevate, Stdout: &out, Name: "the reading of its history"})
		return out.String(), err
	}
	text, err := read(true)
	if noRoot(err) {
		text, err = read(false)
	}
	if err != nil {
		return nil, err
	}
	var records []Record
	for line := range strings.Lines(text) {
		var rec Record
		if json.Unmarshal([]byte(line), &rec) == nil && rec.ID != "" { // a torn line is left out
			records = append(records, rec)
		}
	}
	return records, nil
}
