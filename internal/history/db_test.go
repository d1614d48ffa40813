package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
)

func open(t *testing.T, file string) *DB {
	t.Helper()
	db, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "h.sqlite")
	db := open(t, file)
	ctx := t.Context()
	start := time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)
	run := Run{ID: "r1", Started: start, User: "ana", Deployer: "laptop", Godwit: "1", File: "/f/network.nix",
		Source: Source{Tree: "/f", Commit: strings.Repeat("a1", 20), Dirty: true}, Plan: "p", Action: "switch", Message: "new certificates, OPS-412"}
	check(t, db.Begin(ctx, run, []string{"web", "db"}))
	check(t, db.Result(ctx, "r1", Result{Host: "web", Deployment: "d1", Old: "/o", New: "/n", Outcome: Changed, Log: "line", Ended: start.Add(time.Minute), Duration: 1500 * time.Millisecond}))

	got, err := db.Entries(ctx, Filter{Logs: true})
	check(t, err)
	if len(got) != 2 || got[0].Host != "db" || got[0].Outcome != Unknown || !strings.Contains(got[0].Reason, "died") {
		t.Fatalf("entries: %+v", got)
	}
	want := Entry{Run: "r1", Host: "web", Deployment: "d1", Started: start, Ended: start.Add(time.Minute), User: "ana", Deployer: "laptop", Godwit: "1",
		File: "/f/network.nix", Commit: run.Source.Commit, Tree: "dirty", Plan: "p", Action: "switch", Message: "new certificates, OPS-412", Old: "/o", New: "/n", Outcome: Changed, Log: "line", Seconds: 1.5, From: FromDeployer}
	if !reflect.DeepEqual(got[1], want) {
		t.Errorf("got  %+v\nwant %+v", got[1], want)
	}
	if got, _ := db.Entries(ctx, Filter{}); got[1].Log != "" {
		t.Errorf("a log that nobody asked for: %q", got[1].Log)
	}
	check(t, db.End(ctx, "r1", start.Add(200*24*time.Hour)))
	if got, _ := db.Entries(ctx, Filter{Logs: true}); got[1].Log != "" || got[1].Outcome != Changed {
		t.Errorf("after a long time: %+v", got[1])
	}

	// What hosts tell: one that is known, one of this run, one of another machine.
	check(t, db.Import(ctx, []Entry{
		{Host: "web", Deployment: "d1", Run: "r1", Outcome: RolledBack, Started: start},
		{Host: "db", Deployment: "d2", Run: "r1", Outcome: RolledBack, Reason: "because", Started: start},
		{Host: "db", Deployment: "d0", Outcome: Changed, User: "bo", Commit: "1234567", Tree: "clean", Action: "boot", Message: "kernel", Started: start.Add(-time.Hour)},
	}))
	got, err = db.Entries(ctx, Filter{Hosts: []string{"db"}, File: "/f/network.nix"})
	check(t, err)
	if len(got) != 2 || got[0].Outcome != RolledBack || got[0].From != FromHost || got[0].User != "ana" || got[1].User != "bo" || got[1].Run != "" || got[1].Tree != "clean" || got[1].Message != "kernel" || got[0].Message != run.Message {
		t.Errorf("after the import: %+v", got)
	}
	if got, _ := db.Entries(ctx, Filter{Deployment: "d1"}); len(got) != 1 || got[0].Outcome != Changed {
		t.Errorf("an import replaced what was known: %+v", got)
	}
	if got, _ := db.Entries(ctx, Filter{Limit: 1}); len(got) != 1 {
		t.Errorf("limit: %+v", got)
	}
	if f, err := db.FileOf(ctx, "db"); err != nil || f != "/f/network.nix" {
		t.Errorf("file of db: %q, %v", f, err)
	}
	if f, err := db.FileOf(ctx, "nobody"); err != nil || f != "" {
		t.Errorf("file of nobody: %q, %v", f, err)
	}
	st, err := os.Stat(file)
	check(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the database is %v", st.Mode())
	}
	// An imported run belongs to no file of this machine.
	if got, _ := db.Entries(ctx, Filter{File: "/other.nix"}); len(got) != 1 || got[0].User != "bo" {
		t.Errorf("another file: %+v", got)
	}
}

// TestMigrate opens databases of every schema that there was, and of one to come.
func TestMigrate(t *testing.T) {
	for v := range len(migrations) {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "h.sqlite")
			raw, err := sql.Open("sqlite", "file:"+file)
			check(t, err)
			for i := range v {
				_, err := raw.Exec(migrations[i] + fmt.Sprintf("; PRAGMA user_version = %d", i+1))
				check(t, err)
			}
			check(t, raw.Close())
			db := open(t, file)
			check(t, db.Begin(t.Context(), Run{ID: "r", Started: time.Now()}, []string{"h"}))
			var have int
			check(t, db.sql.QueryRow("PRAGMA user_version").Scan(&have))
			if have != len(migrations) {
				t.Errorf("schema %d, want %d", have, len(migrations))
			}
			check(t, db.Close())
			open(t, file) // and again
		})
	}
	t.Run("newer", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "h.sqlite")
		raw, err := sql.Open("sqlite", "file:"+file)
		check(t, err)
		_, err = raw.Exec("PRAGMA user_version = 99")
		check(t, err)
		check(t, raw.Close())
		if _, err := Open(t.Context(), file); err == nil || !strings.Contains(err.Error(), "newer godwit") {
			t.Errorf("got %v", err)
		}
	})
}

