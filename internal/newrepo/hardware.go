package newrepo

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Hardware is what a system must know of the machine to boot there. Its values are data: what
// is written from them is made here, and quoted.
type Hardware struct {
	Platform        string   // such as "x86_64-linux"
	Profiles        []string // of nixpkgs: "profiles/qemu-guest.nix"
	Available       []string // kernel modules that the initrd has
	Initrd          []string // and those that it loads
	Modules         []string // kernel modules that are loaded at boot
	ExtraPackages   []string // of kernel modules, by their names in boot.kernelPackages
	FileSystems     []FileSystem
	Swap            []string          // devices
	Luks            map[string]string // name and device
	Microcode       string            // "intel", "amd" or none
	DHCP            bool              // networking.useDHCP
	Container       bool
	Redistributable bool // firmware
}

// FileSystem is one of fileSystems.
type FileSystem struct {
	At, Device, Type string
	Options          []string
}

// A value of generated Nix: string, bool, []any, set, or ref (a name with dots).
type (
	ref string
	set []assignment
)

type assignment struct {
	path  []string
	value any
}

// tokens of the small part of the Nix language that nixos-generate-config writes. A string
// begins with '"' and has its text behind it.
var tokenOf = regexp.MustCompile(`^(?:\s+|#[^\n]*|/\*(?s:.*?)\*/|"((?:[^"\\$]|\\.|\$(?:[^{"\\]|\\.))*\$?)"|[A-Za-z_][A-Za-z0-9_'-]*|\.\.\.|[{}\[\]()=;.+:,])`)

func tokens(text string) ([]string, error) {
	var out []string
	for text != "" {
		m := tokenOf.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("cannot be read at %.40q", text)
		}
		text = text[len(m[0]):]
		switch c := m[0][0]; {
		case c == '"':
			s := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\t`, "\t", `\r`, "\r", `\$`, "$").Replace(m[1])
			if !printable(s) {
				return nil, fmt.Errorf("a string has letters that it must not have: %.40q", s)
			}
			out = append(out, `"`+s)
		case strings.ContainsRune(" \t\r\n\f\v#/", rune(c)):
		default:
			out = append(out, m[0])
		}
	}
	return out, nil
}

type parser struct {
	rest  []string
	depth int
}

func (p *parser) peek() string {
	if len(p.rest) == 0 {
		return ""
	}
	return p.rest[0]
}

func (p *parser) take(want string) error {
	if p.peek() != want {
		return fmt.Errorf("%q stands where %q is expected", p.peek(), want)
	}
	p.rest = p.rest[1:]
	return nil
}

func (p *parser) next() string {
	t := p.peek()
	if t != "" {
		p.rest = p.rest[1:]
	}
	return t
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_'-]*$`)

// path is a.b."c".
func (p *parser) path() ([]string, error) {
	var out []string
	for {
		t := p.next()
		if s, quoted := strings.CutPrefix(t, `"`); quoted {
			t = s
		} else if !identifier.MatchString(t) {
			return nil, fmt.Errorf("%q is not a name", t)
		}
		out = append(out, t)
		if p.peek() != "." {
			return out, nil
		}
		p.next()
	}
}

func (p *parser) set() (set, error) {
	if err := p.take("{"); err != nil {
		return nil, err
	}
	var out set
	for p.peek() != "}" {
		path, err := p.path()
		if err == nil {
			err = p.take("=")
		}
		if err != nil {
			return nil, err
		}
		v, err := p.value()
		if err == nil {
			err = p.take(";")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(path, "."), err)
		}
		out = append(out, assignment{path, v})
	}
	return out, p.take("}")
}

