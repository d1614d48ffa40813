package newrepo

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/convert"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/shell"
)

//go:embed files
var templates embed.FS

// The release of NixOS that a new repository begins with where no host says another one.
const newest = "25.11"

// reserved are names of a plain deployment file that are no hosts.
var reserved = []string{"network", "defaults", "require", "resources"}

// Form is the form of a repository.
type Form string

// The forms of a repository: a flake, or a plain deployment file.
const (
	Flake Form = "flake"
	Plain Form = "plain"
)

// Choose is the form that a person chooses; ask is nil where nobody is there. The form that
// needs no choice is a flake where Nix has flakes on.
func Choose(ctx context.Context, flakes bool, ask func(context.Context, string) (string, error)) (Form, error) {
	form := Plain
	if flakes {
		form = Flake
	}
	if ask == nil {
		return form, nil
	}
	answer, err := ask(ctx, fmt.Sprintf("write a flake or a plain deployment file? [flake/plain, default %s] ", form))
	if err != nil {
		return "", err
	}
	switch answer = strings.ToLower(strings.TrimSpace(answer)); {
	case answer == "":
	case strings.HasPrefix(string(Flake), answer):
		form = Flake
	case strings.HasPrefix(string(Plain), answer):
		form = Plain
	default:
		return "", fault.New("%q is neither flake nor plain", answer).Hint("or say it with --flake or --plain")
	}
	return form, nil
}

