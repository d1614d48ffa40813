// Package doctor looks ahead: what on this machine and on hosts would stop or hinder a deploy,
// with a remedy for each. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/bounded"
	"godwit/internal/builder"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/nix"
	"godwit/internal/paths"
	"godwit/internal/reboot"
	"godwit/internal/ui/text"
)

// Level is how bad a finding is.
type Level string

// Levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // some deploys will not work, or not as well
	Fail Level = "fail" // no deploy will work
)

// Finding is one thing that was looked at.
type Finding struct {
	Host  string `json:"host,omitempty"` // empty: this machine
	Check string `json:"check"`          // nix, nix-settings, ssh, ssh-agent, engine, emulation, disk, login, root, systemd, launchd, space, boot-loader, clock, lock, pending, units
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Remedies are what to do, each can be typed or done as it stands.
	Remedies []string `json:"remedies,omitempty"`
}

// Checkup is everything that was looked at. Its JSON form is what `godwit doctor --json` prints.
type Checkup struct {
	OK       bool      `json:"ok"` // nothing failed
	Findings []Finding `json:"findings"`
}

// Add adds findings.
func (c *Checkup) Add(list ...Finding) {
	c.Findings = append(c.Findings, list...)
	c.OK = !slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Level == Fail })
}

// limit bounds each question to a program of this machine.
const limit = 20 * time.Second

// Here looks at this machine.
func Here(ctx context.Context, getenv func(string) string, engine string) []Finding {
	var out []Finding
	tool, err := nix.Find(ctx, nix.Settings{})
	if err != nil {
		out = append(out, failed("nix", err))
	} else {
		out = append(out, Finding{Check: "nix", Level: OK, Text: tool.Version.String()})
		out = append(out, nixSettings(ctx, tool)...)
	}
	out = append(out, sshClient(ctx), agent(ctx, getenv))
	out = append(out, engines(ctx, engine)...)
	return append(out, room()...)
}

func failed(check string, err error) Finding {
	return Finding{Check: check, Level: Fail, Text: event.Message(err), Remedies: fault.Hints(err)}
}

// nixSettings are the settings that decide whether this machine can build.
func nixSettings(ctx context.Context, tool *nix.Tool) []Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conf, err := tool.Config(ctx)
	if err != nil {
		return []Finding{failed("nix-settings", err)}
	}
	f := Finding{Check: "nix-settings", Level: OK, Text: fmt.Sprintf("builds for %s", strings.Join(append([]string{conf.System}, conf.ExtraPlatforms...), ", "))}
	switch {
	case conf.MaxJobs == 0:
		f.Level, f.Text = Warn, "max-jobs is 0, so this machine builds nothing itself"
		f.Remedies = []string{"--option max-jobs auto builds here for once; or name a builder with --builder"}
	case len(conf.Substituters) == 0:
		f.Level, f.Text = Warn, "there are no substituters, so everything is built"
		f.Remedies = []string{"set substituters in nix.conf"}
	case !strings.Contains(features(conf), "flakes"):
		f.Text += "; flakes are off in nix.conf, and godwit turns them on for itself"
	}
	return []Finding{f}
}

func features(conf *nix.Config) string {
	s, _ := conf.Get("experimental-features")
	return s
}

func sshClient(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	program, err := exec.LookPath("ssh")
	if err != nil {
		return Finding{Check: "ssh", Level: Fail, Text: "there is no ssh on PATH", Remedies: []string{"install OpenSSH's client"}}
	}
	cmd := exec.CommandContext(ctx, program, "-V")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil || said.Len() > 1000 {
		return Finding{Check: "ssh", Level: Fail, Text: "ssh -V fails", Remedies: []string{"ssh -V"}}
	}
	return Finding{Check: "ssh", Level: OK, Text: text.Clean(strings.TrimSpace(said.String()))}
}