// TestBroken damages the database in every way; a run goes on with one warning.
func TestBroken(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(file string) error
		says   string
	}{
		{"not a database", func(f string) error { return os.WriteFile(f, []byte(strings.Repeat("hello ", 1000)), 0o600) }, "damaged"},
		{"cut off", func(f string) error {
			return errors.Join(os.Truncate(f, 5000), os.RemoveAll(f+"-wal"), os.RemoveAll(f+"-shm"))
		}, "damaged"},
		{"a folder", func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) }, "cannot open"},
		{"no folder", func(f string) error { return os.RemoveAll(filepath.Dir(f)) }, "cannot open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sub")
			check(t, os.Mkdir(dir, 0o700))
			file := filepath.Join(dir, "h.sqlite")
			db, err := Open(t.Context(), file)
			check(t, err)
			check(t, db.Begin(t.Context(), Run{ID: "old", Started: time.Now()}, []string{"a"}))
			check(t, db.Close())
			check(t, c.damage(file))
			var warnings []error
			r := Record(file, Run{}, []string{"h"}, func(err error) { warnings = append(warnings, err) })
			r.Result(Result{Host: "h", Outcome: Changed})
			r.Close()
			if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), c.says) {
				t.Fatalf("warnings: %v", warnings)
			}
			var f *fault.Error
			if !errors.As(warnings[0], &f) {
				t.Errorf("not a fault: %v", warnings[0])
			}
		})
	}
}

func TestRecorder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "h.sqlite")
	hosts := make([]string, 200)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("h%03d", i)
	}
	r := Record(file, Run{Action: "switch"}, hosts, func(err error) { t.Error(err) })
	var wg sync.WaitGroup
	for _, h := range hosts {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.Result(Result{Host: h, Outcome: Failed})
			r.Result(Result{Host: h, Outcome: Changed}) // the last word counts
			r.Result(Result{Host: h, Outcome: Changed})
		}()
	}
	wg.Wait()
	r.Close()
	r.Close()
	r.Result(Result{Host: "late"})
	got, err := open(t, file).Entries(t.Context(), Filter{})
	check(t, err)
	if len(got) != len(hosts) {
		t.Fatalf("%d entries", len(got))
	}
	for _, e := range got {
		if e.Outcome != Changed || e.Run != r.run.ID {
			t.Errorf("%+v", e)
		}
	}
	gone := Record(file, Run{}, []string{"h"}, func(err error) { t.Error(err) })
	gone.Discard()
	gone.Close()
	planned := Record(file, Run{}, []string{"h"}, func(err error) { t.Error(err) })
	planned.Plan("p1")
	planned.Close()
	if got, _ := open(t, file).Entries(t.Context(), Filter{Hosts: []string{"h"}}); len(got) != 1 || got[0].Run != planned.run.ID || got[0].Plan != "p1" {
		t.Errorf("%+v", got)
	}
	var none *Recorder
	none.Plan("x")
	none.Discard()
	none.Result(Result{})
	none.Close()
}

// TestProcesses lets several godwits make, migrate and write the same new
// database at once.
func TestProcesses(t *testing.T) {
	const processes, each = 6, 25
	if file := os.Getenv("HISTORY_TEST_FILE"); file != "" {
		busyLimit = time.Minute // whoever comes last on a busy machine waits for all others
		for i := range each {
			r := Record(file, Run{}, []string{"h"}, func(err error) { t.Error(err) })
			r.Result(Result{Host: "h", Outcome: Changed, Deployment: fmt.Sprintf("%d-%d", os.Getpid(), i)})
			r.Close()
		}
		return
	}
	file := filepath.Join(t.TempDir(), "h.sqlite")
	var wg sync.WaitGroup
	for range processes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestProcesses$", "-test.count=1")
			cmd.Env = append(os.Environ(), "HISTORY_TEST_FILE="+file)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}()
	}
	wg.Wait()
	got, err := open(t, file).Entries(t.Context(), Filter{})
	check(t, err)
	done := 0
	for _, e := range got {
		if e.Outcome == Changed {
			done++
		}
	}
	if done != processes*each {
		t.Errorf("%d results of %d", done, processes*each)
	}
}

