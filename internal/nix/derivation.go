package nix

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"godwit/internal/regular"
)

// Derivation is what a .drv file says. The format is the ATerm form that Nix
// writes (manual: "Derivation "ATerm" file format"); both `Derive(...)` and
// `DrvWithVersion("xp-dyn-drv", ...)` are read.
type Derivation struct {
	Path      string // of the .drv file; empty when parsed from memory
	Outputs   []Output
	InputDrvs []InputDrv
	InputSrcs []string
	System    string
	Builder   string
	Args      []string
	Env       map[string]string

	attrs map[string]json.RawMessage // of __json
}

// Output is one output of a derivation. Path is empty when it is known only
// after the build (content-addressed derivations).
type Output struct {
	Name, Path, HashAlgo, Hash string
}

// InputDrv is a derivation that another one needs, with the outputs it needs.
type InputDrv struct {
	Path    string
	Outputs []string
}

// ReadDerivation reads and parses a .drv file from the store of this machine.
func ReadDerivation(drv string) (*Derivation, error) {
	data, err := regular.Read(drv, 64<<20)
	if err != nil {
		return nil, fmt.Errorf("reading derivation: %w", err)
	}
	d, err := ParseDerivation(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", drv, err)
	}
	d.Path = drv
	return d, nil
}

// DrvName is the readable part of a store path, without ".drv".
func DrvName(p string) string {
	b := strings.TrimSuffix(path.Base(p), ".drv")
	if len(b) > 33 && b[32] == '-' {
		return b[33:]
	}
	return b
}

// OutPath is the path of the output "out", or of the first output.
func (d *Derivation) OutPath() string {
	for _, o := range d.Outputs {
		if o.Name == "out" {
			return o.Path
		}
	}
	if len(d.Outputs) > 0 {
		return d.Outputs[0].Path
	}
	return ""
}

// Builtin tells whether Nix itself is the builder (builtin:fetchurl and
// others): such a derivation builds on any system.
func (d *Derivation) Builtin() bool {
	return strings.HasPrefix(d.Builder, "builtin:") || d.System == "builtin"
}

// RequiredSystemFeatures are the features that a builder must have, sorted.
// Floating content-addressed derivations need "ca-derivations", as in Nix's
// own ParsedDerivation::getRequiredSystemFeatures.
func (d *Derivation) RequiredSystemFeatures() []string {
	var out []string
	if d.attrs != nil {
		raw, ok := d.attrs["requiredSystemFeatures"]
		if ok {
			var one string
			if json.Unmarshal(raw, &out) != nil {
				out = nil
				if json.Unmarshal(raw, &one) == nil {
					out = strings.Fields(one)
				}
			}
		}
	} else {
		out = strings.Fields(d.Env["requiredSystemFeatures"])
	}
	for _, o := range d.Outputs {
		if o.Path == "" && o.HashAlgo != "" && o.Hash == "" {
			out = append(out, "ca-derivations")
			break
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// ParseDerivation parses the text of a .drv file.
func ParseDerivation(data []byte) (*Derivation, error) {
	p := aterm{s: string(data)}
	d := p.derivation()
	if p.err == nil {
		if rest := strings.TrimRight(p.s[p.i:], "\n"); rest != "" {
			p.fail("text after the end")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	if j, ok := d.Env["__json"]; ok {
		if err := json.Unmarshal([]byte(j), &d.attrs); err != nil {
			return nil, fmt.Errorf("not a derivation: __json: %w", err)
		}
		if d.attrs == nil {
			d.attrs = map[string]json.RawMessage{}
		}
	}
	return d, nil
}

// aterm is a parser that stops at its first error.
type aterm struct {
	s     string
	i     int
	depth int
	err   error
}

var errDerivation = errors.New("not a derivation")

func (p *aterm) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s at byte %d", errDerivation, what, p.i)
	}
}

func (p *aterm) lit(s string) {
	if p.err != nil {
		return
	}
	if !strings.HasPrefix(p.s[p.i:], s) {
		p.fail(fmt.Sprintf("expected %q", s))
		return
	}
	p.i += len(s)
}

func (p *aterm) peek(c byte) bool { return p.err == nil && p.i < len(p.s) && p.s[p.i] == c }

// str reads a quoted string. Strings without escapes share memory with the file.
func (p *aterm) str() string {
	p.lit(`"`)
	if p.err != nil {
		return ""
	}
	rest := p.s[p.i:]
	n := strings.IndexAny(rest, "\"\\")
	if n < 0 {
		p.fail("string without end")
		return ""
	}
	if rest[n] == '"' {
		p.i += n + 1
		return rest[:n]
	}
	var b strings.Builder
	b.WriteString(rest[:n])
	for j := n; j < len(rest); j++ {
		switch c := rest[j]; c {
		case '"':
			p.i += j + 1
			return b.String()
		case '\\':
			j++
			if j == len(rest) {
				p.fail("string without end")
				return ""
			}
			switch rest[j] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(rest[j])
			}
		default:
			b.WriteByte(c)
		}
	}
	p.fail("string without end")
	return ""
}

// list calls item for each item of a list.
func (p *aterm) list(item func()) {
	p.lit("[")
	for n := 0; p.err == nil; n++ {
		if p.peek(']') {
			p.i++
			return
		}
		if n > 0 {
			p.lit(",")
		}
		if p.err == nil {
			item()
		}
	}
}

func (p *aterm) strs() []string {
	var out []string
	p.list(func() { out = append(out, p.str()) })
	return out
}

// children reads the outputs of outputs (dynamic derivations); they are not used.
func (p *aterm) children() {
	if p.depth++; p.depth > 64 {
		p.fail("nested too deeply")
		return
	}
	p.list(func() {
		p.lit("(")
		p.str()
		p.lit(",")
		p.outputsOrTree()
		p.lit(")")
	})
	p.depth--
}

func (p *aterm) outputsOrTree() []string {
	if !p.peek('(') {
		return p.strs()
	}
	p.lit("(")
	out := p.strs()
	p.lit(",")
	p.children()
	p.lit(")")
	return out
}

func (p *aterm) derivation() *Derivation {
	d := &Derivation{Env: map[string]string{}}
	if strings.HasPrefix(p.s, "DrvWithVersion(") {
		p.lit("DrvWithVersion(")
		if v := p.str(); p.err == nil && v != "xp-dyn-drv" {
			p.fail(fmt.Sprintf("unknown version %q", v))
		}
		p.lit(",")
	} else {
		p.lit("Derive(")
	}
	p.list(func() {
		var o Output
		p.lit("(")
		o.Name = p.str()
		p.lit(",")
		o.Path = p.str()
		p.lit(",")
		o.HashAlgo = p.str()
		p.lit(",")
		o.Hash = p.str()
		p.lit(")")
		d.Outputs = append(d.Outputs, o)
	})
	p.lit(",")
	p.list(func() {
		var in InputDrv
		p.lit("(")
		in.Path = p.str()
		p.lit(",")
		in.Outputs = p.outputsOrTree()
		p.lit(")")
		d.InputDrvs = append(d.InputDrvs, in)
	})
	p.lit(",")
	d.InputSrcs = p.strs()
	p.lit(",")
	d.System = p.str()
	p.lit(",")
	d.Builder = p.str()
	p.lit(",")
	d.Args = p.strs()
	p.lit(",")
	p.list(func() {
		p.lit("(")
		k := p.str()
		p.lit(",")
		v := p.str()
		p.lit(")")
		if p.err == nil {
			d.Env[k] = v
		}
	})
	p.lit(")")
	return d
}
