package history

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/paths"
)

// DB is the deployer's database. Several godwits may have it open at once.
type DB struct {
	sql  *sql.DB
	file string
}

// busyLimit is how long a write waits for another godwit's.
var busyLimit = 5 * time.Second

// File is where the database is kept.
func File() (string, error) {
	dir, err := paths.State()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "history.sqlite"), nil
}

// Open opens the database in file, or makes it; "" is the usual place.
func Open(ctx context.Context, file string) (*DB, error) {
	if file == "" {
		var err error
		if file, err = File(); err != nil {
			return nil, err
		}
	}
	// It holds names of hosts and people, and logs: nobody else's business.
	if f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fault.New("cannot open the history %s: %w", file, errors.Unwrap(err))
	} else if err := f.Close(); err != nil {
		return nil, fault.New("cannot open the history %s: %w", file, err)
	}
	options := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyLimit.Milliseconds()), "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)",
	}, "_txlock": {"immediate"}}
	u := url.URL{Scheme: "file", Path: file, RawQuery: options.Encode()}
	s, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, explain(file, err)
	}
	s.SetMaxOpenConns(2)
	d := &DB{sql: s, file: file}
	if err := d.migrate(ctx); err != nil {
		s.Close()
		return nil, explain(file, err)
	}
	return d, nil
}

// Close closes the database.
func (d *DB) Close() error { return d.sql.Close() }

// explain says what is wrong with the database and what to do.
func explain(file string, err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return fault.New("the history %s is damaged", file).Because(err).
				Hint("mv %s %s.damaged (hosts keep records of their own: godwit history DEPLOYMENT reads them)", file, file)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fault.New("the history %s was in use for too long", file).Because(err)
		case sqlite3.SQLITE_FULL:
			return fault.New("no room to write the history %s", file).Because(err)
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
			return fault.New("cannot write the history %s", file).Because(err).Hint("ls -l %s*", file)
		}
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return fault.New("cannot use the history %s: %s", file, err).Because(err)
}

// migrations bring the schema from version i to i+1. What has been released is
// never changed here, only added to.
var migrations = []string{`
CREATE TABLE runs (
	id       TEXT PRIMARY KEY,
	started  INTEGER NOT NULL,            -- Unix milliseconds
	ended    INTEGER,
	user     TEXT NOT NULL DEFAULT '',
	deployer TEXT NOT NULL DEFAULT '',
	godwit   TEXT NOT NULL DEFAULT '',
	file     TEXT NOT NULL DEFAULT '',
	tree     TEXT NOT NULL DEFAULT '',    -- top of the git work tree
	commit_  TEXT NOT NULL DEFAULT '',
	state    TEXT NOT NULL DEFAULT '',    -- clean, dirty
	plan     TEXT NOT NULL DEFAULT '',
	action   TEXT NOT NULL DEFAULT ''
);
CREATE INDEX runs_started ON runs (started);
CREATE TABLE results (
	run        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	host       TEXT NOT NULL,
	deployment TEXT NOT NULL DEFAULT '',
	old        TEXT NOT NULL DEFAULT '',
	new        TEXT NOT NULL DEFAULT '',
	outcome    TEXT NOT NULL DEFAULT '',  -- '': no result yet
	reason     TEXT NOT NULL DEFAULT '',
	log        TEXT NOT NULL DEFAULT '',
	ended      INTEGER,
	duration   INTEGER NOT NULL DEFAULT 0, -- milliseconds
	source     TEXT NOT NULL DEFAULT 'deployer',
	PRIMARY KEY (run, host)
);
CREATE INDEX results_host ON results (host);
CREATE INDEX results_deployment ON results (deployment) WHERE deployment <> '';
`, `
CREATE TABLE results_ (
	run        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	host       TEXT NOT NULL,
	profile    TEXT NOT NULL DEFAULT 'system',
	kind       TEXT NOT NULL DEFAULT 'nixos',
	place      INTEGER NOT NULL DEFAULT 0, -- in the order of the host's profiles
	main       INTEGER NOT NULL DEFAULT 1, -- the one profile that stands for the host
	deployment TEXT NOT NULL DEFAULT '',
	old        TEXT NOT NULL DEFAULT '',
	new        TEXT NOT NULL DEFAULT '',
	outcome    TEXT NOT NULL DEFAULT '',  -- '': no result yet
	reason     TEXT NOT NULL DEFAULT '',
	log        TEXT NOT NULL DEFAULT '',  -- with the main profile
	ended      INTEGER,
	duration   INTEGER NOT NULL DEFAULT 0, -- milliseconds
	source     TEXT NOT NULL DEFAULT 'deployer',
	PRIMARY KEY (run, host, profile)
);
INSERT INTO results_ (run, host, deployment, old, new, outcome, reason, log, ended, duration, source)
	SELECT run, host, deployment, old, new, outcome, reason, log, ended, duration, source FROM results;
DROP TABLE results;
ALTER TABLE results_ RENAME TO results;
CREATE INDEX results_host ON results (host);
CREATE INDEX results_deployment ON results (deployment) WHERE deployment <> '';
`, `
ALTER TABLE runs ADD COLUMN message TEXT NOT NULL DEFAULT '';
`, `
ALTER TABLE results ADD COLUMN overrode TEXT NOT NULL DEFAULT '';
`}

