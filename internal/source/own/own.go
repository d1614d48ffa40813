// Package own is the dialect of godwit's own flake output, "godwit": plain data about
// hosts, beside the configurations that the flake has anyway. None of these is
// evaluated to read it. docs/flakes.md says what may be in it.
package own

import (
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/source/common"
)

// Dialect is godwit's own.
var Dialect = &source.Dialect{
	Name:    "godwit",
	Outputs: []string{"godwit"},
	Expr:    source.FlakeExpr(common.Outputs(true)),
	Setting: func(name string) string {
		switch name {
		case "godwit":
			return name
		case "targetHost":
			name = "address"
		case "targetUser":
			name = "user"
		case "targetPort":
			name = "port"
		}
		return "godwit.hosts.HOST." + name
	},
	Other: unknown,
	Kept:  func(l source.Location) error { return fault.New("%s is godwit's own format already", l.Name()) },
	Empty: "each attribute of godwit.hosts is a host; without that, each configuration of the flake",
}

// unknown says what a word in the data may have meant that there is no place for. args
// are where it is, the word, and the words that there are.
func unknown(l source.Location, _ string, args []string) error {
	if len(args) < 2 {
		return fault.New("'%s' has nothing that godwit knows", l.Key())
	}
	where, key, known := args[0], args[1], args[2:]
	f := fault.New("there is no %s.%s", where, key)
	if near := fleet.Nearest(key, known); near != "" {
		f.Msg += " (did you mean " + near + "?)"
		return f
	}
	return f.Hint("%s takes %s", fault.Raw(where), fault.Raw(strings.Join(known, ", ")))
}