func TestMerge(t *testing.T) {
	at := func(n int64) time.Time { return time.Unix(n, 0).UTC() }
	local := []Entry{
		{Run: "r3", Host: "a", Started: at(300), Outcome: Unknown, Reason: "died", From: FromDeployer, File: "/f"},
		{Run: "r2", Host: "a", Deployment: "d2", Started: at(200), Outcome: Interrupted, From: FromDeployer, User: "ana"},
		{Run: "r1", Host: "a", Deployment: "d1", Started: at(100), Outcome: Failed, Reason: "a check after the reboot", From: FromDeployer},
		{Run: "r1", Host: "b", Started: at(100), Outcome: Unchanged, From: FromDeployer},
	}
	record := func(id, run, result string, started int64) Entry {
		return FromRecord("a", activate.Record{ID: id, Action: "switch", Result: result, Reason: "why", Started: started, Ended: started + 5,
			Meta: map[string]string{"run": run, "user": "bo", "commit": "abc1234", "tree": "clean"}})
	}
	got := Merge(local, []Entry{record("d0", "", "committed", 50), record("d1", "r1", "committed", 101), record("d2", "r2", "rolled-back 0", 201), record("d3", "r3", "rolled-back 4", 301)})
	var lines []string
	for _, e := range got {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s %q %s", e.Host, e.Deployment, e.Outcome, e.From, e.User, e.Reason, e.File))
	}
	want := `a d3 rolled-back both bo "why" /f
a d2 rolled-back both ana "why" 
a d1 failed both bo "a check after the reboot" 
b  unchanged deployer  "" 
a d0 changed host bo "" `
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOutcomeOf(t *testing.T) {
	for word, want := range map[string]event.Outcome{
		"committed": Changed, "done 0": Changed, "rolled-back 0": RolledBack, "rolled-back 4": RolledBack, "aborted": Failed,
		"superseded": Superseded, "rollback-failed": Failed, "failed 2": Failed, "abandoned": Failed, "": Unknown,
	} {
		if got := OutcomeOf(word); got != want {
			t.Errorf("%q is %q, want %q", word, got, want)
		}
	}
}

// TestProfiles: what happened to each profile of a host is kept, in order; the entry
// stays one for the host, with the paths of the profile that stands for it.
func TestProfiles(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "h.sqlite"))
	ctx := t.Context()
	check(t, db.Begin(ctx, Run{ID: "r1", Started: time.Unix(1, 0), Action: "switch"}, []string{"web"}))
	all := []Profile{{Name: "before", Kind: "custom", Old: "/a1", New: "/a2"}, {Name: "system", Kind: "nixos", Old: "/o", New: "/n"}, {Name: "ana", Kind: "home", New: "/h"}}
	result := Result{Host: "web", Deployment: "d1", Old: "/o", New: "/n", Outcome: Changed, Log: "line", Profiles: all}
	for range 2 { // the last word on a host counts
		check(t, db.Result(ctx, "r1", result))
	}
	got, err := db.Entries(ctx, Filter{Logs: true, Limit: 5})
	check(t, err)
	if len(got) != 1 || got[0].Old != "/o" || got[0].New != "/n" || got[0].Log != "line" || !reflect.DeepEqual(got[0].Profiles, all) {
		t.Errorf("%+v", got)
	}
	// A host tells the same of itself.
	e := FromRecord("web", activate.Record{ID: "d2", Result: "committed", Old: "/o", Toplevel: "/n", Meta: map[string]string{"run": "r2"},
		Profiles: []activate.RecordProfile{{Name: "before", Kind: "custom", Old: "/a1", New: "/a2"}, {Name: "system", Kind: "nixos", Old: "/o", New: "/n"}, {Name: "ana", Kind: "home", New: "/h"}}})
	check(t, db.Import(ctx, []Entry{e}))
	got, err = db.Entries(ctx, Filter{Deployment: "d2"})
	check(t, err)
	if len(got) != 1 || !reflect.DeepEqual(got[0].Profiles, all) || got[0].New != "/n" {
		t.Errorf("%+v", got)
	}
	if m := Merge([]Entry{{Host: "web", Deployment: "d2", Run: "r2"}}, []Entry{e}); !reflect.DeepEqual(m[0].Profiles, all) {
		t.Errorf("%+v", m)
	}
}

// TestMigrateProfiles: a database of the first schema is kept, with all that is in it.
func TestMigrateProfiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "h.sqlite")
	old, err := sql.Open("sqlite", file)
	check(t, err)
	for _, q := range []string{migrations[0], "PRAGMA user_version = 1",
		`INSERT INTO runs (id, started, user, action) VALUES ('r1', 1000, 'ana', 'switch')`,
		`INSERT INTO results (run, host, deployment, old, new, outcome, log, ended, duration) VALUES ('r1', 'web', 'd1', '/o', '/n', 'changed', 'line', 2000, 1500)`,
		`INSERT INTO results (run, host) VALUES ('r1', 'db')`,
	} {
		_, err := old.Exec(q)
		check(t, err)
	}
	check(t, old.Close())
	db := open(t, file)
	got, err := db.Entries(t.Context(), Filter{Logs: true})
	check(t, err)
	if len(got) != 2 || got[1].Deployment != "d1" || got[1].Old != "/o" || got[1].New != "/n" || got[1].Outcome != Changed || got[1].Log != "line" || got[1].Seconds != 1.5 || got[1].Profiles != nil {
		t.Errorf("%+v", got)
	}
	check(t, db.Forget(t.Context(), "r1")) // results go with their run, as before
	if got, _ := db.Entries(t.Context(), Filter{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