func (d *DB) migrate(ctx context.Context) error {
	var have int
	if err := d.sql.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have > len(migrations) {
		return fault.New("the history %s was written by a newer godwit (schema %d, this one knows %d)", d.file, have, len(migrations)).
			Hint("update godwit on this machine")
	}
	if have == len(migrations) {
		return nil
	}
	tx, err := d.sql.BeginTx(ctx, nil) // immediate: one process migrates, the others wait
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	for v := have; v < len(migrations); v++ {
		if _, err := tx.ExecContext(ctx, migrations[v]); err != nil {
			return fmt.Errorf("schema %d: %w", v+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", max(have, len(migrations)))); err != nil {
		return err
	}
	return tx.Commit()
}

// NewRunID is the UTC time and some random characters.
func NewRunID() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	return time.Now().UTC().Format("20060102T150405") + "-" + hex.EncodeToString(b)
}

func millis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// Begin writes a run and its hosts, without results: if nobody writes those,
// the run is known to have died.
func (d *DB) Begin(ctx context.Context, r Run, hosts []string) error {
	return d.write(ctx, func(tx *sql.Tx) error {
		if err := putRun(ctx, tx, r); err != nil {
			return err
		}
		for _, h := range hosts {
			if _, err := tx.ExecContext(ctx, `INSERT INTO results (run, host) VALUES (?, ?) ON CONFLICT DO NOTHING`, r.ID, h); err != nil {
				return err
			}
		}
		return nil
	})
}

func putRun(ctx context.Context, tx *sql.Tx, r Run) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO runs (id, started, ended, user, deployer, godwit, file, tree, commit_, state, plan, action, message)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING`,
		r.ID, r.Started.UnixMilli(), millis(r.Ended), r.User, r.Deployer, r.Godwit, r.File, r.Source.Tree, r.Source.Commit, r.Source.State(), r.Plan, r.Action, r.Message)
	return err
}

// Result writes how a host of a run ended.
func (d *DB) Result(ctx context.Context, run string, r Result) error {
	return d.write(ctx, func(tx *sql.Tx) error { return putResult(ctx, tx, run, r, FromDeployer) })
}

// logKept bounds the log of one host in the database.
const logKept = 32 << 10

func putResult(ctx context.Context, tx *sql.Tx, run string, r Result, source string) error {
	if len(r.Log) > logKept {
		r.Log = r.Log[len(r.Log)-logKept:]
	}
	// What was there may have had other profiles, or none yet.
	if _, err := tx.ExecContext(ctx, `DELETE FROM results WHERE run = ? AND host = ?`, run, r.Host); err != nil {
		return err
	}
	profiles, main := r.Profiles, 0
	if len(profiles) == 0 {
		profiles = []Profile{{Name: fleet.SystemProfile, Kind: string(fleet.NixOS), Old: r.Old, New: r.New}}
	}
	for i, p := range profiles { // the first that is as the result says
		if p.New == r.New && p.Old == r.Old {
			main = i
			break
		}
	}
	for i, p := range profiles {
		log := r.Log
		if i != main {
			log = ""
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO results (run, host, profile, kind, place, main, deployment, old, new, outcome, reason, log, ended, duration, source, overrode)
			VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			run, r.Host, p.Name, p.Kind, i, i == main, r.Deployment, p.Old, p.New, r.Outcome, r.Reason, log, millis(r.Ended), r.Duration.Milliseconds(), source, r.Overrode); err != nil {
			return err
		}
	}
	return nil
}

// logsKept is how long logs are kept; the rest of the history stays.
const logsKept = 180 * 24 * time.Hour

// End writes that a run is over, and drops the logs of very old ones.
func (d *DB) End(ctx context.Context, run string, at time.Time) error {
	return d.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE results SET log = '' WHERE ended < ? AND log <> ''`, at.Add(-logsKept).UnixMilli()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE runs SET ended = ? WHERE id = ?`, at.UnixMilli(), run)
		return err
	})
}

// Plan writes the hash of the plan that a run applies.
func (d *DB) Plan(ctx context.Context, run, hash string) error {
	return d.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE runs SET plan = ? WHERE id = ?`, hash, run)
		return err
	})
}