// Make writes a repository into a directory, or only says what it would write. paths are its
// files, and lines are for the person: what to look at, and what to type next.
func Make(dir string, o Options, dry bool) (paths, lines []string, err error) {
	files, notes, err := Files(o)
	if err == nil && !dry {
		err = Write(dir, files)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, name := range Names(files) {
		paths = append(paths, filepath.Join(dir, name))
	}
	for _, n := range notes {
		lines = append(lines, "note: "+n)
	}
	if dry {
		return paths, append(lines, "nothing was written (--dry-run)"), nil
	}
	return paths, append(lines, next(dir, o)...), nil
}

// Options are what a repository is made of.
type Options struct {
	// Form is what is written.
	Form Form
	// Hosts are machines that run; none: an example is written.
	Hosts []*Facts
}

// Files are the repository, by their paths in it. notes are for the person.
func Files(o Options) (files map[string]string, notes []string, err error) {
	files = map[string]string{}
	branch, note := branchOf(o.Hosts)
	if note != "" {
		notes = append(notes, note)
	}
	// A branch moves: a plain file names what the hosts run, so that the first plan updates nothing.
	tarball := branch
	if r := revisionOf(o.Hosts); r != "" {
		tarball = r
	}
	dirs := []string{"both", "plain", "example"}
	if o.Form == Flake {
		dirs[1] = "flake"
	}
	if len(o.Hosts) > 0 {
		dirs = dirs[:2]
	}
	for _, dir := range dirs {
		err := fs.WalkDir(templates, "files/"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := templates.ReadFile(path)
			name := strings.TrimPrefix(path, "files/"+dir+"/")
			if name == "gitignore" {
				name = ".gitignore"
			}
			files[name] = strings.NewReplacer("@BRANCH@", branch, "@NIXPKGS@", tarball, "@RELEASE@", newest).Replace(string(text))
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	var known strings.Builder
	for _, f := range o.Hosts {
		if _, twice := files["hosts/"+f.Name+".nix"]; twice {
			return nil, nil, fault.New("two hosts have the name '%s'", f.Name).Hint("give one of them another networking.hostName first")
		}
		if o.Form != Flake && slices.Contains(reserved, f.Name) {
			return nil, nil, fault.New("no host of a plain deployment file can be called '%s'", f.Name).Hint("--flake writes a flake, where it can")
		}
		user := "users/" + f.At.User + ".nix"
		if text, there := files[user]; there && text != f.user() {
			user = "users/" + f.At.User + "-" + f.Name + ".nix"
		}
		files[user] = f.user()
		files["hosts/"+f.Name+".nix"] = f.host("../" + user)
		files["hardware/"+f.Name+".nix"] = f.Hardware.Nix()
		for _, k := range f.HostKeys {
			where := f.At.Host
			if f.At.Port != 0 {
				where = fmt.Sprintf("[%s]:%d", where, f.At.Port)
			}
			known.WriteString(where + " " + k + "\n")
		}
		for _, n := range f.Notes {
			notes = append(notes, f.Name+": "+n)
		}
	}
	if known.Len() > 0 {
		files["known_hosts"] = "# Keys of the hosts, as they were read. For your ssh: cat known_hosts >> ~/.ssh/known_hosts\n" + known.String()
	}
	return files, notes, nil
}

// branchOf is the branch of nixpkgs that hosts run. Where they run several, it is the newest.
func branchOf(hosts []*Facts) (branch, note string) {
	var all []string
	for _, f := range hosts {
		b := ""
		switch {
		case strings.Contains(f.Version, "pre"):
			b = "nixos-unstable"
		case len(f.Version) >= 5 && release.MatchString(f.Version[:5]):
			b = "nixos-" + f.Version[:5]
		}
		if b != "" && !slices.Contains(all, b) {
			all = append(all, b)
		}
	}
	slices.Sort(all)
	switch len(all) {
	case 0:
		return "nixos-" + newest, ""
	case 1:
		return all[0], ""
	}
	b := all[len(all)-1]
	return b, fmt.Sprintf("the hosts run %s: the repository takes %s, which updates the others", strings.Join(all, ", "), b)
}

// revisionOf is the revision of nixpkgs that all hosts run; empty: unknown, or several.
func revisionOf(hosts []*Facts) string {
	r := ""
	for _, f := range hosts {
		if f.Revision == "" || r != "" && f.Revision != r {
			return ""
		}
		r = f.Revision
	}
	return r
}

// host is hosts/NAME.nix.
func (f *Facts) host(user string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Read from the running host by `godwit init --from`.")
	if f.Version != "" {
		line("# It ran NixOS %s%s.", f.Version, cond(f.Revision != "", ", nixpkgs "+f.Revision, ""))
	}
	line("{")
	line("  imports = [ ../hardware/%s.nix %s ];\n", f.Name, user)
	line("  networking.hostName = %s;\n", nix.Quote(f.Name))
	line("  # How godwit reaches it. Tags are what --on @NAME and --tagged select.")
	line("  deployment.targetHost = %s;", nix.Quote(f.At.String()))
	line("  deployment.tags = [ ];\n")
	switch { // godwit becomes root as this user: it must not lose that
	case f.At.User == "root" || !f.Sudo:
	case f.Wheel:
		line("  security.sudo.wheelNeedsPassword = false;\n")
	default:
		line("  security.sudo.extraRules = [ { users = [ %s ]; commands = [ { command = \"ALL\"; options = [ \"NOPASSWD\" ]; } ]; } ];\n", nix.Quote(f.At.User))
	}
	l := f.Loader
	switch l.Kind {
	case "grub":
		line("  # The boot loader that it has.")
		line("  boot.loader.grub.enable = true;")
		if len(l.Devices) > 0 {
			line("  boot.loader.grub.devices = %s;", quoted(l.Devices))
		}
		if l.EFI && slices.Equal(l.Devices, []string{"nodev"}) {
			line("  boot.loader.grub.efiSupport = true;")
			if l.AsRemovable {
				line("  boot.loader.grub.efiInstallAsRemovable = true;")
			}
			line("  boot.loader.efi.canTouchEfiVariables = %v;", l.Variables && !l.AsRemovable)
		}
	case "systemd-boot":
		line("  # The boot loader that it has. Whether it may change EFI variables is guessed.")
		line("  boot.loader.systemd-boot.enable = true;")
		line("  boot.loader.efi.canTouchEfiVariables = %v;", l.Variables)
	case "extlinux":
		line("  # The boot loader that it has.")
		line("  boot.loader.grub.enable = false;")
		line("  boot.loader.generic-extlinux-compatible.enable = true;")
	case "":
		line("  # Its boot loader is not known. NixOS refuses a host without one: write it here.")
	}
	if l.EFI && l.MountPoint != "" && l.MountPoint != "/boot" && l.Kind != "extlinux" {
		line("  boot.loader.efi.efiSysMountPoint = %s;", nix.Quote(l.MountPoint))
	}
	line("\n  # The release that the machine was installed with. Never change it afterwards.")
	if f.State != "" {
		line("  system.stateVersion = %s;", nix.Quote(f.State))
	} else {
		line("  system.stateVersion = throw \"write system.stateVersion into hosts/%s.nix, as the host's own configuration has it\";", f.Name)
	}
	line("}")
	return b.String()
}

// user is the file of who logs in.
func (f *Facts) user() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Who logs in as %s.\n{\n  users.users.%s = {\n", f.At.User, nix.Quote(f.At.User))
	if f.At.User != "root" {
		b.WriteString("    isNormalUser = true;\n")
		if f.Wheel {
			b.WriteString("    extraGroups = [ \"wheel\" ];\n")
		}
	}
	b.WriteString("    openssh.authorizedKeys.keys = [\n")
	for _, k := range f.Login {
		b.WriteString("      " + nix.Quote(k) + "\n")
	}
	b.WriteString("    ];\n  };\n}\n")
	return b.String()
}

func cond(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// Write writes files into a directory, which it makes. Where one of them is there already
// nothing is written.
func Write(dir string, files map[string]string) error {
	for _, name := range Names(files) {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fault.New("'%s' is there already", filepath.Join(dir, name)).Hint("init overwrites nothing: name an empty directory, as in godwit init fleet")
		}
	}
	for _, name := range Names(files) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fault.New("cannot make '%s': %w", filepath.Dir(path), fault.Reason(err)).Because(err)
		}
		if err := convert.WriteNew(path, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// Names are the paths of files, in their order.
func Names(files map[string]string) []string {
	var out []string
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// next are the lines that tell a person what to type when it is written.
func next(dir string, o Options) []string {
	var out []string
	if o.Form == Flake {
		out = append(out, "in a git repository Nix reads only what git knows: git -C "+shell.Word(dir)+" add -A")
	}
	first := "next:"
	if dir != "." {
		first = "next: cd " + shell.Word(dir) + ", then"
	}
	out = append(out, first)
	if r := revisionOf(o.Hosts); o.Form == Flake && r != "" {
		out = append(out, "  nix flake lock --override-input nixpkgs github:NixOS/nixpkgs/"+r+"   # exactly what runs; without this line the first plan is an update as well")
	}
	return append(out, "  godwit hosts   # what is in it", "  godwit plan    # what a deploy would change")
}
