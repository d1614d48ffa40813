package e2e

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// reports are the verbs whose --json is one value; of the other verbs it is events.
var reports = map[string]string{"plan": "plan", "status": "status", "history": "history", "diff": "diff", "hosts": "hosts", "doctor": "doctor"}

// events are verbs whose --json is a line for each event.
var events = []string{"build", "push", "deploy", "confirm", "rollback", "check-health", "upload-secrets", "exec", "gc", "lock", "unlock"}

var schemas = struct {
	sync.Mutex
	by map[string]*jsonschema.Schema
}{by: map[string]*jsonschema.Schema{}}

func schema(name string) (*jsonschema.Schema, error) {
	schemas.Lock()
	defer schemas.Unlock()
	if s := schemas.by[name]; s != nil {
		return s, nil
	}
	s, err := jsonschema.NewCompiler().Compile("../../docs/schemas/" + name + ".json")
	schemas.by[name] = s
	return s, err
}

// keepsSchema holds whatever --json printed in any test against docs/schemas.
func (r result) keepsSchema() {
	r.t.Helper()
	if !slices.Contains(r.args, "--json") || r.stdout == "" || slices.Contains(r.args, "--help") {
		return
	}
	i := slices.IndexFunc(r.args, func(a string) bool { return !strings.HasPrefix(a, "-") })
	name, values := reports[r.args[i]], []string{r.stdout}
	if slices.Contains(events, r.args[i]) || name == "plan" && slices.Contains(r.args, "--dry-run") {
		name, values = "event", strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	}
	if name == "" {
		return
	}
	s, err := schema(name)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, v := range values {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(v)))
		if err == nil {
			err = s.Validate(value)
		}
		if err != nil {
			r.t.Errorf("godwit %s: not what docs/schemas/%s.json says: %v\n%s", strings.Join(r.args, " "), name, err, v)
			return
		}
	}
}
