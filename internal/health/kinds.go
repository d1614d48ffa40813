package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ui/text"
)

func tryTCP(ctx context.Context, addr string) string {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return text.OneLine(err.Error())
	}
	conn.Close()
	return ""
}

// unitScript wants $1 to be active, or says in a line what it is instead.
const unitScript = `PATH=$PATH:/run/current-system/sw/bin:/usr/bin:/bin
! systemctl is-active --quiet -- "$1" || exit 0
systemctl show --property=LoadState,ActiveState,SubState,Result -- "$1"
exit 3
`

func tryUnit(ctx context.Context, r host.Conn, unit string) (string, bool) {
	out := &tailBuffer{}
	err := r.Run(ctx, host.Cmd{Script: unitScript, Args: []string{unit}, Stdout: out, Stderr: out, KillOnCancel: true})
	if err == nil {
		return "", false
	}
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		return unreached(err)
	}
	is := map[string]string{}
	said := out.String()
	for _, word := range strings.Fields(said) {
		k, v, _ := strings.Cut(word, "=")
		is[k] = v
	}
	switch {
	case is["ActiveState"] == "":
		return "output: " + said, false
	case is["LoadState"] == "not-found":
		return "the host has no " + unit, false
	}
	words := is["ActiveState"]
	if sub := is["SubState"]; sub != "" && sub != words {
		words += " (" + sub + ")"
	}
	if res := is["Result"]; res != "" && res != "success" {
		words += ", result " + res
	}
	return "it is " + words, false
}

const failedScript = `PATH=$PATH:/run/current-system/sw/bin:/usr/bin:/bin
exec systemctl list-units --state=failed --plain --no-legend --no-pager
`

// FailedUnits are the units of a host that have failed: the baseline that
// Options.Failed wants.
func FailedUnits(ctx context.Context, r host.Conn) ([]string, error) {
	var out strings.Builder
	errs := &tailBuffer{}
	err := r.Run(ctx, host.Cmd{Script: failedScript, Stdout: &out, Stderr: errs, KillOnCancel: true, Name: "the list of failed units"})
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("cannot list the failed units: %s", errs)
	}
	var units []string
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) > 0 {
			units = append(units, f[0])
		}
	}
	return units, err
}

func tryFailedUnits(ctx context.Context, r host.Conn, ignore fleet.UnitPatterns, before []string) (string, bool) {
	failed, err := FailedUnits(ctx, r)
	if err != nil {
		return unreached(err)
	}
	failed = slices.DeleteFunc(failed, func(unit string) bool {
		return slices.Contains(before, unit) || ignore.Match(unit)
	})
	if len(failed) == 0 {
		return "", false
	}
	return "failed: " + strings.Join(failed, ", "), false
}

// localEnv tells a command on this machine which host it is about. Nothing in
// it is secret.
func localEnv(host fleet.Host, opts Options) []string {
	env := append(os.Environ(),
		"GODWIT_HOST="+host.Name, "GODWIT_TARGET="+host.At.Host, "GODWIT_USER="+host.At.User,
		"GODWIT_SYSTEM="+opts.System, "GODWIT_TAGS="+strings.Join(host.Tags, ","))
	port := ""
	if host.At.Port != 0 {
		port = strconv.Itoa(host.At.Port)
	}
	address := ""
	if opts.Where.Via == "" {
		address = cmp.Or(opts.Where.Host, bare(host.At.Host))
	}
	return append(env, "GODWIT_PORT="+port, "GODWIT_ADDRESS="+address)
}

// tryLocal runs a command on this machine. When its time is over it goes away
// with all that it started.
func tryLocal(ctx context.Context, c fleet.LocalCheck, env []string) (string, bool) {
	cmd := exec.CommandContext(ctx, program(c), c.Cmd[1:]...)
	cmd.Dir, cmd.Env = c.Dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	out := &tailBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", false
	case errors.As(err, &exit):
		return fmt.Sprintf("%s, output: %s", exit, out), false
	}
	return "error: " + err.Error(), errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)
}
