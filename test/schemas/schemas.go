// Package schemas holds what godwit prints with --json against docs/schemas, for every test
// that runs the program.
package schemas

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// reports are the verbs whose --json is one value, and the file of its schema.
var reports = map[string]string{
	"plan": "plan", "status": "status", "history": "history", "diff": "diff", "hosts": "hosts", "doctor": "doctor", "version": "version",
	"builder list": "builders", "builder status": "builders", "list-secrets": "list-secrets", "secrets": "secrets", "secrets list": "secrets",
}

// events are verbs whose --json is a line for each event.
var events = []string{"build", "push", "deploy", "confirm", "rollback", "check-health", "upload-secrets", "upload-keys", "apply", "apply-local", "exec", "gc", "lock", "unlock"}

var compiled = struct {
	sync.Mutex
	by map[string]*jsonschema.Schema
}{by: map[string]*jsonschema.Schema{}}

func schema(dir, name string) (*jsonschema.Schema, error) {
	compiled.Lock()
	defer compiled.Unlock()
	if s := compiled.by[name]; s != nil {
		return s, nil
	}
	s, err := jsonschema.NewCompiler().Compile(filepath.Join(dir, name+".json"))
	compiled.by[name] = s
	return s, err
}

// Check tells where what godwit printed on stdout, run with args, is not what its schema
// says. dir is docs/schemas. Without --json, and for verbs that print no JSON, there is nothing to check.
func Check(dir string, args []string, stdout string) error {
	if !slices.Contains(args, "--json") || stdout == "" || slices.Contains(args, "--help") {
		return nil
	}
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(words) == 0 {
		return nil
	}
	name := reports[words[0]]
	if len(words) > 1 && reports[words[0]+" "+words[1]] != "" {
		name = reports[words[0]+" "+words[1]]
	}
	values := []string{stdout}
	if slices.Contains(events, words[0]) || name == "plan" && slices.Contains(args, "--dry-run") {
		name, values = "event", strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	}
	if name == "" {
		return nil
	}
	s, err := schema(dir, name)
	if err != nil {
		return err
	}
	for _, v := range values {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(v))
		if err == nil {
			err = s.Validate(value)
		}
		if err != nil {
			return fmt.Errorf("godwit %s: not what %s.json says: %w\n%s", strings.Join(args, " "), filepath.Join(dir, name), err, v)
		}
	}
	return nil
}
