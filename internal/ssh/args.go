package ssh

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/awake"
	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/programs"
	"godwit/internal/shell"
)

// OptionsFromEnv reads the environment variables that morph and Nix know
// (SSH_IDENTITY_FILE, SSH_USER, SSH_CONFIG_FILE, SSH_SKIP_HOST_KEY_CHECK,
// NIX_SSHOPTS) and GODWIT_SSHOPTS, whose options come before NIX_SSHOPTS.
func OptionsFromEnv(getenv func(string) string) (Options, error) {
	o := Options{
		ConfigFile:       getenv("SSH_CONFIG_FILE"),
		IdentityFile:     getenv("SSH_IDENTITY_FILE"),
		User:             getenv("SSH_USER"),
		SkipHostKeyCheck: getenv("SSH_SKIP_HOST_KEY_CHECK") != "",
	}
	for _, name := range []string{"GODWIT_SSHOPTS", "NIX_SSHOPTS"} {
		words, err := shell.Split(getenv(name))
		if err != nil {
			return o, fault.New("%s: %w", name, err).Hint("quote as in a shell: %s='-o ProxyJump=bastion -i \"/path/with blanks\"'", name)
		}
		if _, err := ownArgs(words); err != nil {
			return o, fault.New("%s: %w", name, err)
		}
		o.ExtraArgs = append(o.ExtraArgs, words...)
	}
	return o, nil
}

// flagsWithValue are ssh's options that take a value.
const flagsWithValue = "BbcDEeFIiJLlmOoPpQRSWw"

// flagsOfOurs are ssh's options that decide what the connection is for. They
// make no sense beside ours, so they are left out.
const flagsOfOurs = "MSfNnTtOQWVGsgLRDwqyEAXYe"

// ownArgs drops from args what would take a connection out of our hands.
func ownArgs(args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' || a == "--" {
			return nil, fault.New("%q is not an option of ssh", a)
		}
		keep := "-"
		for j := 1; j < len(a); j++ {
			c := a[j]
			drop := strings.IndexByte(flagsOfOurs, c) >= 0
			if strings.IndexByte(flagsWithValue, c) < 0 {
				if !drop {
					keep += string(c)
				}
				continue
			}
			value := a[j+1:]
			if value == "" {
				if i++; i == len(args) {
					return nil, fault.New("ssh's option -%c needs a value", c)
				}
				value = args[i]
			}
			if !drop {
				if keep != "-" {
					out = append(out, keep)
				}
				out = append(out, "-"+string(c), value)
			}
			keep = "-"
			break
		}
		if keep != "-" {
			out = append(out, keep)
		}
	}
	return out, nil
}

// option is the first value of an option of ssh_config in args; empty for none.
func option(args []string, name string) string {
	for i := 0; i+1 < len(args); i++ {
		if args[i] != "-o" {
			continue
		}
		key, value, ok := strings.Cut(args[i+1], "=")
		if !ok {
			key, value, _ = strings.Cut(strings.TrimSpace(args[i+1]), " ")
		}
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// onlyConfig gives the one configuration file that ssh would take, the last -F, and
// args without any.
func onlyConfig(file string, args []string) (string, []string) {
	var rest []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-F" && i+1 < len(args) {
			i++
			file = args[i]
			continue
		}
		rest = append(rest, args[i])
	}
	return file, rest
}

