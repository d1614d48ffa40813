package redact_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"godwit/internal/redact"
)

// TestWords: no secret hides a word that events are made of, whatever it is.
func TestWords(t *testing.T) {
	t.Cleanup(redact.Forget)
	words := 0
	for _, file := range []string{"event.go", "outcome.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), "../event/"+file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				for _, v := range s.(*ast.ValueSpec).Values {
					l, ok := v.(*ast.BasicLit)
					if !ok || l.Kind != token.STRING {
						continue
					}
					word, err := strconv.Unquote(l.Value)
					if err != nil {
						t.Fatal(err)
					}
					words++
					redact.Know([]byte(word))
					if got := redact.String(word); got != word {
						t.Errorf("'%s' is hidden", word)
					}
				}
			}
		}
	}
	if words < 30 {
		t.Errorf("only %d words were found", words)
	}
}