// agent tells which keys ssh can offer.
func agent(ctx context.Context, getenv func(string) string) Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	files := 0
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"} {
			if st, err := os.Stat(filepath.Join(home, ".ssh", name)); err == nil && st.Mode().IsRegular() {
				files++
			}
		}
	}
	own := text.Count(files, "key file")
	if id := getenv("SSH_IDENTITY_FILE"); id != "" {
		own, files = "SSH_IDENTITY_FILE", 1
	}
	if getenv("SSH_AUTH_SOCK") == "" {
		if files == 0 {
			return Finding{Check: "ssh-agent", Level: Warn, Text: "there is neither an ssh-agent nor a key in ~/.ssh", Remedies: []string{"ssh-keygen -t ed25519 makes a key", "eval \"$(ssh-agent -s)\" && ssh-add"}}
		}
		return Finding{Check: "ssh-agent", Level: OK, Text: "no agent; " + own}
	}
	out, err := bounded.Output(exec.CommandContext(ctx, "ssh-add", "-l"), "ssh-add", 64<<10)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Finding{Check: "ssh-agent", Level: OK, Text: "the agent has " + text.Count(strings.Count(string(out), "\n"), "key")}
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		f := Finding{Check: "ssh-agent", Level: OK, Text: "the agent has no keys; " + own}
		if files == 0 {
			f.Level, f.Remedies = Warn, []string{"ssh-add"}
		}
		return f
	}
	return Finding{Check: "ssh-agent", Level: Warn, Text: "the agent that SSH_AUTH_SOCK names does not answer; " + own, Remedies: []string{"eval \"$(ssh-agent -s)\" && ssh-add"}}
}

// engines tells whether a builder can be started for what this machine cannot build.
func engines(ctx context.Context, want string) []Finding {
	facts := new(builder.Engines).Facts(ctx, want)
	if !facts.Usable {
		var lines []string
		for _, l := range facts.Lines {
			lines = append(lines, l[0]+": "+l[1])
		}
		return []Finding{{Check: "engine", Level: Warn, Text: text.Clean("no container engine, so no builder can be started here (" + strings.Join(lines, "; ") + ")"), Remedies: facts.Hints}}
	}
	out := []Finding{{Check: "engine", Level: OK, Text: facts.Name + " answers"}}
	other := map[string]string{"amd64": "aarch64", "arm64": "x86_64"}[runtime.GOARCH]
	if runtime.GOOS != "linux" || other == "" {
		return out
	}
	if _, err := os.Stat("/proc/sys/fs/binfmt_misc/qemu-" + other); err == nil {
		return append(out, Finding{Check: "emulation", Level: OK, Text: "programs for " + other + " run under emulation"})
	}
	return append(out, Finding{Check: "emulation", Level: OK, Text: "programs for " + other + " do not run here; godwit sets emulation up in the engine when a host needs it"})
}

// Room below which a deploy is likely to fail, in bytes.
const (
	littleStore = 2 << 30
	littleState = 100 << 20
)

// room looks at the folders that a deploy writes to.
func room() []Finding {
	state, err := paths.State()
	if err != nil {
		return []Finding{failed("disk", err)}
	}
	var out []Finding
	for _, d := range []struct {
		dir  string
		need int64
	}{{"/nix", littleStore}, {state, littleState}, {os.TempDir(), littleState}} {
		free, err := freeIn(d.dir)
		if err != nil {
			continue // it will be made
		}
		f := Finding{Check: "disk", Level: OK, Text: text.Size(free) + " free in " + d.dir}
		if free < d.need {
			f.Level, f.Text = Warn, f.Text+", which is less than "+text.Size(d.need)
			f.Remedies = []string{"nix-collect-garbage -d, if old generations of this machine may go"}
		}
		out = append(out, f)
	}
	return out
}

// clockOff is by how much the clock of a host may differ from this machine's: certificates and
// the order of the history depend on it.
const clockOff = 30 * time.Second

// Ask asks a host, and judges what it says. One whose system tells nothing of the machine is
// asked for its profiles alone.
func Ask(ctx context.Context, conn host.Conn, h fleet.Host) []Finding {
	asked := time.Now()
	var facts hoststate.Facts
	var err error
	reports := hoststate.Reports(h)
	if reports {
		facts, err = hoststate.Look(ctx, conn, h)
	} else if facts, err = hoststate.LookProfiles(ctx, conn, h.Name, activate.Known(h)); err == nil {
		facts.Clock = clock(ctx, conn)
	}
	if err != nil {
		return []Finding{NoAnswer(h.Name, err)}
	}
	asked = asked.Add(time.Since(asked) / 2)
	if !reports {
		return Host(h, facts, asked, nil, nil)
	}
	loader, err := reboot.Probe(ctx, conn, h.Name)
	return Host(h, facts, asked, &loader, err)
}