// Forget removes a run and its results.
func (d *DB) Forget(ctx context.Context, run string) error {
	return d.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM runs WHERE id = ?`, run)
		return err
	})
}

// Import keeps what hosts tell of deployments that this machine has no result
// of: those of other machines, and those during which this one died. File is
// the deployment file by which this machine knows the host, if any.
func (d *DB) Import(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return d.write(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			if e.Host == "" || e.Deployment == "" {
				continue
			}
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM results WHERE host = ? AND deployment = ?`, e.Host, e.Deployment).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				continue
			}
			run := cmp.Or(e.Run, "host:"+e.Deployment)
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM results WHERE run = ? AND host = ? AND outcome <> ''`, run, e.Host).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				continue
			}
			err := putRun(ctx, tx, Run{
				ID: run, Started: e.Started, Ended: e.Ended, User: e.User, Deployer: e.Deployer, Godwit: e.Godwit, File: e.File,
				Source: Source{Commit: e.Commit, Dirty: e.Tree == "dirty"}, Plan: e.Plan, Action: e.Action, Message: e.Message,
			})
			if err != nil {
				return err
			}
			err = putResult(ctx, tx, run, Result{
				Host: e.Host, Deployment: e.Deployment, Old: e.Old, New: e.New, Outcome: e.Outcome, Reason: e.Reason,
				Ended: e.Ended, Duration: e.Duration(), Profiles: e.Profiles, Overrode: e.Overrode,
			}, FromHost)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Filter says which entries are wanted.
type Filter struct {
	Hosts      []string // none: all
	File       string   // deployment file; "": all. Imported entries have none and match
	Deployment string   // only this one
	Limit      int      // 0: no limit
	Logs       bool     // with logs, which can be long
}

// Entries gives the entries that match, newest first.
func (d *DB) Entries(ctx context.Context, f Filter) ([]Entry, error) {
	where := []string{"h.main"}
	args := []any{f.Logs}
	if len(f.Hosts) > 0 {
		where = append(where, "h.host IN (?"+strings.Repeat(",?", len(f.Hosts)-1)+")")
		for _, h := range f.Hosts {
			args = append(args, h)
		}
	}
	if f.File != "" {
		where = append(where, "r.file IN (?, '')")
		args = append(args, f.File)
	}
	if f.Deployment != "" {
		where = append(where, "h.deployment = ?")
		args = append(args, f.Deployment)
	}
	q := `SELECT r.id, r.started, r.ended, r.user, r.deployer, r.godwit, r.file, r.commit_, r.state, r.plan, r.action, r.message,
		h.host, h.deployment, h.old, h.new, h.outcome, h.reason, iif(?, h.log, ''), h.ended, h.duration, h.source, h.overrode,
		(SELECT json_group_array(json_object('name', p.profile, 'kind', p.kind, 'old', p.old, 'new', p.new) ORDER BY p.place)
			FROM results p WHERE p.run = h.run AND p.host = h.host)
		FROM results h JOIN runs r ON r.id = h.run
		WHERE ` + strings.Join(where, " AND ")
	q += " ORDER BY r.started DESC, h.host"
	if f.Limit > 0 {
		q += fmt.Sprintf(" LIMIT %d", f.Limit)
	}
	rows, err := d.sql.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, explain(d.file, err)
	}
	defer rows.Close()
	var out []Entry
	for rows.Next() {
		var e Entry
		var started, duration int64
		var profiles string
		var runEnded, ended sql.NullInt64
		if err := rows.Scan(&e.Run, &started, &runEnded, &e.User, &e.Deployer, &e.Godwit, &e.File, &e.Commit, &e.Tree, &e.Plan, &e.Action, &e.Message,
			&e.Host, &e.Deployment, &e.Old, &e.New, &e.Outcome, &e.Reason, &e.Log, &ended, &duration, &e.From, &e.Overrode, &profiles); err != nil {
			return nil, explain(d.file, err)
		}
		if err := json.Unmarshal([]byte(profiles), &e.Profiles); err != nil {
			return nil, explain(d.file, err)
		}
		e.Profiles = worthTelling(e.Profiles)
		e.Started, e.Seconds = time.UnixMilli(started).UTC(), float64(duration)/1000
		if ended.Valid {
			e.Ended = time.UnixMilli(ended.Int64).UTC()
		}
		if e.Outcome == "" {
			e.Outcome = Unknown
			if !runEnded.Valid {
				e.Reason = "godwit has not written a result: it still runs, or it died"
			}
		}
		e.Run = strings.TrimPrefix(e.Run, "host:"+e.Deployment)
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, explain(d.file, err)
	}
	return out, nil
}

// FileOf is the deployment file that the host was last deployed with from this
// machine; "" when there is none.
func (d *DB) FileOf(ctx context.Context, host string) (string, error) {
	var file string
	err := d.sql.QueryRowContext(ctx, `SELECT r.file FROM results h JOIN runs r ON r.id = h.run
		WHERE h.host = ? AND r.file <> '' ORDER BY r.started DESC LIMIT 1`, host).Scan(&file)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", explain(d.file, err)
	}
	return file, nil
}

// write runs fn in a transaction that has the only right to write.
func (d *DB) write(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := d.sql.BeginTx(ctx, nil)
	if err != nil {
		return explain(d.file, err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := fn(tx); err != nil {
		return explain(d.file, err)
	}
	if err := tx.Commit(); err != nil {
		return explain(d.file, err)
	}
	return nil
}
