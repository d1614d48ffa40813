// Command uidemo replays a recorded stream of events (JSON lines, as from
// --json) through a renderer, to look at it. Without a file it makes up a run.
//
//	go run ./internal/tools/uidemo [-mode live|plain|json] [-speed 4] [-hosts 12] [FILE]
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"

	"godwit/internal/event"
	"godwit/internal/ui"
)

func main() {
	mode := flag.String("mode", "auto", "auto, live, plain or json")
	speed := flag.Float64("speed", 1, "how much faster than life")
	hosts := flag.Int("hosts", 5, "hosts of the made-up run")
	verbose := flag.Bool("v", false, "every log line")
	ask := flag.Bool("ask", false, "ask a question on the way")
	flag.Parse()
	modes := map[string]ui.Mode{"auto": ui.Auto, "live": ui.Live, "plain": ui.Plain, "json": ui.JSON}
	var events []event.Event
	var err error
	if flag.NArg() > 0 {
		events, err = read(flag.Arg(0))
	} else {
		events = made(*hosts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	u := ui.New(ui.Options{Mode: modes[*mode], Verbose: *verbose})
	var names []string
	seen := map[string]bool{}
	for _, e := range events {
		if e.Host != "" && !seen[e.Host] {
			seen[e.Host] = true
			names = append(names, e.Host)
		}
	}
	sort.Strings(names)
	u.Announce(names)
	u.Println(fmt.Sprintf("Selected %d/%d hosts", len(names), len(names)))
	begin := time.Now()
	code := 0
replay:
	for i, e := range events {
		at := time.Duration(float64(e.Time.Sub(events[0].Time)) / *speed)
		select {
		case <-time.After(time.Until(begin.Add(at))):
		case <-ctx.Done():
			code = 130
			break replay
		}
		if *ask && i == len(events)/3 {
			ok, err := u.Ask("Go on?")
			u.Println(fmt.Sprint("answer: ", ok, " ", err))
		}
		e.Time = time.Time{}
		u.Emit(e)
	}
	if err := u.Close(); err != nil {
		code = 1
	}
	os.Exit(code)
}

func read(name string) ([]event.Event, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []event.Event
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<24)
	for sc.Scan() {
		var e event.Event
		if json.Unmarshal(sc.Bytes(), &e) == nil && e.Kind != "" {
			out = append(out, e)
		}
	}
	return out, sc.Err()
}

// made is a deploy of n hosts: evaluation, build, copy, activation, checks; one
// rolls back, one cannot be reached.
func made(n int) []event.Event {
	t0 := time.Now()
	var out []event.Event
	at := func(s float64, e event.Event) {
		e.Time = t0.Add(time.Duration(s * float64(time.Second)))
		out = append(out, e)
	}
	at(0, event.Event{Step: event.StepEvaluate, Kind: event.Started, Text: "network.nix"})
	at(1.4, event.Event{Step: event.StepEvaluate, Kind: event.Done, Text: fmt.Sprintf("%d hosts", n)})
	for i := range n {
		h := fmt.Sprintf("web%d", i+1)
		s := 1.5 + 0.6*float64(i)
		ev := func(d float64, st event.Step, k event.Kind, txt string) {
			at(s+d, event.Event{Host: h, Step: st, Kind: k, Text: txt})
		}
		ev(0, event.StepConnect, event.Started, "")
		if i%5 == 4 {
			at(s+2, event.Event{Host: h, Step: event.StepConnect, Kind: event.Failed, Error: "no answer on 192.168.1.23:22"})
			at(s+2, event.Event{Host: h, Kind: event.Result, Outcome: "unreachable", Text: "no answer on 192.168.1.23:22 (last seen 3 days ago)"})
			continue
		}
		ev(.2, event.StepConnect, event.Done, "")
		ev(.3, event.StepBuild, event.Started, "")
		for k := range 12 {
			at(s+.3+.25*float64(k), event.Event{Host: h, Step: event.StepBuild, Kind: event.Progress, Done: int64(k), Total: 12, Unit: event.Derivations,
				Text: fmt.Sprintf("linux-6.6.%d", k), Activity: &event.Activity{Type: "build", Phase: "buildPhase"}})
			ev(.35+.25*float64(k), event.StepBuild, event.Log, fmt.Sprintf("  CC\tdrivers/net/ethernet/intel/%d.o", k))
		}
		ev(3.4, event.StepBuild, event.Done, "12 derivations")
		ev(3.5, event.StepCopy, event.Started, "")
		for k := range 21 {
			at(s+3.5+.15*float64(k), event.Event{Host: h, Step: event.StepCopy, Kind: event.Progress, Done: int64(k) * (148 << 20) / 20, Total: 148 << 20, Unit: event.Bytes})
		}
		ev(6.7, event.StepCopy, event.Done, "148 MiB, 37 paths")
		ev(6.8, event.StepActivate, event.Started, "")
		ev(7, event.StepActivate, event.Log, "restarting the following units: nginx.service, sshd.service")
		if i%5 == 2 {
			ev(7.5, event.StepActivate, event.Log, "sshd.service: bind to port 22: permission denied")
			at(s+9, event.Event{Host: h, Step: event.StepActivate, Kind: event.Failed, Error: "the new system did not answer on a new connection within 30s; it went back by itself",
				Hints: []string{"godwit history " + h + " keeps the whole log"}})
			at(s+9, event.Event{Host: h, Kind: event.Result, Outcome: "rolled-back", Text: "rolled back to the system it ran before"})
			continue
		}
		ev(8, event.StepActivate, event.Done, "switched")
		ev(8, event.StepCheck, event.Started, "")
		at(s+8.5, event.Event{Host: h, Step: event.StepCheck, Kind: event.Done, Text: "2/2 checks"})
		if i%5 == 3 {
			ev(8.6, "", event.Warning, "reboot needed to take effect")
			out[len(out)-1].Hints = []string{"godwit deploy --reboot " + h}
		}
		ev(8.6, "", event.Result, "switched, confirmed, 2/2 checks")
		out[len(out)-1].Outcome = "changed"
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Time.Before(out[j].Time) })
	return out
}
