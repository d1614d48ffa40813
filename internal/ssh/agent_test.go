package ssh_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
	"godwit/test/lab"
)

// testAgent lets sudo of a real host ask an agent here (pam_ssh_agent_auth).
func testAgent(t *testing.T, machine *lab.Host, config string) {
	dir := t.TempDir()
	public := sshtest.NewKey(t, filepath.Join(dir, "id"))
	socket := filepath.Join(dir, "agent")
	agent := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	t.Setenv("SSH_AUTH_SOCK", socket)
	for n := 1; ; n++ {
		out, err := exec.Command("ssh-add", filepath.Join(dir, "id")).CombinedOutput()
		if err == nil {
			break
		}
		if n == 50 {
			t.Fatalf("ssh-add: %v: %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if r := machine.Exec(ctx(t), `set -e
		printf '%s\n' '`+public+`' >/etc/ssh/sudo_keys
		sed -i '1i auth sufficient pam_ssh_agent_auth.so file=/etc/ssh/sudo_keys' /etc/pam.d/sudo
		echo 'Defaults env_keep += "SSH_AUTH_SOCK"' >/etc/sudoers.d/agent; chmod 0440 /etc/sudoers.d/agent`); !r.OK() {
		t.Fatalf("%+v", r)
	}
	pool := func(o ssh.Options) *ssh.Pool {
		o.ConfigFile, o.ConnectTimeout, o.ExtraArgs = config, 20*time.Second, []string{"-o", "IdentityAgent=SSH_AUTH_SOCK"}
		p, err := ssh.NewPool(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	target := ssh.Target{Name: "lab", Host: machine.Name, User: lab.PasswordUser}
	sock := host.Cmd{Shell: `echo "$(id -u) ${SSH_AUTH_SOCK:+agent}"`}
	asRoot := sock
	asRoot.Elevate = true
	fresh := asRoot
	fresh.Fresh = true

	// Not without being asked.
	err := pool(ssh.Options{}).Host(target).Run(ctx(t), asRoot)
	if err == nil || !strings.Contains(err.Error(), "sudo needs a password for pwuser") {
		t.Errorf("%v", err)
	}
	asked := target
	asked.Agent = true
	for _, h := range []*ssh.Host{pool(ssh.Options{Agent: true}).Host(target), pool(ssh.Options{}).Host(asked)} {
		for _, c := range []host.Cmd{asRoot, fresh} {
			if got := output(t, h, c); got != "0 \n" {
				t.Errorf("as root: %q", got)
			}
		}
		if way, err := h.Elevation(ctx(t)); way != "sudo with the agent" || err != nil {
			t.Errorf("%q, %v", way, err)
		}
		// Who becomes nobody's root gets no agent.
		if got := output(t, h, sock); strings.Contains(got, "agent") || strings.HasPrefix(got, "0") {
			t.Errorf("not as root: %q", got)
		}
		h.Disconnect()
		if got := output(t, h, asRoot); got != "0 \n" {
			t.Errorf("after the connections were closed: %q", got)
		}
	}
	// sudo that asks nobody is not offered one.
	free := pool(ssh.Options{Agent: true}).Host(ssh.Target{Name: "lab", Host: machine.Name, User: lab.Deploy})
	if way, err := free.Elevation(ctx(t)); way != ssh.ElevateSudo || err != nil {
		t.Errorf("%q, %v", way, err)
	}
	// An agent whose keys are not those.
	if out, err := exec.Command("ssh-add", "-D").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err = pool(ssh.Options{Agent: true}).Host(target).Run(ctx(t), asRoot)
	var refused *host.ElevateError
	if text := fault.Render(err); !errors.As(err, &refused) || !strings.Contains(text, "sudo did not accept the agent of this machine for pwuser") ||
		!strings.Contains(text, `env_keep += "SSH_AUTH_SOCK"`) {
		t.Errorf("%s", text)
	}
}
