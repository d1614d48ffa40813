package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryGoroutineCatches reads the source of the program: a goroutine, a timer
// and a Write, which os/exec calls on goroutines of its own, begin with
// `defer crash.Catch()`, or are a crash.Func.
func TestEveryGoroutineCatches(t *testing.T) {
	found := 0
	for _, root := range []string{"..", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "tools" || d.Name() == "vt" || strings.HasSuffix(d.Name(), "test") || d.Name() == "crash" || d.Name() == "testdata") {
				return filepath.SkipDir // no part of the program
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for pos, ok := range startsOf(file) {
				found++
				if !ok {
					t.Errorf("%s: does not begin with `defer crash.Catch()`: a panic there would end the process with a page of goroutines", set.Position(pos))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 90 {
		t.Errorf("found only %d goroutines: the test looks in the wrong place", found)
	}
}

// startsOf gives the functions of a file that run on goroutines of their own, and
// whether they catch.
func startsOf(file *ast.File) map[token.Pos]bool {
	out := map[token.Pos]bool{}
	fn := func(e ast.Expr) {
		switch e := e.(type) {
		case *ast.FuncLit:
			out[e.Pos()] = catches(e.Body)
		case *ast.CallExpr: // crash.Func(f), or crash.Func(f)()
			out[e.Pos()] = isCrash(e, "Func")
		default:
			out[e.Pos()] = false
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			fn(n.Call.Fun)
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			switch {
			case ok && s.Sel.Name == "Go" && len(n.Args) == 1:
				fn(n.Args[0])
			case ok && s.Sel.Name == "AfterFunc":
				fn(n.Args[1])
			}
		case *ast.FuncDecl:
			if n.Recv != nil && n.Name.Name == "Write" && n.Type.Params.NumFields() == 1 && n.Type.Results.NumFields() == 2 {
				out[n.Pos()] = catches(n.Body)
			}
		}
		return true
	})
	return out
}

func catches(b *ast.BlockStmt) bool {
	if len(b.List) == 0 {
		return false
	}
	d, ok := b.List[0].(*ast.DeferStmt)
	return ok && isCrash(d.Call, "Catch")
}

func isCrash(c *ast.CallExpr, name string) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "crash"
}

// TestStartsOf shows that the test above can fail.
func TestStartsOf(t *testing.T) {
	const src = `package p
func f() {
	go func() { defer crash.Catch(); g() }() // good
	go crash.Func(g)() // good
	wg.Go(func() { defer crash.Catch() }) // good
	time.AfterFunc(1, crash.Func(g)) // good
	go g()
	go func() { g(); defer crash.Catch() }()
	wg.Go(g)
	context.AfterFunc(ctx, func() { g() })
}
func (w w) Write(b []byte) (int, error) { return 0, nil }
`
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(src, "\n")
	n := 0
	for pos, ok := range startsOf(file) {
		n++
		if l := lines[set.Position(pos).Line-1]; ok != strings.Contains(l, "// good") {
			t.Errorf("%v: %s", ok, l)
		}
	}
	if n != 9 {
		t.Errorf("%d of 9", n)
	}
}
