package builder

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
)

// Manager is what `godwit builder …` does with container builders.
type Manager struct {
	Tool     *nix.Tool
	Engines  *Engines
	Settings Settings
	Sink     event.Sink
}

// Status is one container builder.
type Status struct {
	Name      string    `json:"name"`   // of the container
	System    string    `json:"system"` // such as "aarch64-linux"
	Engine    string    `json:"engine"`
	Image     string    `json:"image"`
	Volume    string    `json:"volume"`
	Running   bool      `json:"running"`
	State     string    `json:"state"` // the engine's word
	Since     time.Time `json:"since"` // started
	Emulated  bool      `json:"emulated"`
	Sandbox   string    `json:"sandbox,omitempty"` // "on", "off", "emulated"; "" when not known
	Why       string    `json:"why,omitempty"`     // there is no sandbox
	Nix       string    `json:"nix,omitempty"`
	StoreSize int64     `json:"storeBytes,omitempty"`
	Paths     int       `json:"paths,omitempty"`
	Builds    int       `json:"builds"` // running now
}

// NewManager makes a Manager with engines of its own.
func NewManager(tool *nix.Tool, settings Settings, sink event.Sink) *Manager {
	return &Manager{Tool: tool, Engines: &Engines{}, Settings: settings, Sink: sink}
}

// List gives all container builders of the engine, running or not, by name.
// With details, the running ones are asked for what Status has beyond the
// engine's own knowledge, the size of the store excepted.
func (m *Manager) List(ctx context.Context, details bool) ([]Status, error) {
	eng, err := m.Engines.Find(ctx, m.Settings.Engine)
	if err != nil {
		return nil, err
	}
	out, err := eng.output(ctx, "ps", "--all", "--filter", "label="+labelBuilder, "--format", "{{.Names}}")
	if err != nil {
		return nil, eng.trouble("listing builders", err)
	}
	names := strings.Fields(out)
	sort.Strings(names)
	var all []Status
	for _, n := range slices.Compact(names) {
		s, err := m.inspect(ctx, eng, n)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			continue // went away between the two questions
		}
		if details && s.Running {
			m.ask(ctx, eng, &s, false)
		}
		all = append(all, s)
	}
	return all, nil
}

func (m *Manager) inspect(ctx context.Context, eng *Engine, name string) (Status, error) {
	out, err := eng.output(ctx, "container", "inspect", name)
	if err != nil {
		return Status{}, err
	}
	var cs []struct {
		Name  string
		State struct {
			Status    string
			Running   bool
			StartedAt time.Time
		}
		Config struct{ Labels map[string]string }
	}
	if err := json.Unmarshal([]byte(out), &cs); err != nil || len(cs) == 0 {
		return Status{}, fault.New("%s: cannot understand what it says of %s", eng.Name, name).Because(err)
	}
	l := cs[0].Config.Labels
	return Status{
		Name: strings.TrimPrefix(cs[0].Name, "/"), System: l[labelSystem], Engine: eng.Name, Image: l[labelImage], Volume: l[labelVolume],
		Running: cs[0].State.Running, State: cs[0].State.Status, Since: cs[0].State.StartedAt,
		Emulated: !strings.HasPrefix(l[labelSystem], eng.Arch+"-"),
	}, nil
}

// askScript prints facts, the size of the store in KiB, the number of paths and
// of builds that run. Nix locks the outputs of what it builds: NAME.lock exists
// while a build runs, and is removed after it; /proc/locks would be exact, but is
// the whole machine's. Builders are processes below nix-daemon or nix-store with
// a working directory below a nix-build or /build directory.
const askScript = `cat ` + factsFile + ` 2>/dev/null || echo '{}'
if [ -n "$1" ]; then du -sk /nix/store 2>/dev/null; else echo 0; fi | { read -r n _; echo "${n:-0}"; }
set -- /nix/store/*-*; n=0; for p; do case $p in *.lock|*.drv|*.links) ;; *) n=$((n+1));; esac; done; echo "$n"
b=; for d in /proc/[0-9]*; do
  w=$(readlink "$d/cwd" 2>/dev/null) || continue
  case $w in /build|/build/*) w=$(readlink "$d/ns/mnt");; */nix-build-*.drv-*|*/nix-*-*/build*) w=${w##*/nix-}; w=${w%%/*};; *) continue;; esac
  case " $b " in *" $w "*) ;; *) b="$b $w";; esac
done; set -- $b; echo $#`

// ask fills in what only the container knows. The size of the store takes a
// while when the store is big.
func (m *Manager) ask(ctx context.Context, eng *Engine, s *Status, size bool) {
	with := ""
	if size {
		with = "size"
	}
	out, err := eng.output(ctx, "exec", s.Name, "/bin/sh", "-c", askScript, "sh", with)
	if err != nil {
		return
	}
	lines := strings.Split(out, "\n")
	if len(lines) < 4 {
		return
	}
	var f containerFacts
	if json.Unmarshal([]byte(lines[0]), &f) == nil {
		s.Sandbox, s.Why, s.Nix = f.Sandbox, f.Why, f.Nix
	}
	if n, err := strconv.ParseInt(lines[1], 10, 64); err == nil {
		s.StoreSize = n << 10
	}
	s.Paths, _ = strconv.Atoi(lines[2])
	s.Builds, _ = strconv.Atoi(lines[3])
}

