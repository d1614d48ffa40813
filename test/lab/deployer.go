package lab

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"godwit/test/images"
)

// DeployerSpec says what deployer to start.
type DeployerSpec struct {
	// Name is made up when empty.
	Name string
	// Suite is the Debian suite whose Nix the deployer has; empty means trixie.
	Suite string
	// Dirs are directories and files of this machine that the deployer sees
	// under the same path.
	Dirs []string
	// Env are variables ("NAME=value") of everything that it runs.
	Env []string
	// Run labels the container; empty means this process's RunID.
	Run string
	// Keep leaves the deployer running when this process ends.
	Keep bool
	// RunArgs are further arguments of "docker run".
	RunArgs []string
	// Log takes progress lines; nil discards them.
	Log io.Writer
}

// Deployer is a container that godwit is run in: with the Nix of a suite, the
// network of this machine (so that hosts answer at 127.0.0.1:PORT), the
// container engine's socket and client.
type Deployer struct {
	Name        string
	Suite       string
	ContainerID string
}

// NewDeployer starts a deployer for a test and removes it when the test ends.
// It sees dirs under their own paths.
func NewDeployer(t testing.TB, suite string, dirs ...string) *Deployer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	d, err := StartDeployer(ctx, DeployerSpec{Suite: suite, Dirs: dirs})
	if err != nil {
		t.Fatalf("cannot start a deployer: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := d.Remove(ctx); err != nil {
			t.Errorf("cannot remove the deployer %s: %v", d.Name, err)
		}
	})
	return d
}

// StartDeployer makes the image if it must and starts a deployer.
func StartDeployer(ctx context.Context, spec DeployerSpec) (*Deployer, error) {
	if spec.Suite == "" {
		spec.Suite = "trixie"
	}
	if spec.Name == "" {
		spec.Name = "deployer-" + randomHex(2)
	}
	if spec.Run == "" {
		spec.Run = RunID()
	}
	if spec.Log == nil {
		spec.Log = io.Discard
	}
	if err := Check(ctx); err != nil {
		return nil, err
	}
	sweepOnce.Do(func() { sweepDead(ctx) })
	image, err := images.Make(ctx, spec.Suite, "amd64", spec.Log)
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--detach", "--init", "--name", "godwit-lab-" + spec.Name + "-" + randomHex(4),
		"--label", labelRun + "=" + spec.Run, "--network", "host",
		"--stop-signal", "SIGTERM",
		"--volume", "/var/run/docker.sock:/var/run/docker.sock"}
	if !spec.Keep {
		args = append(args, "--label", labelOwner+"="+owner())
	}
	client, err := exec.LookPath("docker")
	if err == nil {
		client, err = filepath.EvalSymlinks(client)
	}
	if err != nil {
		return nil, err
	}
	args = append(args, "--volume", client+":/usr/local/bin/docker:ro")
	for _, dir := range spec.Dirs {
		path, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		args = append(args, "--volume", path+":"+path)
	}
	for _, env := range spec.Env {
		args = append(args, "--env", env)
	}
	args = append(args, spec.RunArgs...)
	args = append(args, image, "sleep", "infinity")
	id, err := docker(ctx, args...)
	if err != nil {
		return nil, err
	}
	return &Deployer{Name: spec.Name, Suite: spec.Suite, ContainerID: id}, nil
}

var commands atomic.Int64

// Command prepares a command in the deployer, run in dir ("" means /root), with
// further variables. When ctx ends, the command gets a SIGTERM inside and ten
// seconds; standard streams are the caller's to set.
func (d *Deployer) Command(ctx context.Context, dir string, env []string, argv ...string) *exec.Cmd {
	if dir == "" {
		dir = "/root"
	}
	pidFile := fmt.Sprintf("/tmp/lab-command-%d-%d", time.Now().UnixNano(), commands.Add(1))
	args := []string{"exec", "--interactive", "--workdir", dir}
	for _, v := range env {
		args = append(args, "--env", v)
	}
	args = append(args, d.ContainerID, "/bin/sh", "-c", `echo $$ >"$0"; exec "$@"`, pidFile)
	cmd := exec.CommandContext(ctx, "docker", append(args, argv...)...)
	cmd.Cancel = func() error {
		// The client passes no signals on, so the command is told from outside.
		kill := exec.Command("docker", "exec", d.ContainerID, "/bin/sh", "-c",
			`pid=$(cat "$0"); kill -TERM "$pid"; i=0
while [ -d "/proc/$pid" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
kill -KILL "$pid" 2>/dev/null; rm -f "$0"`, pidFile)
		return kill.Run()
	}
	cmd.WaitDelay = 15 * time.Second
	return cmd
}

// Run runs a command in dir of the deployer.
func (d *Deployer) Run(ctx context.Context, dir string, argv ...string) Result {
	return collect(ctx, d.Command(ctx, dir, nil, argv...))
}

// Exec runs a shell script in the deployer.
func (d *Deployer) Exec(ctx context.Context, script string) Result {
	return d.Run(ctx, "", "/bin/sh", "-c", script)
}

// Remove removes the deployer, running or not.
func (d *Deployer) Remove(ctx context.Context) error {
	_, err := docker(ctx, "rm", "-f", "-v", d.ContainerID)
	return err
}