// transport are the options that say how to reach and trust the host: all that
// another program's ssh (Nix's) needs too.
func (h *Host) transport(to address) []string {
	o := h.pool.opts
	var a []string
	if o.ConfigFile != "" {
		a = append(a, "-F", o.ConfigFile)
	}
	if to.user != "" {
		a = append(a, "-l", to.user)
	}
	if to.port != 0 {
		a = append(a, "-p", strconv.Itoa(to.port))
	}
	if o.IdentityFile != "" {
		a = append(a, "-i", o.IdentityFile)
	}
	if o.SkipHostKeyCheck {
		a = append(a, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
	}
	a = append(a, "-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes", "-o", "ForwardAgent="+yesNo(h.target.forwards), "-o", "ForwardX11=no")
	extra := h.extra() // of two values ssh takes the first
	a = append(a, extra...)
	if option(extra, "ConnectTimeout") == "" {
		// Rounded up: 0 would mean for ever.
		timeout := int((h.connectTimeout() + time.Second - 1) / time.Second)
		a = append(a, "-o", "ConnectTimeout="+strconv.Itoa(timeout))
	}
	return append(a,
		"-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
}

// extra are the arguments that a person or the configuration gives: those of all hosts
// first, then the host's own.
func (h *Host) extra() []string {
	own, _ := ownArgs(h.target.Options.List()) // check has refused what is none
	return slices.Concat(h.pool.opts.ExtraArgs, own)
}

// connectTimeout bounds the TCP connection and the exchange of keys. Where there is
// another address to try, nobody waits long for one.
func (h *Host) connectTimeout() time.Duration {
	if o := h.pool.opts; len(h.addresses) > 1 && !o.timeoutGiven {
		return min(o.ConnectTimeout, 5*time.Second)
	}
	return h.pool.opts.ConnectTimeout
}

// guards are what every ssh of ours begins with: whatever a configuration says, it
// forwards nothing, runs nothing of its own, and has a session with its streams.
var guards = []string{
	"-T", "-a", "-x",
	"-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes", "-o", "ForwardAgent=no", "-o", "ForwardX11=no",
	"-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none", "-o", "ControlPersist=no",
	"-o", "LogLevel=INFO", "-o", "EscapeChar=none", "-o", "VisualHostKey=no",
}

// guards87 are those that came with OpenSSH 8.7; older ones take them for mistakes.
var guards87 = []string{"-o", "SessionType=default", "-o", "StdinNull=no", "-o", "ForkAfterAuthentication=no"}

var versions sync.Map // program -> func() bool: OpenSSH 8.7 or later

var opensshVersion = regexp.MustCompile(`OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)`)

// Guards are the first arguments of each ssh process. Of an option ssh takes the first
// value that it sees.
func Guards(program string) []string {
	a := slices.Clone(guards)
	if modern(program) {
		a = append(a, guards87...)
	}
	return a
}

// modern tells whether a program is OpenSSH 8.7 or later.
func modern(program string) bool {
	is, _ := versions.LoadOrStore(program, sync.OnceValue(func() bool {
		ctx, cancel := awake.WithTimeout(context.Background(), 30*time.Second) // a busy machine must not count as an old ssh
		defer cancel()
		said, _ := programs.Said(program, "version", func() (string, error) {
			c := exec.CommandContext(ctx, program, "-V")
			stderr := bounded.NewTail(1 << 10)
			c.Stderr = stderr
			err := c.Run()
			return stderr.String(), err
		})
		m := opensshVersion.FindStringSubmatch(said)
		if m == nil {
			return false
		}
		major, _ := strconv.Atoi(m[1])
		minor, _ := strconv.Atoi(m[2])
		return major > 8 || major == 8 && minor >= 7
	}))
	return is.(func() bool)()
}

// NixArgs are the words of NIX_SSHOPTS without those that would take a connection out
// of our hands.
func NixArgs(getenv func(string) string) ([]string, error) {
	words, err := shell.Split(getenv("NIX_SSHOPTS"))
	if err != nil {
		return nil, fault.New("NIX_SSHOPTS: %w", err)
	}
	return ownArgs(words)
}

// args are the arguments of one of our own ssh processes. An empty socket means
// a connection of its own.
func (h *Host) args(socket string, master bool, command string) []string {
	// What must hold comes first, because ssh takes the first value it sees;
	// -S comes last, because there it takes the last.
	a := Guards(h.pool.opts.Program)
	if h.target.forwards {
		a = forwardingAgent(a)
	}
	if master {
		a = append(a, "-o", "ControlMaster=yes")
	} else {
		a = append(a, "-o", "ControlMaster=no")
	}
	to := h.current()
	a = append(a, h.vouching()...)
	a = append(a, h.transport(to)...)
	if socket == "" {
		socket = "none"
	}
	return append(a, "-S", socket, "--", to.host, command)
}

// NixSSHOpts is the value of NIX_SSHOPTS for Nix's own programs (nix copy,
// ssh-ng builders) when they connect to the host: the user's options, extended
// by ours. Such programs make a connection of their own. The words are quoted
// where they must be, which Nix reads since 2.26; older versions split at
// blanks.
func (h *Host) NixSSHOpts() string {
	// Not PermitLocalCommand=no: Nix waits for what its LocalCommand prints.
	a := append([]string{"-o", "ControlMaster=no", "-o", "ControlPath=none"}, h.transport(h.current())...)
	words := make([]string, len(a))
	for i, w := range a {
		words[i] = shell.Word(w)
	}
	return strings.Join(words, " ")
}

// CommandLine is a command that a person can type to connect in the same way.
func (h *Host) CommandLine(flags ...string) string { return shell.Join(h.Words(flags...)) }

// Words are the words of CommandLine.
func (h *Host) Words(flags ...string) []string { return h.words(slices.Concat(flags, h.vouching())) }

func (h *Host) words(flags []string) []string {
	o := h.pool.opts
	a := append([]string{"ssh"}, flags...)
	if o.ConfigFile != "" {
		a = append(a, "-F", o.ConfigFile)
	}
	to := h.current()
	if to.port != 0 {
		a = append(a, "-p", strconv.Itoa(to.port))
	}
	if o.IdentityFile != "" {
		a = append(a, "-i", o.IdentityFile)
	}
	if o.SkipHostKeyCheck {
		a = append(a, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
	}
	a = append(a, h.extra()...)
	dest := to.host
	if to.user != "" {
		dest = to.user + "@" + dest
	}
	return append(a, "--", dest)
}

// Remote is a command as it is typed behind "ssh HOST": ssh joins what it is given by
// blanks, for a shell on the host.
func Remote(words ...string) string {
	line := shell.Join(words)
	if line == strings.Join(words, " ") {
		return line
	}
	return shell.Word(line)
}

// Typed is CommandLine with a command behind it, whose words arrive as they are.
func (h *Host) Typed(flags []string, words ...string) fault.Raw {
	return fault.Raw(h.CommandLine(flags...) + " " + Remote(words...))
}