// find gives the builders that a person's word means: a system, an architecture, or
// the name of the container.
func (m *Manager) find(ctx context.Context, which string) ([]Status, *Engine, error) {
	eng, err := m.Engines.Find(ctx, m.Settings.Engine)
	if err != nil {
		return nil, nil, err
	}
	all, err := m.List(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	if which != "" {
		sys := systemOf(which)
		all = slices.DeleteFunc(all, func(s Status) bool { return s.Name != which && s.System != sys })
		if len(all) == 0 {
			e := fault.New("there is no builder %s", which).Hint("see which there are: godwit builder list")
			if platform(sys) != "" {
				e.Hint("make one: godwit builder start %s", which)
			}
			return nil, nil, e
		}
	}
	return all, eng, nil
}

// systemOf is the system that a word means: "aarch64", "arm64", "aarch64-linux".
func systemOf(w string) string {
	arch, rest, _ := strings.Cut(w, "-")
	if rest == "" || rest == "linux" {
		return nixArch(arch) + "-linux"
	}
	return w
}

// Start starts (or makes) the builder for system, "" being that of the engine,
// and waits until it is ready.
func (m *Manager) Start(ctx context.Context, system string) (*Status, error) {
	eng, err := m.Engines.Find(ctx, m.Settings.Engine)
	if err != nil {
		return nil, err
	}
	if system == "" {
		system = eng.Arch
	}
	system = systemOf(system)
	if platform(system) == "" {
		return nil, fault.New("no container builds %s", system).Hint("use aarch64-linux or x86_64-linux")
	}
	c := NewContainer(m.Tool, m.Engines, m.Settings, system).(*container)
	defer c.Close()
	if err := c.Ready(ctx, m.Sink); err != nil {
		return nil, err
	}
	s, err := m.inspect(ctx, eng, c.ctr)
	if err != nil {
		return nil, eng.trouble("looking at "+c.ctr, err)
	}
	m.ask(ctx, eng, &s, false)
	return &s, nil
}

// Stop stops the builders that which means, all of them for "". Their stores stay.
func (m *Manager) Stop(ctx context.Context, which string) ([]Status, error) {
	all, eng, err := m.find(ctx, which)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if !all[i].Running {
			continue
		}
		if _, err := eng.output(ctx, "stop", "--time", "10", all[i].Name); err != nil && !notThere(err) {
			return nil, eng.trouble("stopping "+all[i].Name, err)
		}
		all[i].Running, all[i].State = false, "exited"
	}
	return all, nil
}

// Status is the builder that which means, with details.
func (m *Manager) Status(ctx context.Context, which string) ([]Status, error) {
	all, eng, err := m.find(ctx, which)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Running {
			m.ask(ctx, eng, &all[i], true)
		}
	}
	return all, nil
}

// Remove removes the builders that which means, and their stores.
func (m *Manager) Remove(ctx context.Context, which string) ([]Status, error) {
	all, eng, err := m.find(ctx, which)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if _, err := eng.output(ctx, "rm", "--force", s.Name); err != nil && !notThere(err) {
			return nil, eng.trouble("removing "+s.Name, err)
		}
		if s.Volume == "" {
			continue
		}
		if _, err := eng.output(ctx, "volume", "rm", s.Volume); err != nil && !notThere(err) {
			if strings.Contains(err.Error(), "in use") {
				continue // another builder of the same image has it
			}
			return nil, eng.trouble("removing the store "+s.Volume, err)
		}
	}
	return all, nil
}

// Shell gives a shell (or runs argv) in the builder for which, starting it when
// needed. It takes over the terminal. The error of a command that failed is an
// *exec.ExitError.
func (m *Manager) Shell(ctx context.Context, which string, argv []string) error {
	eng, err := m.Engines.Find(ctx, m.Settings.Engine)
	if err != nil {
		return err
	}
	name := ""
	if all, _, err := m.find(ctx, which); err == nil {
		for _, s := range all {
			if s.Running {
				name = s.Name
				break
			}
		}
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	if name == "" {
		s, err := m.Start(ctx, which)
		if err != nil {
			return err
		}
		name = s.Name
	}
	args := []string{"exec", "--interactive"}
	if term.IsTerminal(int(os.Stdin.Fd())) { // /dev/null is a character device, too
		args = append(args, "--tty")
	}
	args = append(args, name)
	if len(argv) == 0 {
		argv = []string{"/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"}
	}
	cmd := exec.CommandContext(ctx, eng.Program, append(args, argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return err
		}
		return fault.New("%s: %s", eng.Name, err).Because(err)
	}
	return nil
}
