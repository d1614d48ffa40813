package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// Expr is what --on says: which hosts, by their names and tags. Its grammar:
//
//	list  = item { "," item }        any of them; items that begin with "!" are
//	                                 taken away from the others, or from all
//	item  = term { "&" term }        all of them
//	term  = "!" term | "(" list ")" | "@" glob | glob
//
// A glob (Glob) is about the name of a host, one behind "@" about its tags. The
// operators have no meaning inside of [...] and {...} and behind a backslash;
// "!", "@" and "(" have one at the beginning of a term only. Blanks around terms
// do not count.
type Expr struct {
	root node
	// terms are all globs, in their order.
	terms []*term
	words []string
}

// node is a part of an expression.
type node struct {
	op   op
	of   []node
	term *term // of opTerm
}

type op int

const (
	opTerm op = iota
	opAny     // of none: no host
	opAll     // of none: every host
	opNot
)

// term is one glob.
type term struct {
	text string // as it was written, with "@"
	glob *Glob
	tag  bool
	not  bool // it is below a negation
}

// ParseExpr reads the words of --on, which are taken together as one list. A word
// that is one of names is that host, whatever characters are in it. No words are
// every host.
func ParseExpr(words, names []string) (*Expr, error) {
	e := &Expr{words: words}
	if len(words) == 0 {
		e.root = node{op: opAll}
		return e, nil
	}
	var items []node
	for _, w := range words {
		if slices.Contains(names, w) {
			t := &term{text: w, glob: &Glob{pattern: w, literal: true}}
			e.terms = append(e.terms, t)
			items = append(items, node{term: t})
			continue
		}
		p := exprParser{rest: w, expr: e}
		of, err := p.list()
		if err == nil && p.rest != "" {
			err = fmt.Errorf("nothing opens the ')' in it")
		}
		if err != nil {
			return nil, &SelectionError{Msg: fmt.Sprintf("--on '%s' is not a pattern: %s", w, err), Hints: exprHints}
		}
		items = append(items, of...)
	}
	e.root = listOf(items)
	e.root.mark(false)
	return e, nil
}

var exprHints = []string{
	`names and @tags may have * ? [abc] [!a] {a,b}; write \[ for the character itself`,
	`"a,b" any of them, "@web&@eu" both, "!c" all but c, "(a,b)&!c" in parentheses`,
}

// listOf makes one node of a list's items: what is negated is taken away.
func listOf(items []node) node {
	var in, out []node
	for _, n := range items {
		if n.op == opNot {
			out = append(out, n)
		} else {
			in = append(in, n)
		}
	}
	if len(out) == 0 && len(in) == 1 {
		return in[0]
	}
	if len(in) > 0 {
		out = append([]node{{op: opAny, of: in}}, out...)
	}
	return node{op: opAll, of: out}
}

func (n *node) mark(not bool) {
	if n.op == opTerm && n.term != nil {
		n.term.not = not
	}
	for i := range n.of {
		n.of[i].mark(not != (n.op == opNot))
	}
}

type exprParser struct {
	rest  string
	expr  *Expr
	depth int // of parentheses
}

func (p *exprParser) blanks() { p.rest = strings.TrimLeft(p.rest, " \t\n") }

func (p *exprParser) take(c byte) bool {
	p.blanks()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// maxDepth bounds what a hostile word may cost.
const maxDepth = 50

func (p *exprParser) list() ([]node, error) {
	var items []node
	for {
		n, err := p.item()
		if err != nil {
			return nil, err
		}
		items = append(items, n)
		if !p.take(',') {
			return items, nil
		}
	}
}

func (p *exprParser) item() (node, error) {
	var of []node
	for {
		n, err := p.term()
		if err != nil {
			return node{}, err
		}
		of = append(of, n)
		if p.take('&') {
			continue
		}
		if len(of) == 1 {
			return of[0], nil
		}
		return node{op: opAll, of: of}, nil
	}
}

func (p *exprParser) term() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return node{}, fmt.Errorf("it is too deep")
	}
	defer func() { p.depth-- }()
	if p.take('!') {
		n, err := p.term()
		if n.op == opNot {
			return n.of[0], err
		}
		return node{op: opNot, of: []node{n}}, err
	}
	if p.take('(') {
		items, err := p.list()
		if err == nil && !p.take(')') {
			err = fmt.Errorf("a '(' is not closed")
		}
		return listOf(items), err
	}
	text := p.word()
	t := &term{text: text}
	var pattern string
	if pattern, t.tag = strings.CutPrefix(text, "@"); pattern == "" {
		return node{}, fmt.Errorf("a name or a tag is missing in it")
	}
	var err error
	if t.glob, err = CompileGlob(pattern); err != nil {
		return node{}, err
	}
	p.expr.terms = append(p.expr.terms, t)
	return node{term: t}, nil
}

