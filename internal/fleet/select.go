package fleet

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Selection is which hosts of a fleet a run is about, as the selector flags
// say. The zero value is not valid: Every is 1 for all hosts; start from All.
type Selection struct {
	// On are the words of an Expr: names, globs, tags. None stands for "*".
	On []string
	// Tagged are tags that a host must all have.
	Tagged []string
	// Skip drops the first hosts, then Every keeps each Every-th of the rest,
	// beginning with the first, then Limit keeps so many (0 or less: all).
	Skip, Every, Limit int
	// OrderByTags orders the hosts, in place of the configuration's own
	// ordering tags.
	OrderByTags []string

	// rest is what remains of On when names have been looked at: see Named.
	rest *Expr
}

// Counts say what a selection left out, for the header.
type Counts struct {
	Total  int // hosts of the configuration
	Named  int // hosts whose name matches
	Chosen int // hosts that are selected
}

// SelectionError is a selection that makes no sense, or that selects nothing.
type SelectionError struct {
	Msg   string
	Hints []string
	// Nobody says that no host has the tags, which is true of the hosts that are known.
	Nobody bool
}

func (e *SelectionError) Error() string { return e.Msg }

// HintLines are things to do next.
func (e *SelectionError) HintLines() []string { return e.Hints }

// Check refuses flag values that select nothing by mistake.
func (s Selection) Check() error {
	if s.Every < 1 {
		return &SelectionError{Msg: fmt.Sprintf("--every %d selects no host", s.Every), Hints: []string{"--every 1 takes every host, --every 2 every other one"}}
	}
	if s.Skip < 0 {
		return &SelectionError{Msg: fmt.Sprintf("--skip=%d: it cannot be negative", s.Skip)}
	}
	_, err := ParseExpr(s.On, nil)
	return err
}

// NeedsTags says whether the selection depends on more than names: then the
// metadata of every host whose name matches must be known. ordering are the
// configuration's own ordering tags.
func (s Selection) NeedsTags(ordering []string) bool {
	if len(s.Tagged) > 0 || s.Positional() && len(s.order(ordering)) > 0 {
		return true
	}
	e, err := s.expr(nil)
	return err == nil && e.Tags()
}

// expr is what On says, or what is left of it.
func (s Selection) expr(names []string) (*Expr, error) {
	if s.rest != nil {
		return s.rest, nil
	}
	return ParseExpr(s.On, names)
}

// Named is the selection that remains for hosts whose names Names gave out of all:
// what their tags and places decide. wanted are tags that each of the hosts must
// have, and which alone decide; simple is false when it takes more to know a host's tags by.
func (s Selection) Named(all, names []string) (rest Selection, wanted []string, simple bool) {
	rest = s
	e, err := s.expr(all)
	if err != nil {
		return rest, nil, false
	}
	rest.On, rest.rest = nil, e
	wanted, simple = e.required(names)
	return rest, slices.Concat(s.Tagged, wanted), simple
}

// Positional says whether the place of a host in the order decides.
func (s Selection) Positional() bool { return s.Skip > 0 || s.Every > 1 || s.Limit > 0 }

func (s Selection) order(ordering []string) []string {
	if len(s.OrderByTags) > 0 {
		return s.OrderByTags
	}
	return ordering
}

// Names gives the names of hosts that may be selected, in the order of names:
// where tags decide, those that may have them. A pattern on names that matches
// nothing is an error; so is a plain name that no host has.
func (s Selection) Names(names []string) ([]string, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	e, err := s.expr(names)
	if err != nil {
		return nil, err
	}
	if s.rest == nil {
		if err := e.check(names); err != nil {
			return nil, err
		}
	}
	var out []string
	for _, name := range names {
		if e.May(name) {
			out = append(out, name)
		}
	}
	return out, nil
}

func hostsHint(names []string) string {
	const most = 12
	if len(names) == 0 {
		return "the configuration has no hosts"
	}
	if len(names) > most {
		return fmt.Sprintf("hosts: %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "hosts: " + strings.Join(names, ", ")
}

// Limits applies Skip, Every and Limit, in this order, as morph does.
func Limits[T any](s Selection, list []T) []T {
	var out []T
	for i, v := range list {
		if i < s.Skip || (i-s.Skip)%max(s.Every, 1) != 0 {
			continue
		}
		if s.Limit > 0 && len(out) == s.Limit {
			break
		}
		out = append(out, v)
	}
	return out
}

// Order sorts hosts by tags: first those with the first tag, then those with
// the second, ..., those with none of them last; otherwise the order stays.
func Order(hosts []Host, tags []string) []Host {
	out := slices.Clone(hosts)
	place := func(h Host) int {
		for i, t := range tags {
			if slices.Contains(h.Tags, t) {
				return i
			}
		}
		return len(tags)
	}
	sort.SliceStable(out, func(i, j int) bool { return place(out[i]) < place(out[j]) })
	return out
}

// Tagged are the hosts that have all of tags.
func Tagged(hosts []Host, tags []string) []Host {
	var out []Host
	for _, h := range hosts {
		if !slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(h.Tags, t) }) {
			out = append(out, h)
		}
	}
	return out
}

// Select applies a selection to the hosts of a fleet the way morph does:
// names, then tags, then order, then skip, every, limit.
func Select(f *Fleet, s Selection) ([]Host, Counts, error) {
	names := make([]string, len(f.Hosts))
	for i, h := range f.Hosts {
		names[i] = h.Name
	}
	c := Counts{Total: len(names)}
	match, err := s.Names(names)
	if err != nil {
		return nil, c, err
	}
	c.Named = len(match)
	var hosts []Host
	for _, h := range f.Hosts {
		if slices.Contains(match, h.Name) {
			hosts = append(hosts, h)
		}
	}
	e, err := s.expr(names)
	if err != nil {
		return nil, c, err
	}
	chosen := slices.DeleteFunc(slices.Clone(hosts), func(h Host) bool { return !e.Match(h.Name, h.Tags) })
	if len(chosen) == 0 && len(hosts) > 0 {
		return nil, c, e.nobody(hosts)
	}
	hosts = Limits(s, Order(Tagged(chosen, s.Tagged), s.order(f.OrderingTags)))
	c.Chosen = len(hosts)
	return hosts, c, nil
}

// Nearest is the candidate that was most likely meant by word, or "" when none
// is close: one slip in four letters, at most three.
func Nearest(word string, candidates []string) string {
	best, least := "", min(3, 1+len([]rune(word))/4)+1
	for _, c := range candidates {
		if c == word {
			continue
		}
		if d := distance([]rune(strings.ToLower(word)), []rune(strings.ToLower(c))); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// that lead from a to b (optimal string alignment).
func distance(a, b []rune) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// Literal is a pattern of Selection.On for the host of this name, whatever is in it.
func Literal(name string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`, "{", `\{`).Replace(name)
}