// value is one value; lib.mkDefault before it makes no difference to what it is.
func (p *parser) value() (any, error) {
	if p.depth++; p.depth > 20 {
		return nil, fmt.Errorf("it is nested too deeply")
	}
	defer func() { p.depth-- }()
	switch t := p.peek(); {
	case t == "{":
		return p.set()
	case t == "[":
		p.next()
		list := []any{}
		for p.peek() != "]" {
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, p.take("]")
	case t == "(": // (modulesPath + "/profiles/x.nix")
		if len(p.rest) < 5 || p.rest[1] != "modulesPath" || p.rest[2] != "+" || p.rest[4] != ")" || !strings.HasPrefix(p.rest[3], `"`) {
			return nil, fmt.Errorf("this is not a path of nixpkgs")
		}
		s := p.rest[3][1:]
		p.rest = p.rest[5:]
		return ref("modulesPath" + s), nil
	case strings.HasPrefix(t, `"`):
		return p.next()[1:], nil
	case t == "true" || t == "false":
		return p.next() == "true", nil
	}
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	if name := strings.Join(path, "."); name != "lib.mkDefault" {
		return ref(name), nil
	}
	return p.value()
}

var (
	platform = regexp.MustCompile(`^[a-z0-9_]{2,20}-linux$`)
	module   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	// Modules of nixpkgs that nixos-generate-config imports.
	profiles = []string{"profiles/qemu-guest.nix", "installer/scan/not-detected.nix"}
)

// generated reads what nixos-generate-config wrote. notes are the options that were left out
// because nothing is known of them.
func generated(text string) (h Hardware, notes []string, err error) {
	all, err := tokens(text)
	if err != nil {
		return h, nil, err
	}
	p := &parser{rest: all}
	if i := slices.Index(all, ":"); i > 0 && all[0] == "{" && all[i-1] == "}" {
		p.rest = all[i+1:]
	}
	top, err := p.set()
	if err == nil && len(p.rest) > 0 {
		err = fmt.Errorf("%q stands behind its end", p.rest[0])
	}
	if err != nil {
		return h, nil, err
	}
	for _, a := range top {
		if !h.assign(a) {
			notes = append(notes, strings.Join(a.path, "."))
		}
	}
	return h, notes, nil
}

// assign takes one option; false: it is none that is known, or its value is not.
func (h *Hardware) assign(a assignment) bool {
	name := strings.Join(a.path, ".")
	texts := func(to *[]string, fits func(string) bool) bool {
		list, ok := a.value.([]any)
		for _, v := range list {
			s, is := v.(string)
			if !is || !fits(s) {
				return false
			}
			*to = append(*to, s)
		}
		return ok
	}
	switch name {
	case "imports":
		list, ok := a.value.([]any)
		for _, v := range list {
			r, _ := v.(ref)
			file := strings.TrimPrefix(string(r), "modulesPath/")
			if !slices.Contains(profiles, file) {
				return false
			}
			h.Profiles = append(h.Profiles, file)
		}
		return ok
	case "boot.initrd.availableKernelModules":
		return texts(&h.Available, module.MatchString)
	case "boot.initrd.kernelModules":
		return texts(&h.Initrd, module.MatchString)
	case "boot.kernelModules":
		return texts(&h.Modules, module.MatchString)
	case "boot.extraModulePackages":
		list, ok := a.value.([]any)
		for _, v := range list {
			r, _ := v.(ref)
			pkg, is := strings.CutPrefix(string(r), "config.boot.kernelPackages.")
			if !is || !module.MatchString(pkg) {
				return false
			}
			h.ExtraPackages = append(h.ExtraPackages, pkg)
		}
		return ok
	case "nixpkgs.hostPlatform":
		s, ok := a.value.(string)
		if ok = ok && platform.MatchString(s); ok {
			h.Platform = s
		}
		return ok
	case "networking.useDHCP":
		b, ok := a.value.(bool)
		h.DHCP = b
		return ok
	case "boot.isContainer":
		b, ok := a.value.(bool)
		h.Container = b
		return ok
	case "hardware.enableRedistributableFirmware":
		b, ok := a.value.(bool)
		h.Redistributable = b
		return ok
	case "hardware.cpu.intel.updateMicrocode", "hardware.cpu.amd.updateMicrocode":
		h.Microcode = a.path[2]
		return true
	case "swapDevices":
		list, ok := a.value.([]any)
		for _, v := range list {
			s, _ := v.(set)
			if len(s) != 1 || strings.Join(s[0].path, ".") != "device" {
				return false
			}
			device, is := s[0].value.(string)
			if !is {
				return false
			}
			h.Swap = append(h.Swap, device)
		}
		return ok
	}
	switch {
	case len(a.path) == 2 && a.path[0] == "fileSystems":
		return h.fileSystem(a)
	case len(a.path) == 6 && strings.HasPrefix(name, "boot.initrd.luks.devices.") && a.path[5] == "device":
		device, ok := a.value.(string)
		if ok {
			if h.Luks == nil {
				h.Luks = map[string]string{}
			}
			h.Luks[a.path[4]] = device
		}
		return ok
	}
	return false
}

func (h *Hardware) fileSystem(a assignment) bool {
	parts, ok := a.value.(set)
	fs := FileSystem{At: a.path[1]}
	for _, p := range parts {
		s, text := p.value.(string)
		switch strings.Join(p.path, ".") {
		case "device":
			fs.Device = s
		case "fsType":
			fs.Type = s
		case "options":
			list, is := p.value.([]any)
			for _, v := range list {
				o, str := v.(string)
				is = is && str
				fs.Options = append(fs.Options, o)
			}
			text = is
		default:
			text = false
		}
		ok = ok && text
	}
	if ok {
		h.FileSystems = append(h.FileSystems, fs)
	}
	return ok
}