// clock is that of a host; the zero time where it does not say.
func clock(ctx context.Context, conn host.Conn) time.Time {
	out, err := conn.Output(ctx, host.Cmd{Script: "date +%s", Name: "the clock"})
	n, perr := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil || perr != nil {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// Host judges what a host says of itself. asked is when, by this machine's clock; loader is what
// reboot.Probe found, with its error, and nil for a host that runs no NixOS.
func Host(h fleet.Host, f hoststate.Facts, asked time.Time, loader *reboot.Loader, loaderErr error) []Finding {
	name := h.Name
	var out []Finding
	add := func(check string, level Level, said string, remedies ...string) {
		out = append(out, Finding{Host: name, Check: check, Level: level, Text: text.Clean(said), Remedies: remedies})
	}
	add("login", OK, "answers")
	switch {
	case f.Root:
		add("root", OK, "becomes root without a question")
	case f.AsUser:
		add("root", OK, "needs no root: all of its profiles are the login user's own")
	default:
		add("root", Fail, "the login user cannot become root", "godwit sudoers prints the lines for /etc/sudoers; or log in as root with --user root")
	}
	manager, said := "systemd", fmt.Sprintf("systemd %d answers", f.Systemd)
	if f.Launchd {
		manager, said = "launchd", "launchd runs the guard"
	}
	if ok, why := f.CanGuard(); ok {
		add(manager, OK, said+", so the guard can take the host back")
	} else {
		remedies := []string{"--no-guard activates without it"}
		if f.AsUser && !f.Linger {
			remedies = append([]string{fault.Hint("godwit ssh %s loginctl enable-linger", name)}, remedies...)
		}
		add(manager, Warn, "the guard does not work there: "+why, remedies...)
	}
	for _, folder := range []string{"/nix", "/boot", "/run"} {
		r, ok := f.Free[folder]
		if !ok {
			continue
		}
		level, said := OK, text.Size(r.Bytes)+" free in "+folder
		need := map[string]int64{"/nix": 1 << 30, "/boot": 64 << 20, "/run": 16 << 20}[folder]
		if r.Inodes >= 0 {
			said += fmt.Sprintf(", %d inodes", r.Inodes)
		}
		var remedies []string
		if r.Bytes < need || r.Inodes >= 0 && r.Inodes < 2000 {
			level, remedies = Warn, []string{fault.Hint("godwit gc %s --keep 3", name)}
		}
		add("space", level, said, remedies...)
	}
	switch {
	case loader == nil && loaderErr == nil: // what it boots is not godwit's
	case loaderErr != nil:
		add("boot-loader", Warn, event.Message(loaderErr), fault.Hints(loaderErr)...)
	case loader.Once():
		add("boot-loader", OK, loader.Kind+" can boot a system once (--reboot)")
	default:
		add("boot-loader", Warn, "cannot boot a system once: "+loader.Why, "deploy --reboot needs --accept-risk=no-oneshot there")
	}
	if !f.Clock.IsZero() {
		if off := f.Clock.Sub(asked).Abs(); off > clockOff {
			remedy := "timedatectl set-ntp true on the host"
			if f.Launchd {
				remedy = "sudo systemsetup -setusingnetworktime on on the host"
			}
			add("clock", Warn, fmt.Sprintf("its clock is %s off", off.Round(time.Second)), remedy)
		} else {
			add("clock", OK, "its clock agrees")
		}
	}
	if f.Lock != nil {
		add("lock", Warn, "locked by "+f.Lock.String(), fault.Hint("godwit unlock %s", name))
	}
	switch {
	case f.Pending != "":
		add("pending", Warn, "a deployment waits for its confirmation ("+f.Pending+")", fault.Hint("godwit confirm %s", name), fault.Hint("godwit rollback --pending %s", name))
	case f.Interrupted != "":
		add("pending", Warn, "a power cut interrupted a deployment ("+f.Interrupted+"); the next deploy repairs what it left")
	}
	if n := len(f.FailedUnits); n > 0 {
		add("units", Warn, "failed: "+strings.Join(f.FailedUnits[:min(n, 6)], ", "), fault.Hint("godwit ssh %s systemctl --failed", name))
	}
	return out
}

// NoAnswer is the finding of a host that could not be asked.
func NoAnswer(name string, err error) Finding {
	f := failed("login", err)
	f.Host = name
	return f
}