// word takes what belongs to one glob.
func (p *exprParser) word() string {
	p.blanks()
	braces, parens, class := 0, 0, false
	i := 0
	for i < len(p.rest) {
		c := p.rest[i]
		switch {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '{':
			braces++
		case c == '}' && braces > 0:
			braces--
		case braces > 0:
		case c == ',' || c == '&':
			goto end
		case c == '(':
			parens++
		case c == ')' && parens > 0:
			parens--
		case c == ')' && p.depth > 1:
			goto end
		}
		i++
	}
end:
	i = min(i, len(p.rest))
	word := strings.TrimRight(p.rest[:i], " \t\n")
	if strings.HasSuffix(word, `\`) && len(word) < i { // "\ " at the end
		word = p.rest[:len(word)+1]
	}
	p.rest = p.rest[i:]
	return word
}

// Tags says whether tags matter.
func (e *Expr) Tags() bool {
	return slices.ContainsFunc(e.terms, func(t *term) bool { return t.tag })
}

// given is what is left of an expression when the name of the host is known: a node
// that asks for tags only.
func (n node) given(name string) node {
	switch n.op {
	case opTerm:
		if n.term.tag {
			return n
		}
		if n.term.glob.Match(name) {
			return node{op: opAll}
		}
		return node{op: opAny}
	case opNot:
		switch x := n.of[0].given(name); {
		case x.always():
			return node{op: opAny}
		case x.never():
			return node{op: opAll}
		default:
			return node{op: opNot, of: []node{x}}
		}
	}
	out := node{op: n.op}
	for _, x := range n.of {
		switch x = x.given(name); {
		case n.op == opAny && x.always(), n.op == opAll && x.never():
			return x
		case n.op == opAny && x.never(), n.op == opAll && x.always():
		default:
			out.of = append(out.of, x)
		}
	}
	if len(out.of) == 1 {
		return out.of[0]
	}
	return out
}

func (n node) always() bool { return n.op == opAll && len(n.of) == 0 }
func (n node) never() bool  { return n.op == opAny && len(n.of) == 0 }

// match answers for a host's tags; the node must come from given.
func (n node) match(tags []string) bool {
	switch n.op {
	case opTerm:
		return slices.ContainsFunc(tags, n.term.glob.Match)
	case opNot:
		return !n.of[0].match(tags)
	case opAny:
		return slices.ContainsFunc(n.of, func(x node) bool { return x.match(tags) })
	}
	return !slices.ContainsFunc(n.of, func(x node) bool { return !x.match(tags) })
}

// Match says whether a host is chosen.
func (e *Expr) Match(name string, tags []string) bool { return e.root.given(name).match(tags) }

// May says whether a host of that name can be chosen, whatever its tags are.
func (e *Expr) May(name string) bool { return !e.root.given(name).never() }

// required are the tags that decide about all hosts of names alike: each must have
// all of them, and nothing else is asked. false: it is not that simple.
func (e *Expr) required(names []string) ([]string, bool) {
	var same []string
	for i, name := range names {
		tags, ok := e.root.given(name).allTags(nil)
		if !ok || i > 0 && !slices.Equal(tags, same) {
			return nil, false
		}
		same = tags
	}
	return same, true
}

func (n node) allTags(tags []string) ([]string, bool) {
	switch n.op {
	case opTerm:
		return append(tags, n.term.glob.pattern), n.term.glob.literal
	case opAll:
		for _, x := range n.of {
			var ok bool
			if tags, ok = x.allTags(tags); !ok {
				return nil, false
			}
		}
		return tags, true
	}
	return nil, false
}

// check refuses names and patterns that no host has, as a slip of the pen is.
func (e *Expr) check(names []string) error {
	for _, t := range e.terms {
		if t.tag || t.glob.pattern == "*" || t.not && !t.glob.literal || slices.ContainsFunc(names, t.glob.Match) {
			continue
		}
		f := &SelectionError{Msg: fmt.Sprintf("no host matches --on '%s'", t.text)}
		if t.glob.literal {
			f.Msg = fmt.Sprintf("there is no host '%s'", t.text)
			if near := Nearest(t.text, names); near != "" {
				f.Msg += fmt.Sprintf(" (did you mean %s?)", near)
			}
		}
		f.Hints = append(f.Hints, hostsHint(names))
		return f
	}
	return nil
}

// nobody is the error of a selection by tags that no host has.
func (e *Expr) nobody(hosts []Host) error {
	seen := map[string]bool{}
	var known []string
	for _, h := range hosts {
		for _, t := range h.Tags {
			if !seen[t] {
				seen[t] = true
				known = append(known, t)
			}
		}
	}
	slices.Sort(known)
	f := &SelectionError{Msg: fmt.Sprintf("no host matches --on '%s'", strings.Join(e.words, ",")), Nobody: true}
	for _, t := range e.terms {
		if !t.tag || t.not || slices.ContainsFunc(known, t.glob.Match) {
			continue
		}
		f.Msg = fmt.Sprintf("no host has the tag '%s'", t.text[1:])
		if !t.glob.literal {
			f.Msg = fmt.Sprintf("no host has a tag that matches '%s'", t.text[1:])
		}
		if near := Nearest(t.glob.pattern, known); near != "" {
			f.Msg += fmt.Sprintf(" (did you mean @%s?)", near)
		}
		break
	}
	const most = 12
	switch {
	case len(known) > most:
		f.Hints = []string{fmt.Sprintf("tags: %s and %d more", strings.Join(known[:most], ", "), len(known)-most)}
	case len(known) > 0:
		f.Hints = []string{"tags: " + strings.Join(known, ", ")}
	default:
		f.Hints = []string{"none of these hosts has a tag"}
	}
	return f
}
