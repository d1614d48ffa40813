package ui

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
)

// TestEventsDocumented checks that docs/events.md names every JSON field and
// every value of a constant of internal/event, and that its example is real.
func TestEventsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	want := map[string]string{}
	for _, v := range []any{event.Event{}, event.Activity{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				t.Errorf("%T.%s has no JSON name", v, f.Name)
			}
			want[name] = "field " + f.Name
		}
	}
	// Every constant that is a string: steps, kinds, units, and what a deploy
	// says of a host.
	for _, file := range []string{"../event/event.go", "../event/outcome.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				for i, v := range s.(*ast.ValueSpec).Values {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						value, _ := strconv.Unquote(lit.Value)
						want[value] = "constant " + s.(*ast.ValueSpec).Names[i].Name
					}
				}
			}
		}
	}
	if len(want) < 50 {
		t.Errorf("only %d names found", len(want))
	}
	for name, what := range want {
		if name != "" && !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/events.md does not have `%s` (%s)", name, what)
		}
	}
	if !strings.Contains(doc, `{"schema":"godwit-events","version":`+strconv.Itoa(event.Version)+`}`) {
		t.Error("docs/events.md shows another first line")
	}
	// The example, put back on one line, is what Emit writes.
	_, ex, _ := strings.Cut(doc, "## An event\n\n")
	ex, _, _ = strings.Cut(ex, "\n\n")
	ex = strings.ReplaceAll(strings.TrimSpace(ex), "\n     ", "")
	var e event.Event
	if err := json.Unmarshal([]byte(ex), &e); err != nil {
		t.Fatalf("%s: %v", ex, err)
	}
	got, _ := json.Marshal(e)
	if string(got) != ex || e.Time.Location() != time.UTC {
		t.Errorf("the example is\n%s\nand would be written\n%s", ex, got)
	}
}
