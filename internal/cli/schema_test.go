package cli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"godwit/internal/action"
	"godwit/internal/builder"
	"godwit/internal/cli/show"
	"godwit/internal/cli/vaultverbs"
	"godwit/internal/doctor"
	"godwit/internal/event"
	"godwit/internal/history"
	"godwit/internal/plan"
	"godwit/internal/vault"
	about "godwit/internal/version"
)

var writeSchemas = flag.Bool("schemas", false, "write docs/schemas")

// reports are all things that --json prints, by the name of their schema.
var reports = map[string]struct {
	title string
	value any
}{
	"event":    {"one line of godwit's --json, of every verb that has no report of its own (docs/events.md)", event.Event{}},
	"plan":     {"godwit plan --json, and a saved plan (docs/plan.md)", plan.Plan{}},
	"status":   {"godwit status --json (docs/history.md)", action.Fleet{}},
	"history":  {"godwit history --json (docs/history.md)", []history.Entry{}},
	"diff":     {"godwit diff --json (docs/history.md)", action.Difference{}},
	"doctor":   {"godwit doctor --json", doctor.Checkup{}},
	"version":  {"godwit version --json", about.Info{}},
	"hosts":    {"godwit hosts --json", []show.Host{}},
	"builders": {"godwit builder list --json and builder status --json (docs/builders.md)", []builder.Status{}},
	"secrets":  {"godwit secrets list --json (docs/secrets.md)", []vault.Row{}},
	// By host and by name, in the form that morph gives it.
	"list-secrets": {"godwit list-secrets --json (docs/morph.md)", map[string]map[string]vaultverbs.Listed{}},
}

// TestSchemas compares docs/schemas with the types that the reports are made of. test/e2e
// holds what the program really prints against the files. Descriptions come from comments
// and may lag behind them: they are written anew with everything else.
func TestSchemas(t *testing.T) {
	dir := "../../docs/schemas"
	for name, report := range reports {
		r := &jsonschema.Reflector{AllowAdditionalProperties: true, Anonymous: true}
		for _, of := range []string{"plan", "closure", "history", "hoststate", "event", "builder", "fleet", "lock", "activate", "reboot", "action", "version", "doctor", "vault"} {
			if err := r.AddGoComments("godwit/internal/cli", "../"+of, jsonschema.WithFullComment()); err != nil {
				t.Fatal(err)
			}
		}
		s := r.Reflect(report.value)
		s.Title = report.title
		if name == "event" { // and the first line, which says what the others are
			header := (&jsonschema.Reflector{AllowAdditionalProperties: true, Anonymous: true, DoNotReference: true}).Reflect(struct {
				Schema  string `json:"schema" jsonschema:"const=godwit-events"`
				Version int    `json:"version"`
			}{})
			header.Version = ""
			s.AnyOf, s.Ref = []*jsonschema.Schema{{Ref: s.Ref}, header}, ""
		}
		want, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		file := filepath.Join(dir, name+".json")
		if *writeSchemas {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(file); err != nil || shapeOf(t, got) != shapeOf(t, want) {
			t.Errorf("%s is not what the program prints (%v); run: go test ./internal/cli -run TestSchemas -schemas", file, err)
		}
	}
	schema, err := validator.NewCompiler().Compile(dir + "/event.json")
	if err != nil {
		t.Fatal(err)
	}
	for line, ok := range map[string]bool{
		`{"schema":"godwit-events","version":1}`:                   true,
		`{"time":"2026-11-28T22:10:00Z","kind":"note","text":"x"}`: true,
		`{"time":"2026-11-28T22:10:00Z","text":"x"}`:               false,
		`{"version":1}`: false,
	} {
		v, err := validator.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != ok {
			t.Errorf("%s: %v", line, err)
		}
	}
	files, err := filepath.Glob(dir + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); reports[name].value == nil {
			t.Errorf("%s is the schema of nothing", f)
		}
	}
}

// shapeOf is a schema without its descriptions.
func shapeOf(t *testing.T, schema []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(schema, &v); err != nil {
		t.Fatal(err)
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["description"].(string); ok { // and no property of that name
				delete(v, "description")
			}
			for _, x := range v {
				strip(x)
			}
		case []any:
			for _, x := range v {
				strip(x)
			}
		}
	}
	strip(v)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
