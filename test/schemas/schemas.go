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

// texts are the verbs that print what was asked for as it is, with and without --json. The
// --json of any other is a line for each event.
var texts = []string{"eval", "ssh", "secrets show", "sudoers", "completion", "builder shell", "nix-info", "help", "man"}

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
	verb, two := words[0], strings.Join(words[:min(2, len(words))], " ")
	if slices.Contains(texts, verb) || slices.Contains(texts, two) {
		return nil
	}
	name := reports[two]
	if groups := []string{"secrets", "builder", "keys"}; name == "" && (len(words) == 1 || !slices.Contains(groups, verb)) {
		name = reports[verb]
	}
	values := []string{stdout}
	if name == "" || name == "plan" && slices.Contains(args, "--dry-run") {
		name, values = "event", strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
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
